"""A limited provider and a client that was told nothing: time over the ideal, and refused requests."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bench.ours import DIRECT, arguments, check, environment, home, items_folder, prepare
from bench.process import CommandError, run
from bench.report import Options, Table, spread
from bench.scenarios import NAMES, Scenario, scenario
from dep_mcp.testing import FaultyProvider, faulty_provider

SIZE = 30_000
MARKS = ("[a]", "[b]")
LEAST_SHARE = 0.4
_MOST_TIMES = 20
_POLL_S = 0.2


@dataclass
class Seen:
    """What one scenario showed, round by round.

    Attributes:
        what: Limits.
        times: Time over the ideal.
        wasted: 429s per 100 items.
        items: Answered.
        shares: Of the slower of two evaluations, until the first one ended.
        deepest: Most requests in flight.
        failed: Why a round has no figures.
    """

    what: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    wasted: list[float] = field(default_factory=list)
    items: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)
    deepest: list[int] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


async def limits(options: Options) -> list[Table]:
    """Measure."""
    names = [name for name in NAMES if options.wants(name)]
    async with faulty_provider(answer="42") as provider:
        await prepare(provider, items_folder(SIZE), *(items_folder(SIZE, mark) for mark in MARKS))
    seen = {name: Seen() for name in names}
    bars = {}
    for number in range(options.rounds):
        for name in names:
            one = scenario(name, options.seed, number)
            bars[name] = one.bars
            await _round(one, seen[name])
    return [_table(seen, bars)]


async def _round(one: Scenario, seen: Seen) -> None:
    seen.what.append(one.what)
    async with faulty_provider(**one.behaviour, answer="42", count_by=MARKS if one.share else ()) as provider:
        try:
            async with _followed(provider, one, seen):
                await _run(provider, one)
        except CommandError as error:
            seen.failed.append(f"{one.what}: {error}")
            return
        counters = await provider.counters()
    seen.times.append((counters["last_at"] - counters["first_at"]) / one.ideal_s)
    seen.items.append(counters["answered"])
    seen.wasted.append(100 * counters["statuses"].get("429", 0) / counters["answered"])
    seen.deepest.append(counters["max_in_flight"])


async def _run(provider: FaultyProvider, one: Scenario) -> None:
    limit = ("--limit", str(one.items))
    folders = [items_folder(SIZE, mark) for mark in MARKS] if one.share else [items_folder(SIZE)]
    commands = [arguments(provider, folder, DIRECT, *limit) for folder in folders]
    if one.share == "process":
        commands = [arguments(provider, ",".join(map(str, folders)), DIRECT, *limit)]
    timeout_s = _MOST_TIMES * one.ideal_s
    with home() as folder:
        runs = [run(command, env=environment(folder), timeout_s=timeout_s) for command in commands]
        for ended in await asyncio.gather(*runs):
            check(ended)


@asynccontextmanager
async def _followed(provider: FaultyProvider, one: Scenario, seen: Seen) -> AsyncGenerator[None]:
    """Change the limit when it is time, and note who gets how much, until the block ends."""
    task = asyncio.create_task(_follow(provider, one, seen))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _follow(provider: FaultyProvider, one: Scenario, seen: Seen) -> None:
    while (counters := await provider.counters())["first_at"] is None:  # noqa: ASYNC110 (another process)
        await asyncio.sleep(_POLL_S / 10)
    for at_s, rate in one.changes:
        await asyncio.sleep(max(0.0, counters["first_at"] + at_s - time.time()))
        await provider.behave(rate_per_s=rate)
    while one.share:
        await asyncio.sleep(_POLL_S)
        done = [(await provider.counters())["by"].get(mark, 0) for mark in MARKS]
        if max(done) >= one.items:
            seen.shares.append(min(done) / sum(done))
            return


def _table(seen: dict[str, Seen], bars: dict[str, tuple[float, float, int]]) -> Table:
    columns = ["scenario", "limits drawn", "time ÷ ideal", "429s per 100 items", "most in flight", "bars"]
    table = Table("Limited provider, nothing configured", columns)
    for name, one in seen.items():
        table.rows.append([
            name, "; ".join(dict.fromkeys(one.what)), spread(one.times), spread(one.wasted), spread(one.deepest, 0),
            _judged(one, bars[name]),
        ])  # fmt: skip
        if one.shares:
            holds = statistics.median(one.shares) >= LEAST_SHARE
            note = f"{name}: the slower evaluation's share while both ran: {spread(one.shares)} (bar {LEAST_SHARE}: "
            table.notes.append(note + ("holds)" if holds else "FAILS)"))
        table.notes += [f"{name} FAILED: {reason}" for reason in one.failed]
    table.notes.append("time is from the first request to the last answer, by the provider's clock")
    return table


def _judged(one: Seen, bars: tuple[float, float, int]) -> str:
    time, waste, free = bars
    said = f"≤ {time:g}, ≤ {f'{free} + ' if free else ''}{waste:g}"
    if one.failed or not one.times:
        return f"{said}: {len(one.failed)} rounds FAILED"
    over = [refused - 100 * free / items for refused, items in zip(one.wasted, one.items, strict=True)]
    holds = statistics.median(one.times) <= time and statistics.median(over) <= waste
    return f"{said}: {'hold' if holds else 'FAIL'}"
