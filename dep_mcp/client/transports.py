"""MCP over any stream of lines, such as a container's attached standard input and output.

The SDK's own stdio client is quadratic in the length of a line; this one gets whole lines and parses each once.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from dep_mcp.protocol.errors import ContainerLostError

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams


class LineStream(Protocol):
    """Where lines come from and go to."""

    def lines(self) -> AsyncIterator[bytes]:
        """Whole lines, until the other side is gone."""

    async def write(self, data: bytes) -> None:
        """Write bytes; waits while the other side doesn't read."""


@asynccontextmanager
async def line_transport(stream: LineStream) -> "AsyncGenerator[TransportStreams]":
    """An MCP transport over a line stream: one JSON-RPC message a line.

    When the stream ends, the session sees its connection closed, so that every call in flight fails.
    """
    import anyio
    from mcp.shared.message import SessionMessage
    from mcp.types import jsonrpc_message_adapter

    into_session, from_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    into_stream, from_session = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        async with into_session:
            async for line in stream.lines():
                try:
                    message: SessionMessage | Exception = SessionMessage(jsonrpc_message_adapter.validate_json(line))
                except ValueError as error:
                    message = error
                await into_session.send(message)

    async def write() -> None:
        try:
            async for message in from_session:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await stream.write(text.encode() + b"\n")
        except ContainerLostError:
            await into_session.aclose()  # the session sees its connection end

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(write)
        try:
            yield from_stream, into_stream
        finally:
            tasks.cancel_scope.cancel()
            for end in (from_stream, into_stream, into_session, from_session):
                end.close()
