"""`kill -9` of a container's main process, and of the container engine, at random points of a full evaluation.

The toolkit's own process, which is client and orchestrator at once, is killed in `test_kills`. It lives on here, so
that nothing has to be sent again: not even what was in flight.
"""

import asyncio
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import FaultyProvider, faulty_provider
from tests.e2e.own_engine import OwnEngine, own_engine
from tests.e2e.test_kills import ITEMS, LATENCY_S, MODEL, POLL_S, SOAK, stored, until

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""

SEED = "5eed" * 8
PHASES = ("start", "calls", "end")
POINTS = range(20 if SOAK else 2)
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Undisturbed:
    """An evaluation that nothing disturbs.

    Attributes:
        report: Its score, without its id.
        begin_s: From the command to a container that can be called.
        start_s: Of that, since the container runs.
        end_s: From the last answer to the command's end: submission and scoring.
    """

    report: dict[str, Any]
    begin_s: float
    start_s: float
    end_s: float


Known = dict[bool, Undisturbed]
"""By whether all answers are right."""


@pytest.fixture(scope="module")
def engine() -> Iterator[OwnEngine]:
    with own_engine() as engine:
        yield engine


@pytest.fixture(scope="module")
def known() -> Known:
    """Filled by the first test that needs it."""
    return {}


def report_of(home: Path) -> dict[str, Any]:
    """The report, whose items come in the same order since the seed is given."""
    report = stored(home).report
    assert report is not None
    assert report.pop("evaluation_id")
    return report


def completions(home: Path) -> int:
    with closing(sqlite3.connect(home / "home" / "store.sqlite")) as db:
        (count,) = db.execute("SELECT count(*) FROM transitions WHERE state = 'completed'").fetchone()
    return int(count)


def command(provider: FaultyProvider) -> list[object]:
    return ["run", "-b", "toy", "-m", MODEL, "--api-base", provider.api_base, "--concurrency", 8, "--seed", SEED]


async def undisturbed(cli: Cli, engine: OwnEngine, answers: Path) -> Undisturbed:
    async with faulty_provider(latency_s=LATENCY_S, answers=str(answers)) as provider:
        begin = time.time()
        process = cli.start(*command(provider))
        await until(lambda: bool(engine.container_pids()) or process.poll() is not None, 120)
        runs = time.time()
        said = (await asyncio.to_thread(process.communicate, timeout=120))[1]
        assert process.returncode == 0, said
        end, counters = time.time(), await provider.counters()
    ready = counters["first_at"]
    return Undisturbed(report_of(cli.home), ready - begin, ready - runs, end - counters["last_at"])


@dataclass(frozen=True)
class Course:
    """One evaluation that is disturbed once, and must end as if it hadn't been.

    Attributes:
        cli: Of a home of its own.
        engine: Where its container runs.
        provider: Its counters are the evidence.
        draw: Of the point.
        phase: In which that lies.
        undisturbed: How the same evaluation ends, and how long that takes.
    """

    cli: Cli
    engine: OwnEngine
    provider: FaultyProvider
    draw: random.Random
    phase: str
    undisturbed: Undisturbed

    async def reach(self, process: "subprocess.Popen[str]", *, container: bool) -> None:
        """Wait for the random point of the phase (of a container's life), or for the process to end before it."""
        rest_s = {"start": self.undisturbed.begin_s, "calls": 0.0, "end": self.undisturbed.end_s}[self.phase]
        goal = {"start": 0, "calls": self.draw.randrange(1, ITEMS), "end": ITEMS}[self.phase]
        if container and self.phase == "start":
            rest_s = self.undisturbed.start_s
            await until(lambda: bool(self.engine.container_pids()) or process.poll() is not None, 120)
        while process.poll() is None and (await self.provider.counters())["answered"] < goal:
            await asyncio.sleep(POLL_S)
        with suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, self.draw.uniform(0, rest_s))

    async def end(self, process: "subprocess.Popen[str]") -> str:
        """Let the process end, and another go on if it paused; says how the first ended."""
        said = (await asyncio.to_thread(process.communicate, timeout=120))[1]
        assert "Traceback" not in said
        left = stored(self.cli.home)
        if process.returncode == 0:
            return "went on by itself"
        assert process.returncode == (2 if left.state is None else 3), said
        assert left.state in {None, "paused"}
        await asyncio.to_thread(self.engine.ensure)
        again = command(self.provider) if left.state is None else ["resume", left.evaluation_id]
        resumed = await asyncio.to_thread(self.cli, *again)
        assert resumed.returncode == 0, resumed.stderr
        why = next(line for line in said.splitlines() if line.startswith("dep-mcp: "))
        assert left.state is None or f"go on with: dep-mcp resume {left.evaluation_id}" in said
        return f"{left.answers} durable, {why[:160]}"

    async def check(self, before: dict[str, list[str]]) -> None:
        """Nothing lost, sent or scored twice, or left over; and the same score."""
        counters, left = await self.provider.counters(), stored(self.cli.home)
        assert (left.state, left.answers) == ("completed", ITEMS)
        assert counters["requests"] == counters["answered"] == counters["unique"] == ITEMS
        assert report_of(self.cli.home) == self.undisturbed.report
        assert completions(self.cli.home) == 1
        with suppress(TimeoutError):
            await until(lambda: self.engine.there() == before, 2)
            return
        again = await asyncio.to_thread(self.cli, "resume", left.evaluation_id)  # it reaps, then it refuses
        assert "is completed" in again.stderr
        with suppress(TimeoutError):
            await until(lambda: self.engine.there() == before, 10)
        assert self.engine.there() == before


