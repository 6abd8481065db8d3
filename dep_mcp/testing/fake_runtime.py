"""A container runtime without containers: the same server code in this process, over the same lines.

For fast tests of everything above the runtime. It isolates nothing, so it is never offered to users.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from dep_mcp.containers import BuildSpec, Container, ContainerSpec, Image
from dep_mcp.protocol.errors import ContainerLostError

if TYPE_CHECKING:
    from mcp.shared.message import SessionMessage  # noqa: F401 (named in strings)

    from dep_mcp.server.session import SealedSession


class FakeContainer:
    """One session in this process.

    Args:
        number: Makes its id.
        image: The digest that it claims.
    """

    def __init__(self, number: int, image: str = "") -> None:
        self.id = f"fake-{number}"
        self.image = image
        self.written: list[bytes] = []
        """Every line that the client sent."""
        self.left: list[bytes] = []
        """Every line that left the container."""
        self._into, self.requests = anyio.create_memory_object_stream["SessionMessage | Exception"](100)
        self.replies, self._from = anyio.create_memory_object_stream["SessionMessage"](100)
        self.task: asyncio.Task[None] | None = None

    async def lines(self) -> AsyncIterator[bytes]:
        """Whole lines of its output."""
        async for message in self._from:
            line = message.message.model_dump_json(by_alias=True, exclude_unset=True).encode()
            self.left.append(line)
            yield line

    async def write(self, data: bytes) -> None:
        """Take a line."""
        from mcp.shared.message import SessionMessage
        from mcp.types import jsonrpc_message_adapter

        self.written.append(data)
        try:
            await self._into.send(SessionMessage(jsonrpc_message_adapter.validate_json(data)))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            msg = "the fake container is gone"
            raise ContainerLostError(msg) from error

    def kill(self) -> None:
        """Die as a container does: in the middle of whatever it does."""
        if self.task is not None:
            self.task.cancel()
        for end in (self._into, self.requests, self.replies):
            end.close()

    def close(self) -> None:
        """Drop what wasn't read."""
        self._from.close()

    def stderr_tail(self) -> str:
        """Its last words."""
        return "killed by the test" if self.task is not None and self.task.done() else ""

    async def exit_status(self) -> int | None:
        """137 once it was killed."""
        return 137 if self.task is not None and self.task.done() else None


class FakeRuntime:
    """Starts fake containers.

    Args:
        make: Makes the session of the next container.
    """

    def __init__(self, make: "Callable[[], SealedSession]") -> None:
        self._make = make
        self.containers: list[FakeContainer] = []
        """All that were started, in order."""

    async def ping(self) -> str:
        """Say what it is."""
        return "fake"

    async def base_image(self, explicit: str | None) -> str:
        """Any base will do."""
        return explicit or "fake"

    async def ensure_image(self, spec: BuildSpec) -> Image:
        """Pretend that it was built."""
        return Image(tag=spec.name, digest="sha256:" + "0" * 64)

    async def require_effect(self, image: str) -> str:
        """It has none: nothing is isolated."""
        return f"fake, {image}"

    async def reap(self) -> int:
        """Nothing is ever left."""
        return 0

    @asynccontextmanager
    async def start(self, spec: ContainerSpec) -> AsyncGenerator[Container]:
        """Serve one session until the block ends."""
        container = FakeContainer(len(self.containers), spec.image)
        self.containers.append(container)
        from dep_mcp.server.app import create_app

        app = create_app(self._make())
        options = app.create_initialization_options()
        container.task = asyncio.create_task(app.run(container.requests, container.replies, options))
        try:
            yield container
        finally:
            container.kill()
            await asyncio.wait([container.task])
            container.close()


def toy_folder(name: str = "toy") -> Path:
    """The folder of a bundled test benchmark: `toy` or `toy_choice`."""
    return Path(__file__).parent / "benchmarks" / "benchmark_servers" / name
