"""Fixtures are factories or values; nothing is held open across a fixture."""

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from dep_mcp.client import SubjectClient, connect
from dep_mcp.protocol import DatasetCard, Open, Opened, new_evaluation_id
from dep_mcp.scoring import Scorer
from dep_mcp.server import Benchmark, Draw, SealedItem
from dep_mcp.server.app import create_app
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.session import SealedSession

SOAK = bool(os.environ.get("DEP_MCP_SOAK"))
"""`make soak` runs ten times what `make test` does."""

settings.register_profile("soak", max_examples=1000, deadline=None)
settings.register_profile("test", max_examples=100, deadline=None)
settings.load_profile("soak" if SOAK else "test")

SEED = "5eed" * 8


@pytest.fixture
def make_session() -> Callable[..., SealedSession]:
    """Sessions over a list of items, in memory."""

    def make(items: list[SealedItem], scorer: Scorer, **card: object) -> SealedSession:
        class Listed(Benchmark):
            def items(self, draw: Draw) -> list[SealedItem]:  # noqa: ARG002 (they are fixed)
                return items

        Listed.scorer = scorer
        whole = {
            "name": "listed",
            "version": "1",
            "title": "t",
            "description": "d",
            "license": "x",
            "source": "s",
        }
        benchmark = Listed(DatasetCard.model_validate(whole | card), Path())
        bundle = Bundle.build(benchmark.items(Draw()))
        return SealedSession(benchmark, digest=bundle.digest, bundle=bundle)

    return make


@pytest.fixture
def opened() -> Callable[..., object]:
    """Connects to a session in memory and opens it."""

    @asynccontextmanager
    async def open_(session: SealedSession, **opening: object) -> AsyncGenerator[tuple[SubjectClient, Opened]]:
        request = Open.model_validate({"evaluation_id": new_evaluation_id(), "seed": SEED} | opening)
        async with connect(create_app(session)) as operator:
            result = await operator.open(request)
            yield operator.subject(request.evaluation_id), result

    return open_
