"""Bounds the calls in hand: the SDK starts a task for each that comes, and each waits until its answer is read.

So whoever sends and never reads would fill the container's memory; with this it waits.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import anyio
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest

if TYPE_CHECKING:
    from mcp.shared._stream_protocols import ReadStream, WriteStream

MOST_CALLS = 64
"""How many calls may be waiting for their answer to be read."""


@asynccontextmanager
async def bounded(
    read: "ReadStream[SessionMessage | Exception]", write: "WriteStream[SessionMessage]"
) -> AsyncGenerator[tuple[Any, "_Answers"]]:
    """The streams of a server that takes the next call only while fewer than `MOST_CALLS` are unanswered."""
    turns = anyio.Semaphore(MOST_CALLS)
    to_server, calls = anyio.create_memory_object_stream[SessionMessage | Exception](0)

    async def unanswered() -> None:
        turns.release()

    async def relay() -> None:
        async with to_server:
            async for message in read:
                if isinstance(message, SessionMessage) and isinstance(message.message, JSONRPCRequest):
                    await turns.acquire()
                    metadata = ServerMessageMetadata(on_request_unanswered=unanswered)
                    await to_server.send(replace(message, metadata=metadata))
                else:
                    await to_server.send(message)

    async with anyio.create_task_group() as tasks, calls:
        tasks.start_soon(relay)
        yield calls, _Answers(write, turns.release)
        tasks.cancel_scope.cancel()


class _Answers:
    """The way out, which gives a turn back with each answer, also with one that its caller no longer wants."""

    def __init__(self, write: "WriteStream[SessionMessage]", release: Callable[[], None]) -> None:
        self._write = write
        self._release = release

    async def send(self, message: SessionMessage, /) -> None:
        """Send; waits while nobody reads."""
        try:
            await self._write.send(message)
        finally:
            if not isinstance(message.message, JSONRPCNotification | JSONRPCRequest):
                self._release()

    async def aclose(self) -> None:
        """Close the stream."""
        await self._write.aclose()

    async def __aenter__(self) -> Self:
        """Close at exit."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the stream."""
        await self.aclose()
