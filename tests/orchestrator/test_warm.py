"""Containers that are started before anybody asks: which is given out, what replaces it, what is left behind."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from dep_mcp.client import connect, line_transport
from dep_mcp.containers import Container, ContainerSpec
from dep_mcp.orchestrator import WarmRuntime
from dep_mcp.protocol import Open, new_evaluation_id, new_seed
from dep_mcp.protocol.errors import EngineError
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import SealedItem
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeRuntime

SPEC = ContainerSpec(image="none", labels={"a": "b"})


class Counting(FakeRuntime):
    """Counts the containers that live, and may refuse to start any."""

    alive: int = 0
    started: int = 0
    refuses: bool = False

    @asynccontextmanager
    async def start(self, spec: ContainerSpec) -> AsyncGenerator[Container]:
        if self.refuses:
            msg = "no engine"
            raise EngineError(msg)
        self.started += 1
        self.alive += 1
        try:
            async with super().start(spec) as container:
                yield container
        finally:
            self.alive -= 1


@pytest.fixture
def runtime(make_session: Callable[..., SealedSession]) -> Counting:
    return Counting(lambda: make_session([SealedItem("i", "1 + 1 =", "2")], ExactMatch()))


async def opened(container: Container) -> int:
    async with connect(line_transport(container)) as operator:
        return (await operator.open(Open(evaluation_id=new_evaluation_id(), seed=new_seed()))).items


async def test_what_is_ready_is_given_out_and_replaced(runtime: Counting) -> None:
    """The one that was asked for isn't started then; the next one's start isn't waited for."""
    async with WarmRuntime(runtime) as warm:
        await warm.keep(SPEC, 1)
        assert (runtime.started, runtime.alive) == (1, 1)
        async with warm.start(ContainerSpec(image="none", labels={"a": "b"})) as container:
            assert container.id == "fake-0"
            assert await opened(container) == 1
            await warm.keep(SPEC, 1)
            assert (runtime.started, runtime.alive) == (2, 2)
        assert runtime.alive == 1
    assert runtime.alive == 0


async def test_another_spec_gets_a_container_of_its_own(runtime: Counting) -> None:
    """A warm container of another image, memory or label is another container."""
    async with WarmRuntime(runtime) as warm:
        await warm.keep(SPEC, 1)
        async with warm.start(ContainerSpec(image="none", labels={"a": "b"}, memory_mb=512)) as container:
            assert container.id == "fake-1"


async def test_each_serves_one_evaluation(runtime: Counting) -> None:
    """Taken at once by two, the second waits for the next."""
    async with WarmRuntime(runtime) as warm:
        await warm.keep(SPEC, 1)

        async def one() -> str:
            async with warm.start(SPEC) as container:
                await opened(container)
                return container.id

        assert len(set(await asyncio.gather(*(one() for _ in range(5))))) == 5


async def test_one_that_died_meanwhile_is_not_given_out(runtime: Counting) -> None:
    """Killed by hand, or by an engine that was restarted: the next one is taken."""
    async with WarmRuntime(runtime) as warm:
        await warm.keep(SPEC, 2)
        runtime.containers[0].kill()
        async with warm.start(SPEC) as container:
            assert container.id == "fake-1"


async def test_an_engine_that_refuses_says_so_where_one_waits(runtime: Counting) -> None:
    """Both to whoever wants them kept and to whoever wants one."""
    runtime.refuses = True
    async with WarmRuntime(runtime) as warm:
        with pytest.raises(EngineError):
            await warm.keep(SPEC, 1)
        with pytest.raises(EngineError):
            async with warm.start(SPEC):
                pass


async def test_none_is_left_when_keeping_is_cut_short(runtime: Counting) -> None:
    """Containers that nobody will take must not outlive their process's interest in them."""
    async with WarmRuntime(runtime) as warm:
        keeping = asyncio.create_task(warm.keep(SPEC, 3))
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping])
    assert runtime.alive == 0
