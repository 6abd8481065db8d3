"""Several evaluations at once, in the background, reached from another terminal."""

import asyncio
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import FaultyProvider, faulty_provider

pytestmark = pytest.mark.docker

Cli = Any
MODEL = "openai-compatible/faulty"


def arguments(provider: FaultyProvider, *more: object) -> tuple[object, ...]:
    return ("run", "-b", "toy", "-m", MODEL, "--api-base", provider.api_base, *more)


async def until(condition: Callable[[], Any], provider: FaultyProvider, answered: int) -> None:
    async with asyncio.timeout(60):
        while (await provider.counters())["answered"] < answered:
            assert condition(), "it ended too early"
            await asyncio.sleep(0.01)


async def test_a_run_in_the_background_is_paused_resumed_and_cancelled_from_elsewhere(
    cli: Cli, toy_answers: Path
) -> None:
    """The terminal is free at once; every transition has its cause; nothing answered is asked again."""
    async with faulty_provider(latency_s=0.1, answers=str(toy_answers)) as provider:
        started = await asyncio.to_thread(cli, *arguments(provider, "--concurrency", 4, "--detach"))
        assert started.returncode == 0, started.stderr
        (name,) = started.stdout.split()
        await until(lambda: True, provider, 20)
        paused = await asyncio.to_thread(cli, "pause", name[-8:])
        assert (paused.returncode, paused.stdout) == (0, f"{name} paused: paused on request\n")
        before = (await provider.counters())["answered"]
        again = cli.start("resume", name)
        await until(lambda: again.poll() is None, provider, before + 20)
        cancelled = await asyncio.to_thread(cli, "cancel", name)
        assert (cancelled.returncode, cancelled.stdout) == (0, f"{name} failed: cancelled on request\n")
        await asyncio.to_thread(again.communicate)
        assert again.returncode == 1
        (document,) = await asyncio.to_thread(cli.documents, "resume", name)
        counters = await provider.counters()
    assert document["report"]["overall"]["value"] == 1.0
    assert counters["answered_twice"] <= 4 + 4  # those in flight when it was cancelled, or not yet on the disk
    history = [line[21:] for line in cli("show", name).stdout.splitlines() if line.startswith("20")]
    assert history == [
        "running: created",
        "paused: paused on request",
        "running: resumed",
        "failed: cancelled on request",
        "running: resumed",
        "completed: scored",
    ]


async def test_watch_follows_an_evaluation_to_its_end(cli: Cli, toy_answers: Path) -> None:
    """With the exit code that `run` would have; leaving it with Ctrl-C changes nothing."""
    async with faulty_provider(latency_s=0.1, answers=str(toy_answers)) as provider:
        started = await asyncio.to_thread(cli, *arguments(provider, "--detach", "--limit", 100, "--concurrency", 4))
        (name,) = started.stdout.split()
        left = cli.start("watch", name)
        await until(lambda: True, provider, 10)
        left.send_signal(signal.SIGINT)
        _, said = await asyncio.to_thread(left.communicate)
        assert "Traceback" not in said
        watched = await asyncio.to_thread(cli, "watch", name)
    assert (watched.returncode, watched.stdout) == (0, f"{name} completed: scored\n")


async def test_the_log_tells_refused_and_failed_calls(cli: Cli, toy_answers: Path) -> None:
    """One line each, without the prompt."""
    faults = {"429": 0.1, "500": 0.1}
    async with faulty_provider(
        faults=faults, retry_after_s=0.05, answers=str(toy_answers), echo_prompt=True
    ) as provider:
        (document,) = await asyncio.to_thread(cli.documents, *arguments(provider, "--limit", 100))
        counters = await provider.counters()
    name = document["evaluation"]["evaluation_id"]
    lines = cli("logs", name, "--errors").stdout.splitlines()
    for status in ("429", "500"):
        assert sum(f"status={status}" in line for line in lines) == counters["statuses"][status]
    assert not [line for line in lines if "+ 1 =" in line]
    whole = cli("logs", name).stdout
    assert "container_started" in whole
    assert "completed" in whole
    assert "durable_ms" in whole


async def test_pairs_run_side_by_side_and_one_that_fails_stops_no_other(cli: Cli, tmp_path: Path) -> None:
    """Exit code 1, and the others have their scores; as events, for a program."""
    answers = tmp_path / "some.jsonl"
    answers.write_text('{"item_id": "toy-1", "answer": "target-2"}\n', encoding="utf-8")
    async with faulty_provider(answer="target-1", latency_s=0.2) as provider:
        plan = tmp_path / "plan.yaml"
        plan.write_text(
            f"benchmarks: [toy]\nmodels: [{MODEL}, 'replay:{answers}']\nlimit: 40\napi_base: {provider.api_base}\n",
            encoding="utf-8",
        )
        ended = await asyncio.to_thread(cli, "run", "--plan", str(plan), "--events", "--concurrency", 4)
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 1, ended.stderr
    names = [event["event"] for event in events]
    assert names.count("started") == 2
    assert names.count("completed") == names.count("failed") == 1
    assert "progress" in names
    assert names.index("failed") < names.index("completed"), "they run at the same time"


