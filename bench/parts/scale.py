"""200,000 items: memory of client and container, CPU per item, and a resume from the middle."""

import asyncio
import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.container import starts
from bench.floors import marginal_ms
from bench.ours import DEP_MCP, DIRECT, Evaluated, arguments, check, environment, evaluate, home, items_folder, prepare
from bench.process import CommandError, Run, command, run
from bench.report import Options, Table, spread, verdict
from dep_mcp.testing import FaultyProvider, faulty_provider

SMALL, MIDDLE, LARGE = 1000, 10_000, 200_000
WIDTH = ("--concurrency", "100")
MOST_MB, MOST_SEALED_MB, MOST_CPU, MOST_RESUME_S = 50, 256, 1.2, 2.0
_LONG_S = 3600.0
_POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A resume after `kill -9` in the middle.

    Attributes:
        ready_s: From the command until its container is ready.
        first_s: From there to its first request.
        run: Of the resume.
        counters: At the end.
    """

    ready_s: float
    first_s: float
    run: Run
    counters: dict[str, Any]


async def scale(options: Options) -> list[Table]:
    """Measure; the large size once, the others in every round."""
    sizes = [options.size(size) for size in (SMALL, MIDDLE, LARGE)]
    async with faulty_provider(answer="42") as provider:
        await prepare(provider, *map(items_folder, sizes))
    small, middle = [], []
    for _ in range(options.rounds):
        small.append(await _once(sizes[0]))
        middle.append(await _once(sizes[1]))
    large = await _once(sizes[2])
    resumed = await _resumed(sizes[2])
    return [_growth(small, middle, large), _resume(sizes[2], resumed)]


async def _once(items: int) -> Evaluated:
    async with faulty_provider(answer="42") as provider:
        return await evaluate(provider, items_folder(items), DIRECT, *WIDTH, timeout_s=_LONG_S)


async def _resumed(items: int) -> Resumed:
    async with faulty_provider(answer="42") as provider:
        with home() as folder:
            await _killed(provider, folder, items)
            evaluation = next((folder / "logs").glob("*.jsonl")).stem
            before = (await provider.counters())["requests"]
            first = asyncio.create_task(_first_after(provider, before))
            ended = await run(
                [str(DEP_MCP), "resume", evaluation, "--json"], env=environment(folder), timeout_s=_LONG_S
            )
            ready = datetime.fromisoformat(starts(folder / "logs", ["container_ready"])[-1]["timestamp"]).timestamp()
            check(ended)
            return Resumed(
                ready_s=ready - ended.started_at,
                first_s=await first - ready,
                run=ended,
                counters=await provider.counters(),
            )


async def _killed(provider: FaultyProvider, folder: Path, items: int) -> None:
    """Run, and kill at half."""
    async with command(arguments(provider, items_folder(items), DIRECT, *WIDTH), env=environment(folder)) as running:
        while (await provider.counters())["answered"] < items // 2:  # noqa: ASYNC110 (another process)
            await asyncio.sleep(_POLL_S)
        running.kill()
        ended = await running.ended(_LONG_S)
    if ended.code != -9:  # noqa: PLR2004 (SIGKILL)
        msg = f"it ended with {ended.code} before it could be killed"
        raise CommandError(msg)


async def _first_after(provider: FaultyProvider, requests: int) -> float:
    while (await provider.counters())["requests"] <= requests:  # noqa: ASYNC110 (as above)
        await asyncio.sleep(_POLL_S)
    return time.time()


def _growth(small: list[Evaluated], middle: list[Evaluated], large: Evaluated) -> Table:
    columns = ["items", "client's peak RSS MB", "container's peak MB", "CPU ms per item, beyond the smallest", "wall s"]
    table = Table("Scale, 0 ms, 100 in flight", columns)
    costs = [marginal_ms(less, more) for less, more in zip(small, middle, strict=True)]
    last = marginal_ms(small[-1], large)
    for runs, cost in ((small, []), (middle, costs), ([large], [last])):
        peaks = [one.sealed.peak_mb for one in runs if one.sealed.peak_mb is not None]
        items = f"{runs[0].counters['answered']:,}"
        rss, wall = [one.run.rss_mb for one in runs], [one.run.wall_s for one in runs]
        table.rows.append([items, spread(rss, 0), spread(peaks, 0), spread(cost, 3), spread(wall, 1)])
    grown = large.run.rss_mb - statistics.median(one.run.rss_mb for one in small)
    table.notes += [
        f"growth of the client's memory in MB: {verdict(grown, MOST_MB)}",
        f"the container's memory in MB, cached files included: {verdict(large.sealed.peak_mb or 0, MOST_SEALED_MB)}",
        f"CPU per item over that of the middle size: {verdict(last / statistics.median(costs), MOST_CPU)}",
    ]
    return table


def _resume(items: int, resumed: Resumed) -> Table:
    columns = [
        "items",
        "command to container ready s",
        "ready to first request s",
        "resume's wall s",
        "RSS MB",
        "sent twice",
    ]
    table = Table("`kill -9` at half, then `resume`", columns)
    counters = resumed.counters
    table.rows.append([
        f"{items:,}", f"{resumed.ready_s:.2f}", verdict(resumed.first_s, MOST_RESUME_S), f"{resumed.run.wall_s:.1f}",
        f"{resumed.run.rss_mb:.0f}", str(counters["sent_twice"]),
    ])  # fmt: skip
    twice = f"{counters['answered_twice']} of them twice (sent before the kill, and not yet durable)"
    table.notes += [
        f"{counters['answered']:,} were answered in the end, {twice}",
        f"the first request is seen within {1000 * _POLL_S:.0f} ms",
    ]
    return table
