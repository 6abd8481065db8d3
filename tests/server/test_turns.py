"""Calls in hand are bounded: whoever never reads an answer waits, and whoever reads gets every one."""

from collections.abc import Callable

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter

from dep_mcp.scoring import ExactMatch
from dep_mcp.server import SealedItem
from dep_mcp.server.app import create_app
from dep_mcp.server.backlog import MOST_CALLS, bounded
from dep_mcp.server.session import SealedSession

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def message(method: str, number: int | None = None, **params: object) -> SessionMessage:
    body = {"jsonrpc": "2.0", "method": method, "params": params | {"_meta": META}}
    return SessionMessage(jsonrpc_message_adapter.validate_python(body | ({} if number is None else {"id": number})))


@pytest.mark.parametrize("cancelled", [False, True])
async def test_the_server_takes_no_more_calls_than_it_may_hold(
    make_session: Callable[..., SealedSession], *, cancelled: bool
) -> None:
    """Each unread answer costs memory; a call that is cancelled gives its turn back all the same."""
    app = create_app(make_session([SealedItem("a", "1 + 1 =", "2")], ExactMatch()))
    to_server, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, answers = anyio.create_memory_object_stream[SessionMessage](0)
    calls, taken, read_so_far = 4 * MOST_CALLS, 0, 0
    async with anyio.create_task_group() as tasks, to_server, answers, read, write:

        async def serve() -> None:
            async with bounded(read, write) as streams:
                await app.run(*streams, app.create_initialization_options())

        async def send() -> None:
            nonlocal taken
            for number in range(calls):
                await to_server.send(message("tools/call", number, name="describe", arguments={}))
                taken += 1
                if cancelled:
                    await to_server.send(message("notifications/cancelled", requestId=number))

        async def read_all() -> None:
            nonlocal read_so_far
            async for _ in answers:
                read_so_far += 1

        tasks.start_soon(serve)
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert MOST_CALLS <= taken <= MOST_CALLS + 4
        tasks.start_soon(read_all)
        await anyio.wait_all_tasks_blocked()
        assert taken == calls
        assert cancelled or read_so_far == calls
        tasks.cancel_scope.cancel()
