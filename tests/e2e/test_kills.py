"""`kill -9` at random points of an evaluation's whole life, over the shipped image and a real endpoint.

Client, orchestrator and runner are one process in this product, and that is the one that is killed here; container and
engine are in `test_engine_kills`.

What is sent again after a kill is exactly what was sent and not yet durable. Back-pressure bounds that by the
concurrency that was set, or by `MOST_IN_FLIGHT` where none was; of answers, it is only those of the last quarter of a
second, within which an answer becomes durable.
"""

import asyncio
import json
import logging
import os
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dep_mcp.models.limiter import MOST_IN_FLIGHT
from dep_mcp.testing import FaultyProvider, faulty_provider
from tests.e2e.engine import containers

if TYPE_CHECKING:
    import subprocess

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""

MODEL = "openai-compatible/faulty"
ITEMS = 300
LATENCY_S = 0.03
DURABLE_S = 0.25
POLL_S = 0.01
LOG = logging.getLogger(__name__)
SOAK = bool(os.environ.get("DEP_MCP_SOAK"))


@dataclass
class Stored:
    """What a killed process left in the store: nothing of it is read through our own code."""

    evaluation_id: str | None
    state: str | None
    answers: int
    report: dict[str, Any] | None


def stored(home: Path) -> Stored:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(home / "home" / "store.sqlite")) as db:
        rows = db.execute("SELECT evaluation_id, state, report FROM evaluations").fetchall()
        if rows:
            ((evaluation_id, state, report),) = rows
            (answers,) = db.execute("SELECT count(*) FROM answers WHERE NOT failed").fetchone()
            return Stored(evaluation_id, state, answers, None if report is None else json.loads(report))
    return Stored(None, None, 0, None)


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(POLL_S)


def _replies(counters: dict[str, Any]) -> int:
    return int(counters["statuses"].get("200", 0))


@dataclass
class Life:
    """An evaluation that is killed and taken up again.

    Attributes:
        cli: Of a home of its own.
        provider: Its counters are the evidence.
        concurrency: Of the command; `None` leaves it to find its own.
        draw: Of the points.
        seconds: How long it takes undisturbed.
        pids: Of the processes so far.
        again: Requests so far that have to be sent again.
        twice: How many of those were answered.
        seen: When how many replies had been sent, of this process.
    """

    cli: Cli
    provider: FaultyProvider
    concurrency: int | None
    draw: random.Random
    seconds: float
    pids: list[int] = field(default_factory=list)
    again: int = 0
    twice: int = 0
    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def begin(self) -> "subprocess.Popen[str]":
        """Start it, or go on where it exists."""
        evaluation_id = stored(self.cli.home).evaluation_id
        limit = [] if self.concurrency is None else ["--concurrency", self.concurrency]
        run = ["run", "-b", "toy", "-m", MODEL, "--api-base", self.provider.api_base, *limit]
        process = self.cli.start(*(run if evaluation_id is None else ["resume", evaluation_id]))
        self.pids.append(process.pid)
        self.seen.clear()
        return process

    async def answered(self) -> int:
        counters = await self.provider.counters()
        self.seen.append((time.monotonic(), _replies(counters)))
        return int(counters["answered"])

    async def reach(self, process: "subprocess.Popen[str]", how: str) -> None:
        """Wait for the random point, or for the process to end before it."""
        begin, goal, delay_s = time.monotonic(), 0, self.draw.uniform(0, 1.1 * self.seconds)
        if how != "any time" and (before := await self.answered()) < ITEMS:
            goal = ITEMS if how == "at the end" else self.draw.randrange(before, ITEMS) + 1
            delay_s = self.draw.uniform(0, 0.5) if how == "at the end" else 0.0
        while process.poll() is None:
            if await self.answered() < goal:
                begin = time.monotonic()
            elif time.monotonic() - begin >= delay_s:
                return
            await asyncio.sleep(POLL_S)

    async def kill(self, how: str) -> str:
        """Begin, kill at a random point, and check what that costs; says where it was hit."""
        process = self.begin()
        await self.reach(process, how)
        process.kill()
        at = time.monotonic()
        said = (await asyncio.to_thread(process.communicate))[1]
        assert process.returncode in (0, -9), said
        left = stored(self.cli.home)
        while (counters := await self.provider.counters())["in_flight"]:
            await asyncio.sleep(POLL_S)
        replies, most = _replies(counters), self.concurrency or counters["max_in_flight"]
        again, twice = counters["requests"] - left.answers, replies - left.answers
        lost, paid = again - self.again, twice - self.twice
        self.again, self.twice = again, twice
        lately = replies - max((count for seen, count in self.seen if seen <= at - DURABLE_S), default=0)
        assert 0 <= lost <= (self.concurrency or MOST_IN_FLIGHT)
        assert 0 <= lost - paid <= most
        assert 0 <= paid <= lately
        where = f"{how}: {left.state}, {left.answers} durable" if left.state else f"{how}: no evaluation yet"
        return f"{where}; sent again: {paid} answered and {lost - paid} in flight, of {most} at most"

    async def end(self) -> None:
        """Go on until it is done, and check that nothing was lost, repeated or left over."""
        if stored(self.cli.home).state != "completed":
            process = self.begin()
            said = (await asyncio.to_thread(process.communicate, timeout=120))[1]
            assert process.returncode == 0, said
        counters, left = await self.provider.counters(), stored(self.cli.home)
        assert left.state == "completed"
        assert left.answers == counters["answered"] == ITEMS
        assert left.report is not None
        assert (left.report["overall"]["value"], left.report["counts"]["scored"]) == (1.0, ITEMS)
        assert left.report["counts"]["failed"] == 0
        assert counters["requests"] == ITEMS + self.again  # not one that was durable, and not one twice
        await until(lambda: not containers(*self.pids))


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, float]:
    """Seconds of an evaluation that nobody kills, by test run; filled by the first."""
    return {}


@pytest.mark.parametrize("seed", range(100 if SOAK else 10))
async def test_a_kill_at_any_time_loses_nothing_and_repeats_only_what_wasnt_durable(
    cli: Cli, toy_answers: Path, undisturbed: dict[str, float], seed: int
) -> None:
    """During start-up, calls, submission or scoring; some twice in a row; with a given and with a found concurrency."""
    draw = random.Random(seed)
    concurrency = None if seed % 4 == 3 else 8
    async with faulty_provider(latency_s=LATENCY_S, answers=str(toy_answers)) as provider:
        if not undisturbed:
            spare = type(cli)(cli.home / "spare", cli.env | {"DEP_MCP_HOME": str(cli.home / "spare" / "home")})
            spare.home.mkdir()
            begin = time.monotonic()
            await Life(spare, provider, concurrency, draw, 0).end()
            undisturbed["seconds"] = time.monotonic() - begin
    async with faulty_provider(latency_s=LATENCY_S, answers=str(toy_answers)) as provider:
        life = Life(cli, provider, concurrency, draw, undisturbed["seconds"])
        points = ["any time", "in the middle", "at the end"]
        for kill in range(2 if seed % 5 == 1 else 1):
            if stored(cli.home).state == "completed":
                break
            LOG.info("seed %d: %s", seed, await life.kill(points[(seed + kill) % 3]))
        await life.end()
