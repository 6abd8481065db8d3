"""Sealed containers that were started before anybody asked: for processes that live on, such as a gateway.

A warm container holds no seed, key or evaluation: those come in at `open`, for the one evaluation that it serves.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Self

from dep_mcp.client import connect, line_transport
from dep_mcp.containers import BuildSpec, Container, ContainerRuntime, ContainerSpec, Image
from dep_mcp.protocol.errors import ContainerLostError, DepError

START_TIMEOUT_S = 120.0
PROBE_TIMEOUT_S = 5.0
REFILL_S = 0.5
"""How long the next one's start waits: it would take processors from the evaluation that begins with this one."""


class _Warm:
    """One container, from its start to the end of what it was given to."""

    def __init__(self, runtime: ContainerRuntime, spec: ContainerSpec) -> None:
        self.ready: asyncio.Future[Container] = asyncio.get_running_loop().create_future()
        self.ready.add_done_callback(lambda future: future.cancelled() or future.exception())  # seen, if nobody asks
        self._over = asyncio.Event()
        self._life = asyncio.create_task(self._live(runtime, spec))

    async def _live(self, runtime: ContainerRuntime, spec: ContainerSpec) -> None:
        try:
            async with runtime.start(spec) as container:
                async with asyncio.timeout(START_TIMEOUT_S):
                    await _probe(container)
                self.ready.set_result(container)
                await self._over.wait()
        except TimeoutError:
            msg = f"a warm container didn't answer within {START_TIMEOUT_S:.0f} s of its start"
            self.ready.set_exception(ContainerLostError(msg))
        except DepError as error:
            if not self.ready.done():
                self.ready.set_exception(error)
        finally:
            self.ready.cancel()

    async def end(self) -> None:
        """Remove it."""
        self._over.set()
        if not self.ready.done():
            self._life.cancel()
        await asyncio.wait([self._life])


@dataclass
class _Pool:
    """Containers of one kind.

    Attributes:
        spec: What they are.
        wanted: How many shall be ready.
        spare: Those that are, or will be.
    """

    spec: ContainerSpec
    wanted: int = 0
    spare: deque[_Warm] = field(default_factory=deque)


def _key(spec: ContainerSpec) -> str:
    return json.dumps(asdict(spec), sort_keys=True)


class WarmRuntime:
    """Implements `ContainerRuntime` over another one; use it as an async context manager.

    Args:
        runtime: Starts the containers.
    """

    def __init__(self, runtime: ContainerRuntime) -> None:
        self._runtime = runtime
        self._pools: dict[str, _Pool] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        """Start nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the containers that nobody took."""
        self._closed = True
        for pool in self._pools.values():
            await self.keep(pool.spec, 0)

    async def keep(self, spec: ContainerSpec, count: int) -> None:
        """Have so many ready of a spec from now on, again after each that is taken; returns once they are.

        Args:
            spec: Of the containers; what is started later must equal it.
            count: How many; each takes the memory of its imports, about 50 MB.

        Raises:
            DepError: One of them can't be started.
        """
        pool = self._pools.setdefault(_key(spec), _Pool(spec))
        pool.wanted = count
        surplus = [pool.spare.pop() for _ in range(len(pool.spare) - count)]
        await asyncio.gather(*(warm.end() for warm in surplus))
        self._fill(pool)
        await asyncio.gather(*(asyncio.shield(warm.ready) for warm in pool.spare))

    def _fill(self, pool: _Pool) -> None:
        while len(pool.spare) < pool.wanted and not self._closed:
            pool.spare.append(_Warm(self._runtime, pool.spec))

    @asynccontextmanager
    async def start(self, spec: ContainerSpec) -> AsyncGenerator[Container]:
        """Give a warm container where there is one, else start one; errors as of the runtime's."""
        warm = await self._taken(spec)
        if warm is None:
            async with self._runtime.start(spec) as container:
                yield container
            return
        try:
            yield warm.ready.result()
        finally:
            await warm.end()

    async def _taken(self, spec: ContainerSpec) -> _Warm | None:
        """The first one that is ready and still answers."""
        pool = self._pools.get(_key(spec))
        while pool is not None and pool.spare:
            warm = pool.spare.popleft()
            asyncio.get_running_loop().call_later(REFILL_S, self._fill, pool)
            try:
                async with asyncio.timeout(PROBE_TIMEOUT_S):
                    await _probe(await asyncio.shield(warm.ready))
            except (DepError, TimeoutError):
                await warm.end()
                if warm.ready.done() and warm.ready.exception() is not None:
                    return None  # they can't be started: let the runtime say why
            else:
                return warm
        return None

    async def ping(self) -> str:
        """See `ContainerRuntime`."""
        return await self._runtime.ping()

    async def base_image(self, explicit: str | None) -> str:
        """See `ContainerRuntime`."""
        return await self._runtime.base_image(explicit)

    async def ensure_image(self, spec: BuildSpec) -> Image:
        """See `ContainerRuntime`."""
        return await self._runtime.ensure_image(spec)

    async def require_effect(self, image: str) -> str:
        """See `ContainerRuntime`."""
        return await self._runtime.require_effect(image)

    async def reap(self) -> int:
        """See `ContainerRuntime`."""
        return await self._runtime.reap()


async def _probe(container: Container) -> None:
    async with connect(line_transport(container)) as operator:
        await operator.describe()
