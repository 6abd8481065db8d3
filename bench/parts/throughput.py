"""The direct adapter against a bare aiohttp loop: CPU per item, and wall time where the provider takes its time."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.floors import bare, marginal_ms
from bench.ours import DIRECT, Evaluated, evaluate, items_folder, prepare
from bench.report import Options, Table, spread, verdict
from dep_mcp.testing import faulty_provider

SMALL, LARGE = 1000, 20_000
SLOW = 5000
WIDTH = 100
SLOW_S = 0.2
MOST_CPU, MOST_WALL, MOST_DURABLE_MS = 2.0, 1.10, 250


@dataclass
class Pair:
    """Runs of one client, small and large in turn."""

    small: list[Evaluated] = field(default_factory=list)
    large: list[Evaluated] = field(default_factory=list)

    def marginals_ms(self) -> list[float]:
        """CPU per item of each round."""
        return [marginal_ms(small, large) for small, large in zip(self.small, self.large, strict=True)]

    def provider_us(self) -> list[float]:
        """The provider's own CPU per request, of each round."""
        costs = []
        for small, large in zip(self.small, self.large, strict=True):
            spent = large.counters["cpu_s"] - small.counters["cpu_s"]
            costs.append(1e6 * spent / (large.counters["requests"] - small.counters["requests"]))
        return costs


async def once(kind: str, items: int, latency_s: float) -> Evaluated:
    """One run of `aiohttp`, the bare loop, or `direct`, ours; the provider is new each time."""
    async with faulty_provider(answer="42", latency_s=latency_s) as provider:
        if kind == "aiohttp":
            return await bare(provider, kind, items, WIDTH)
        return await evaluate(provider, items_folder(items), DIRECT, "--concurrency", str(WIDTH))


async def throughput(options: Options) -> list[Table]:
    """Measure."""
    sizes = [options.size(size) for size in (SMALL, LARGE, SLOW)]
    async with faulty_provider(answer="42") as provider:
        await prepare(provider, *map(items_folder, sizes))
    costs = {"direct": Pair(), "aiohttp": Pair()}
    slow: dict[str, list[Evaluated]] = {"direct": [], "aiohttp": []}
    for _ in range(options.rounds):
        for kind, pair in costs.items():
            pair.small.append(await once(kind, sizes[0], 0.0))
            pair.large.append(await once(kind, sizes[1], 0.0))
        for kind, runs in slow.items():
            runs.append(await once(kind, sizes[2], SLOW_S))
    return [_cpu(sizes, costs["direct"], costs["aiohttp"]), _wall(sizes[2], slow["direct"], slow["aiohttp"])]


def _cpu(sizes: Sequence[int], ours: Pair, floor: Pair) -> Table:
    small, large = sizes[:2]
    title = f"Direct adapter: CPU per item, from {small:,} to {large:,} items, 0 ms, {WIDTH} in flight, journal FULL"
    table = Table(title, ["client", "CPU ms per item", "items/s at the large size", "start-up s", "peak RSS MB"])
    for name, pair in (("dep-mcp run", ours), ("bare aiohttp loop", floor)):
        rates = [run.counters["answered"] / run.calling_s for run in pair.large]
        starts = [run.start_s for run in [*pair.small, *pair.large]]
        peaks = [run.run.rss_mb for run in pair.large]
        table.rows.append([name, spread(pair.marginals_ms(), 3), spread(rates, 0), spread(starts), spread(peaks, 0)])
    ratio = statistics.median(ours.marginals_ms()) / statistics.median(floor.marginals_ms())
    table.notes += [
        f"ratio of the medians: {verdict(ratio, MOST_CPU)}",
        "start-up is from the command to the first request, container included",
        _durable_note(ours.large),
        *_sealed_notes(ours),
        f"the faulty provider's own CPU per request: {spread(ours.provider_us() + floor.provider_us(), 0)} µs",
    ]
    return table


def _durable_note(runs: Sequence[Evaluated]) -> str:
    found = {name: [run.durable_ms[name] for run in runs] for name in ("p50", "p99", "max")}
    said = ", ".join(f"{name} {spread(values, 0)}" for name, values in found.items())
    worst = verdict(max(found["p99"]), MOST_DURABLE_MS)
    return f"ms from an answer's arrival until it was durable: {said}; worst p99 {worst}"


def _sealed_notes(ours: Pair) -> list[str]:
    known = [
        (small.sealed.cpu_s, large.sealed.cpu_s, large.counters["answered"] - small.counters["answered"])
        for small, large in zip(ours.small, ours.large, strict=True)
    ]
    per_item = [1000 * (more - less) / items for less, more, items in known if less is not None and more is not None]
    first = [less for less, _, _ in known if less is not None]
    peaks = [run.sealed.peak_mb for run in ours.large if run.sealed.peak_mb is not None]
    return [
        f"the container's own CPU per item: {spread(per_item, 3)} ms; of the whole small run: {spread(first)} s",
        f"the container's peak memory at the large size, cached files included: {spread(peaks, 0)} MB",
    ]


def _wall(items: int, ours: Sequence[Evaluated], floor: Sequence[Evaluated]) -> Table:
    ideal = items / WIDTH * SLOW_S
    title = f"Direct adapter: first request to last answer, {items:,} items, {1000 * SLOW_S:.0f} ms, {WIDTH} in flight"
    table = Table(title, ["client", "s", f"ratio to the ideal {ideal:.1f} s"])
    for name, runs in (("dep-mcp run", ours), ("bare aiohttp loop", floor)):
        taken = [run.calling_s for run in runs]
        table.rows.append([name, spread(taken), spread(taken, 2, 1 / ideal)])
    ratio = statistics.median(run.calling_s for run in ours) / statistics.median(run.calling_s for run in floor)
    table.notes.append(f"ratio of the medians: {verdict(ratio, MOST_WALL)}")
    return table