async def courses(cli: Cli, engine: OwnEngine, known: Known, answers: Path, seed: int) -> AsyncGenerator[Course]:
    """The same point again and again, until one lies before the evaluation's end."""
    right = seed % 4 == 3
    if not right:  # a third of them is wrong: the provider echoes the question
        kept = [pair for number, pair in enumerate(json.loads(answers.read_text()).items()) if number % 3]
        answers.write_text(json.dumps(dict(kept)))

    def home(name: str) -> Cli:
        (folder := cli.home / name).mkdir()
        return type(cli)(folder, cli.env | {"DEP_MCP_HOME": str(folder / "home"), "DOCKER_HOST": engine.host})

    if right not in known:
        known[right] = await undisturbed(home("undisturbed"), engine, answers)
        assert known[right].report["overall"]["value"] == pytest.approx(1.0 if right else 2 / 3)
        LOG.info("undisturbed: %s", known[right])
    draw = random.Random(seed)
    for number in range(5):
        async with faulty_provider(latency_s=LATENCY_S, answers=str(answers)) as provider:
            yield Course(home(f"course-{number}"), engine, provider, draw, PHASES[seed % 3], known[right])
    pytest.fail("each time, the evaluation ended before the point")


@pytest.mark.parametrize("seed", POINTS)
async def test_a_killed_container_changes_nothing_of_the_score(
    cli: Cli, toy_answers: Path, engine: OwnEngine, known: Known, seed: int
) -> None:
    """It is replaced, or, if it dies before it could be called, the evaluation pauses."""
    before = engine.there()
    async with aclosing(courses(cli, engine, known, toy_answers, seed)) as tries:
        async for course in tries:
            process = course.cli.start(*command(course.provider))
            await course.reach(process, container=True)
            pids = engine.container_pids()
            for pid in pids:
                os.kill(pid, signal.SIGKILL)
            how = await course.end(process)
            await course.check(before)
            LOG.info("seed %d, container killed at its %s: %s", seed, course.phase, how if pids else "too late")
            if pids:
                return


@pytest.mark.parametrize(
    ("seed", "live_restore"),
    [(seed, False) for seed in POINTS] + [(seed, True) for seed in range(10 if SOAK else 0)],
)
async def test_a_killed_engine_changes_nothing_of_the_score(
    cli: Cli, toy_answers: Path, engine: OwnEngine, known: Known, seed: int, *, live_restore: bool
) -> None:
    """The evaluation pauses and says what to do; or it goes on by itself, where the engine is soon back."""
    engine.live_restore(on=live_restore)
    before = engine.there()
    async with aclosing(courses(cli, engine, known, toy_answers, seed + 1)) as tries:
        async for course in tries:
            process = course.cli.start(*command(course.provider))
            await course.reach(process, container=False)
            hit = process.poll() is None
            engine.kill()
            at_once = course.draw.random() < 0.5
            if at_once:
                await asyncio.to_thread(engine.start)
            how = await course.end(process)
            await asyncio.to_thread(engine.ensure)
            await course.check(before)
            restart = "at once" if at_once else "later"
            LOG.info(
                "seed %d, killed at its %s, restarted %s: %s", seed, course.phase, restart, how if hit else "too late"
            )
            if hit:
                return
