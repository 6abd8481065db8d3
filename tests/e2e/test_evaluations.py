"""Evaluations over the shipped image, the Docker attach and a real HTTP endpoint."""

import asyncio
import json
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import faulty_provider

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""

MODEL = "openai-compatible/faulty"


def containers() -> set[str]:
    command = ["docker", "ps", "-aq", "--filter", "label=org.dep-mcp.benchmark=toy"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


async def test_429_and_500_on_a_third_of_the_calls_cost_no_point(cli: Cli, toy_answers: Path) -> None:
    """Every item answered in the end, none scored wrong for the provider's faults; its counters say so."""
    faults = {"429": 0.17, "500": 0.17}
    async with faulty_provider(faults=faults, retry_after_s=0.05, answers=str(toy_answers)) as provider:
        arguments = ("run", "-b", "toy", "-m", MODEL, "--api-base", provider.api_base)
        (document,) = await asyncio.to_thread(cli.documents, *arguments)
        counters = await provider.counters()
    report = document["report"]
    assert (report["overall"]["value"], report["overall"]["n"], report["counts"]["failed"]) == (1.0, 300, 0)
    assert counters["statuses"]["429"] > 30
    assert counters["statuses"]["500"] > 30
    assert counters["answered"] == 300
    assert counters["answered_twice"] == 0


@pytest.mark.parametrize("seed", range(100 if os.environ.get("DEP_MCP_SOAK") else 10))
async def test_kill_and_resume_repeat_only_calls_in_flight(cli: Cli, toy_answers: Path, seed: int) -> None:
    """`kill -9` at a random point: the same score as undisturbed, nothing lost, no container left over."""
    concurrency = 8
    async with faulty_provider(latency_s=0.03, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", concurrency)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        goal = random.Random(seed).randrange(1, 290)
        while (await provider.counters())["answered"] < goal:
            assert process.poll() is None, process.stderr.read()
            await asyncio.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.communicate)
        row = json.loads(cli("show", last(cli), "--json").stdout)
        assert row["evaluation"]["state"] == "running"
        (document,) = await asyncio.to_thread(cli.documents, "resume", row["evaluation"]["evaluation_id"])
        counters = await provider.counters()
    assert document["report"]["overall"]["value"] == 1.0
    assert document["report"]["counts"]["scored"] == 300
    assert counters["answered"] == 300
    assert counters["requests"] - 300 <= concurrency
    assert containers() == set()


def last(cli: Cli) -> str:
    """The id of the only evaluation."""
    listed = cli("ls", "evaluations").stdout
    return next(word for word in listed.split() if word.startswith("ev_"))


async def test_ctrl_c_pauses_and_resume_pays_for_nothing_twice(cli: Cli, toy_answers: Path) -> None:
    """Calls in flight end first, so that even they aren't repeated."""
    async with faulty_provider(latency_s=0.05, answers=str(toy_answers)) as provider:
        base = ("-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        process = await asyncio.to_thread(cli.start, "run", "-b", "toy", *base)
        while (await provider.counters())["answered"] < 50:
            assert process.poll() is None, process.stderr.read()
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
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
        subprocess.run(["docker", "kill", *containers()], check=True, capture_output=True)
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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    folder = tmp_path / "small"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_pauses_and_loses_nothing(cli: Cli, small_disk: Path) -> None:
    """A clear message, and with room again, resume goes on from what is there."""
    home = {"DEP_MCP_HOME": str(small_disk / "home")}
    async with faulty_provider(answer="x" * 20_000) as provider:
        arguments = ("run", "-b", "toy", "-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8)
        full = await asyncio.to_thread(cli, *arguments, **home)
        assert full.returncode == 3, full.stderr
        assert "full" in full.stderr
        assert "Traceback" not in full.stderr
        before = (await provider.counters())["answered"]
        assert 0 < before < 300
        subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
        listed = cli("ls", "evaluations", **home).stdout
        name = next(word for word in listed.split() if word.startswith("ev_"))
        resumed = await asyncio.to_thread(cli, "resume", name, "--json", **home)
        assert resumed.returncode == 0, resumed.stderr
        counters = await provider.counters()
    assert json.loads(resumed.stdout)[0]["report"]["counts"]["scored"] == 300
    assert counters["requests"] - 300 <= 2 * 8 + 32  # sent and not yet on the disk: no more than that may be


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
