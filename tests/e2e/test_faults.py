"""Rows of the fault matrix through the command and the engine; the whole of it is in `tests/runner/test_faults.py`."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import faulty_provider

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""

ITEMS = 300
MIXED = dict.fromkeys(("429", "500", "529", "cut", "cut_body", "truncated", "html", "no_choices"), 0.05)


@pytest.mark.parametrize("model", ["openai-compatible/faulty", "openai/faulty"], ids=["direct", "litellm"])
async def test_faults_that_pass_cost_time_and_no_point(cli: Cli, toy_answers: Path, model: str) -> None:
    """Every item is answered in the end, whatever it met first."""
    behaviour = {"faults": MIXED, "recover_after": 1, "retry_after_s": 0.05, "answers": str(toy_answers)}
    async with faulty_provider(**behaviour) as provider:
        arguments = ("run", "-b", "toy", "-m", model, "--api-base", provider.api_base)
        (document,) = await asyncio.to_thread(cli.documents, *arguments)
        counters = await provider.counters()
    report = document["report"]
    assert (report["overall"]["value"], report["counts"]["scored"], report["counts"]["failed"]) == (1.0, ITEMS, 0)
    assert (counters["answered"], counters["answered_twice"]) == (ITEMS, 0)
    assert counters["requests"] > ITEMS + 50


async def test_an_empty_purse_pauses_with_what_to_do(cli: Cli, toy_answers: Path) -> None:
    """It comes as a 429 that no waiting mends; once it is filled, all is answered."""
    behaviour = {"faults": {"insufficient_quota": 1.0}, "answers": str(toy_answers)}
    async with faulty_provider(**behaviour) as provider:
        arguments = ("run", "-b", "toy", "-m", "openai-compatible/faulty", "--api-base", provider.api_base)
        paused = await asyncio.to_thread(cli, *arguments)
        assert paused.returncode == 3, paused.stderr
        assert "quota" in paused.stderr
        assert "dep-mcp resume ev_" in paused.stderr
        await provider.behave(faults={})
        listed = cli("ls", "evaluations").stdout.split()
        name = next(word for word in listed if word.startswith("ev_"))
        resumed = await asyncio.to_thread(cli, "resume", name, "--json")
    assert resumed.returncode == 0, resumed.stderr
    report = json.loads(resumed.stdout)[0]["report"]
    assert (report["overall"]["value"], report["counts"]["scored"]) == (1.0, ITEMS)


async def test_requests_that_are_all_refused_fail_the_evaluation_early(cli: Cli) -> None:
    """After twenty and those in flight, not after three hundred; and nothing is scored."""
    async with faulty_provider(faults={"422": 1.0}) as provider:
        arguments = ("run", "-b", "toy", "-m", "openai-compatible/faulty", "--api-base", provider.api_base)
        failed = await asyncio.to_thread(cli, *arguments, "--json")
        counters = await provider.counters()
    assert failed.returncode == 1, failed.stderr
    assert "malformed" in failed.stderr + failed.stdout
    assert json.loads(failed.stdout)[0]["report"] is None
    assert 20 <= counters["requests"] <= 100
