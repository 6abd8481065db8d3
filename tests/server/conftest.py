"""A session over a real MCP connection in memory, in either era of the protocol."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from mcp import Client

from dep_mcp.client import OperatorClient, line_transport
from dep_mcp.containers import ContainerSpec
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeContainer, FakeRuntime

SPEC = ContainerSpec(image="none", labels={})
Wired = tuple[Client, OperatorClient, FakeContainer]


@pytest.fixture(params=["2026-07-28", "legacy"])
def wired(request: pytest.FixtureRequest) -> Callable[[SealedSession], AbstractAsyncContextManager[Wired]]:
    """The raw client, the typed one, and the container, which keeps every line that left it."""

    @asynccontextmanager
    async def connect(session: SealedSession) -> AsyncGenerator[Wired]:
        runtime = FakeRuntime(lambda: session)
        async with runtime.start(SPEC) as container:
            assert isinstance(container, FakeContainer)
            async with Client(line_transport(container), mode=request.param, cache=None) as client:
                yield client, OperatorClient(client), container

    return connect
