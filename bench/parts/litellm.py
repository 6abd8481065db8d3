"""The LiteLLM adapter against a bare `litellm.acompletion` loop: CPU per call, and calls a second when all is warm."""

import statistics

from bench.floors import bare
from bench.ours import LITELLM, Evaluated, evaluate, items_folder, prepare
from bench.parts.throughput import Pair
from bench.report import Options, Table, spread, verdict
from dep_mcp.testing import faulty_provider

SMALL, LARGE = 300, 1500
WIDTH = 100
LATENCY_S = 0.05
MOST_CPU, LEAST_SPEED = 1.15, 1.6


async def litellm(options: Options) -> list[Table]:
    """Measure."""
    sizes = (options.size(SMALL), options.size(LARGE))
    async with faulty_provider(answer="42") as provider:
        await prepare(provider, *map(items_folder, sizes))
    pairs = {"dep-mcp run": Pair(), "bare litellm loop": Pair()}
    for _ in range(options.rounds):
        for name, pair in pairs.items():
            ours = name == "dep-mcp run"
            pair.small.append(await _once(sizes[0], ours=ours))
            pair.large.append(await _once(sizes[1], ours=ours))
    return [_table(sizes, pairs)]


async def _once(items: int, *, ours: bool) -> Evaluated:
    async with faulty_provider(answer="42", latency_s=LATENCY_S) as provider:
        if ours:
            return await evaluate(provider, items_folder(items), LITELLM, "--concurrency", str(WIDTH))
        return await bare(provider, "litellm", items, WIDTH)


def _rates(pair: Pair) -> list[float]:
    return [run.counters["answered"] / run.calling_s for run in pair.large]


def _table(sizes: tuple[int, int], pairs: dict[str, Pair]) -> Table:
    setting = f"{1000 * LATENCY_S:.0f} ms, {WIDTH} in flight"
    title = f"LiteLLM adapter, `openai/` prefix: from {sizes[0]:,} to {sizes[1]:,} calls, {setting}"
    table = Table(title, ["client", "CPU ms per call", "calls/s at the large size", "start-up s", "peak RSS MB"])
    for name, pair in pairs.items():
        starts = [run.start_s for run in [*pair.small, *pair.large]]
        peaks = [run.run.rss_mb for run in pair.large]
        cells = [spread(pair.marginals_ms()), spread(_rates(pair), 0), spread(starts), spread(peaks, 0)]
        table.rows.append([name, *cells])
    ours, floor = pairs.values()
    cpu = statistics.median(ours.marginals_ms()) / statistics.median(floor.marginals_ms())
    speed = statistics.median(_rates(ours)) / statistics.median(_rates(floor))
    table.notes += [
        f"CPU, ratio of the medians: {verdict(cpu, MOST_CPU)}",
        f"calls/s, ratio of the medians: {speed:.2f} (bar {LEAST_SPEED:g} on 2 cores: "
        + ("holds)" if speed >= LEAST_SPEED else "FAILS)"),
    ]
    return table