async def test_two_evaluations_share_an_endpoint_fairly(cli: Cli, tmp_path: Path) -> None:
    """Neither waits for the other's end: both are half done when the first one is done."""
    async with faulty_provider(answer="x", max_in_flight=6, latency_s=0.05, retry_after_s=0.05) as provider:
        ended = await asyncio.to_thread(cli, *arguments(provider, "-b", f"toy,{_copy(tmp_path)}", "--events"))
    events = [json.loads(line) for line in ended.stdout.splitlines()]
    first = next(number for number, event in enumerate(events) if event["event"] == "completed")
    seen = {event["title"]: event["done"] for event in events[:first] if event["event"] == "progress"}
    assert len(seen) == 2
    assert min(seen.values()) >= 0.7 * max(seen.values())


def _copy(folder: Path) -> Path:
    """The toy benchmark once more, under another name."""
    from dep_mcp.testing import toy_folder

    made = folder / "other"
    made.mkdir()
    (made / "benchmark.py").write_text((toy_folder() / "benchmark.py").read_text(encoding="utf-8"), encoding="utf-8")
    card = (toy_folder() / "dataset_card.yaml").read_text(encoding="utf-8")
    (made / "dataset_card.yaml").write_text(card.replace("name: toy", "name: other"), encoding="utf-8")
    return made


async def test_a_budget_pauses_and_a_price_that_nobody_knows_is_said(cli: Cli, tmp_path: Path) -> None:
    """Before money is spent that nobody counted."""
    folder = tmp_path / "home" / "plugins"
    async with faulty_provider(answer="one two three four", latency_s=0.02) as provider:
        unknown = await asyncio.to_thread(cli, *arguments(provider, "--max-cost", 1))
        assert unknown.returncode == 3
        assert "no price is known" in unknown.stderr
        cards = folder / "adapters" / "cards"
        cards.mkdir(parents=True)
        (cards / "priced.yaml").write_text(
            f"name: priced\nadapter: openai_compatible\nmodel: faulty\napi_base: {provider.api_base}\n"
            "prices: {input_usd: 0, output_usd: 1000}\nlimits: {concurrency: 4}\n",
            encoding="utf-8",
        )
        path = {"DEP_MCP_PATH": f"{cli.env['DEP_MCP_PATH']}:{folder}"}
        spent = await asyncio.to_thread(cli, "run", "-b", "toy", "-m", "priced", "--max-cost", 0.4, **path)
    assert spent.returncode == 3, spent.stderr
    assert "0.4 USD of --max-cost are spent" in spent.stderr
    (cost,) = [line for line in spent.stdout.splitlines() if line.startswith("tokens")]
    assert 0.4 <= float(cost.rsplit(";", 1)[1].split()[0]) <= 0.4 + 8 * 0.004


async def test_failures_are_sent_again_alone_in_an_evaluation_of_their_own(cli: Cli, toy_answers: Path) -> None:
    """What was answered is kept and said to be; a fork uses nothing."""
    async with faulty_provider(faults={"400": 0.1}, answers=str(toy_answers)) as provider:
        (first,) = await asyncio.to_thread(cli.documents, *arguments(provider, "--limit", 100, "--concurrency", 4))
        failed = first["report"]["counts"]["failed"]
        assert 0 < failed < 40
        name = first["evaluation"]["evaluation_id"]
        await provider.behave(faults={})
        before = (await provider.counters())["requests"]
        (again,) = await asyncio.to_thread(cli.documents, "resume", name, "--retry-failed")
        assert (await provider.counters())["requests"] == before + failed
        (fork,) = await asyncio.to_thread(cli.documents, "resume", name, "--fork")
        assert (await provider.counters())["requests"] == before + failed + 100
    assert again["report"]["counts"] == {"expected": 100, "scored": 100, "scorer_errors": 0, "failed": 0, "missing": 0}
    keys = [document["opened"].pop("public_key") for document in (first, again, fork)]
    assert len(set(keys)) == 3
    assert again["opened"] == first["opened"]
    assert fork["opened"]["items_digest"] != first["opened"]["items_digest"]
    assert f"forked from {name}" in cli("show", again["evaluation"]["evaluation_id"]).stdout
