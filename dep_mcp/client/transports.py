"""MCP over any stream of lines, such as a container's attached standard input and output.

The SDK's own stdio client is quadratic in the length of a line; this one gets whole lines and parses each once.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from pydantic_core import from_json

from dep_mcp.protocol import MESSAGE_BYTES
from dep_mcp.protocol.errors import ContainerLostError

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams
    from mcp.types import JSONRPCError, JSONRPCResponse


class LineStream(Protocol):
    """Where lines come from and go to."""

    def lines(self) -> AsyncIterator[bytes]:
        """Whole lines, until the other side is gone."""

    async def write(self, data: bytes) -> None:
        """Write bytes; waits while the other side doesn't read."""


@asynccontextmanager
async def line_transport(stream: LineStream) -> "AsyncGenerator[TransportStreams]":
    """An MCP transport over a line stream: one JSON-RPC message a line.

    Only replies get through. A benchmark endpoint asks for nothing and notifies of nothing, and the SDK would start a
    task for each such message, without bound while the other side doesn't read; lines that are no message say nothing.

    When the stream ends, the session sees its connection closed, so that every call in flight fails.
    """
    import anyio
    from mcp.shared.message import SessionMessage

    into_session, from_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    into_stream, from_session = anyio.create_memory_object_stream[SessionMessage](0)

    async def read() -> None:
        # A session that has ended takes no more; what still comes is nobody's.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await pass_on()

    async def pass_on() -> None:
        async with into_session:
            async for line in stream.lines():
                if (reply := parsed_reply(line)) is not None:
                    await into_session.send(SessionMessage(reply))

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


def parsed_reply(line: bytes) -> "JSONRPCResponse | JSONRPCError | None":
    """The reply that a line is; `None` for whatever else it is.

    Parsed once, then told apart: to try each kind of message on the text takes a hundred times its size in memory.

    Raises:
        ContainerLostError: It is longer than any message may be.
    """
    from mcp.types import JSONRPCError, JSONRPCResponse

    if len(line) > MESSAGE_BYTES:
        msg = f"the benchmark sent a message of more than {MESSAGE_BYTES >> 20} MiB"
        raise ContainerLostError(msg)
    try:
        message = from_json(line)
        kind = JSONRPCResponse if isinstance(message, dict) and "result" in message else JSONRPCError
        return kind.model_validate(message, by_name=False)
    except ValueError:
        return None
