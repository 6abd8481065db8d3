"""Evaluations over the shipped image, the Docker attach and a real HTTP endpoint."""

import asyncio
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import faulty_provider
from tests.e2e.engine import containers

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""

MODEL = "openai-compatible/faulty"


def last(cli: Cli) -> str:
    """The id of the only evaluation."""
    listed = cli("ls", "evaluations").stdout
    return next(word for word in listed.split() if word.startswith("ev_"))


async def test_ctrl_c_pauses_and_resume_pays_for_nothing_twice(cli: Cli, toy_answers: Path) -> None:
    """Calls in flight end first, so that even they aren't repeated; a signal to process and group at once is one."""
    async with faulty_provider(latency_s=0.05, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        while (await provider.counters())["answered"] < 50:
            assert process.poll() is None, process.stderr.read()
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, said = await asyncio.to_thread(process.communicate)
        assert process.returncode == 3, said
        assert "dep-mcp resume ev_" in said
        (document,) = await asyncio.to_thread(cli.documents, "resume", last(cli))
        counters = await provider.counters()
    assert document["report"]["overall"]["value"] == 1.0
    assert counters["requests"] == counters["answered"] == 300


async def test_a_killed_container_is_replaced(cli: Cli, toy_answers: Path) -> None:
    """The answers are replayed to the new one, and no call is repeated."""
    async with faulty_provider(latency_s=0.05, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        while (await provider.counters())["answered"] < 60:
            assert process.poll() is None, process.stderr.read()
            await asyncio.sleep(0.01)
        subprocess.run(["docker", "kill", *containers(process.pid)], check=True, capture_output=True)
        _, said = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, said
        counters = await provider.counters()
    (document,) = cli.documents("show", last(cli))
    assert document["report"]["overall"]["value"] == 1.0
    assert counters["requests"] == 300


async def test_two_runners_never_run_one_evaluation(cli: Cli, toy_answers: Path) -> None:
    """The second is told, and the first goes on undisturbed."""
    async with faulty_provider(latency_s=0.1, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 3)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        while (await provider.counters())["answered"] < 10:
            await asyncio.sleep(0.01)
        second = await asyncio.to_thread(cli, "resume", last(cli))
        assert second.returncode == 2
        assert "another process" in second.stderr
        _, said = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, said


async def test_an_endpoint_that_goes_down_pauses_the_evaluation(cli: Cli, toy_answers: Path) -> None:
    """Nothing is scored wrong for it; the message says how to go on."""
    async with faulty_provider(latency_s=0.02, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        while (await provider.counters())["answered"] < 50:
            await asyncio.sleep(0.01)
        await provider.behave(faults={"402": 1.0})
        _, said = await asyncio.to_thread(process.communicate)
        assert process.returncode == 3, said
        await provider.behave(faults={})
        (document,) = await asyncio.to_thread(cli.documents, "resume", last(cli))
    assert document["report"]["overall"]["value"] == 1.0
    assert document["report"]["counts"]["failed"] == 0


async def test_resume_refuses_what_changed(cli: Cli, toy_answers: Path, tmp_path: Path) -> None:
    """A benchmark whose code changed would give another number under the same id."""
    folder = tmp_path / "changing"
    folder.mkdir()
    for name in ("benchmark.py", "dataset_card.yaml"):
        text = (Path(cli.env["DEP_MCP_PATH"]) / "benchmark_servers" / "toy" / name).read_text()
        (folder / name).write_text(text)
    async with faulty_provider(latency_s=0.05, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        process = await asyncio.to_thread(cli.start, "run", "-b", str(folder), *base)
        while (await provider.counters())["answered"] < 10:
            assert process.poll() is None, process.stderr.read()
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.communicate)
    with (folder / "benchmark.py").open("a") as file:
        file.write("\n# changed\n")
    refused = cli("resume", last(cli))
    assert refused.returncode == 2
    assert "the benchmark's image (code, data or libraries) changed since the evaluation began" in refused.stderr


async def test_a_resume_that_cant_begin_changes_nothing(cli: Cli, toy_answers: Path) -> None:
    """The endpoint is asked before the evaluation is said to run."""
    async with faulty_provider(latency_s=0.05, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        while (await provider.counters())["answered"] < 10:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.communicate)
    refused = cli("resume", last(cli))
    assert refused.returncode == 2
    assert "nothing answers" in refused.stderr
    (document,) = cli.documents("show", last(cli))
    assert document["evaluation"]["state"] == "paused"
    assert '"text":"target-' in cli("show", last(cli), "--answers").stdout
