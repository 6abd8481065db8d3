"""Sealed containers: how long until the first item, cold and warm, and what each costs while it waits."""

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.ours import DIRECT, arguments, environment, home
from bench.process import run
from bench.report import Options, Table, spread, verdict
from dep_mcp.cli.wiring import Host
from dep_mcp.client import connect, line_transport
from dep_mcp.containers import ContainerSpec
from dep_mcp.orchestrator import Orchestrator, Prepared, WarmRuntime, container_spec
from dep_mcp.protocol import ModelCard
from dep_mcp.settings import HostSettings
from dep_mcp.testing import faulty_provider, toy_folder

AT_ONCE = 50
COLD_BAR, WARM_BAR_MS = 1.5, 50
_IMPORTS = "import mcp.server.stdio, mcp.server, pydantic, yaml, pyrage, cryptography, dep_mcp.server; print('ready')"
_CARD = ModelCard(name="none", adapter="openai_compatible", model="none", api_base="http://127.0.0.1:1/v1")
_EMPTY, _IMPORTING = "`docker run` of the image, `true`", "`docker run` of the image that imports and prints a line"
_COLD, _COMMAND = "cold: evaluation created to first items", "cold: `dep-mcp run` to first request"
_WARM = "warm: evaluation created to first items"


async def sealed(options: Options) -> list[Table]:
    """Measure."""
    with home() as folder:
        settings = HostSettings(home=folder, plugins=(toy_folder().parents[1],))
        async with Host.open(settings) as host:
            benchmark, _ = host.catalogue.resolve("toy")
            prepared = await host.prepare(benchmark, None, [])
            return [await _started(host, prepared, options), await _idle(host, prepared, options)]


async def _started(host: Host, prepared: Prepared, options: Options) -> Table:
    seen: dict[str, list[float]] = {name: [] for name in (_EMPTY, _IMPORTING, _COLD, _COMMAND, _WARM)}
    docker = ["docker", "run", "--rm", "--network=none", "--entrypoint"]
    image = prepared.image.digest
    async with WarmRuntime(host.runtime) as warm:
        resident = _orchestrator(host, warm)
        spec = container_spec((await resident.create(prepared, _CARD)).settings)
        for _ in range(options.rounds):
            seen[_EMPTY].append((await run([*docker, "true", image])).wall_s)
            seen[_IMPORTING].append((await run([*docker, "python", image, "-c", _IMPORTS])).wall_s)
            seen[_COLD].append(await _first_items(host.orchestrator, prepared))
            seen[_COMMAND].append(await _command())
            await warm.keep(spec, 1)
            seen[_WARM].append(await _first_items(resident, prepared))
            await warm.keep(spec, 0)
    table = Table("From start to first item", ["what", "s", "÷ importing", "÷ empty", "bar"])
    floor, empty = (statistics.median(seen[name]) for name in (_IMPORTING, _EMPTY))
    for name, values in seen.items():
        middle = statistics.median(values)
        bar = {_COLD: verdict(middle / floor, COLD_BAR), _COMMAND: verdict(middle / floor, COLD_BAR)}.get(name, "")
        bar = f"{verdict(middle * 1000, WARM_BAR_MS)} ms" if name == _WARM else bar
        table.rows.append([name, spread(values, 3), f"{middle / floor:.2f}", f"{middle / empty:.2f}", bar])
    return table


def _orchestrator(host: Host, runtime: WarmRuntime) -> Orchestrator:
    return Orchestrator(runtime, host.store, owner=host.owner, dead=lambda _owner: False, sign=host.keys.countersign)


async def _first_items(orchestrator: Orchestrator, prepared: Prepared) -> float:
    """Seconds from the creation of an evaluation to its first page, which is in the store then."""
    begin = time.perf_counter()
    evaluation = await orchestrator.create(prepared, _CARD)
    async with await orchestrator.endpoint(evaluation, lambda _event, _text: None) as endpoint:
        page = await endpoint.get_items()
        seconds = time.perf_counter() - begin
    assert page.items  # noqa: S101 (a measurement of nothing is none)
    return seconds


async def _command() -> float:
    """Seconds from the command's start to its first request at a provider; no store is there yet."""
    async with faulty_provider(answer="42") as provider:
        with home() as folder:
            words = arguments(provider, toy_folder(), DIRECT, "--limit", "16", "--concurrency", "16")
            ended = await run(list(map(str, words)), env=environment(folder))
        return float((await provider.counters())["first_at"]) - ended.started_at


async def _idle(host: Host, prepared: Prepared, options: Options) -> Table:
    """Many at once, each answering; beside as many that sleep, in the same image and under the same seal."""
    count = options.size(AT_ONCE)
    settings = (await host.orchestrator.create(prepared, _CARD)).settings
    serving = container_spec(settings)
    sleeping = ContainerSpec(image=serving.image, labels={}, command=("sleep", "600"))
    table = Table(
        f"{count} sealed containers at once",
        ["what", "s until all are there", "MB each, of its control group", "MB each, of the host's free memory"],
    )
    for name, spec, ready in (("serving", serving, _describes), ("empty: `sleep`", sleeping, _nothing)):
        before, begin = _available_mb(), time.perf_counter()
        async with _many(host, spec, count, ready) as ids:
            seconds = time.perf_counter() - begin
            groups = [_group_mb(container_id) for container_id in ids]
            host_mb = (before - _available_mb()) / count
        table.rows.append([name, f"{seconds:.1f}", spread([mb for mb in groups if mb], 1), f"{host_mb:.1f}"])
    table.notes.append(
        "until each has answered `describe`; of the host's memory: shims and the engine's share included"
    )
    return table


@asynccontextmanager
async def _many(
    host: Host, spec: ContainerSpec, count: int, ready: Callable[[object], Awaitable[None]]
) -> AsyncGenerator[list[str]]:
    async with AsyncExitStack() as stack:
        containers = await asyncio.gather(*(stack.enter_async_context(host.runtime.start(spec)) for _ in range(count)))
        await asyncio.gather(*map(ready, containers))
        yield [container.id for container in containers]


async def _describes(container: object) -> None:
    async with connect(line_transport(container)) as operator:  # type: ignore[arg-type]
        await operator.describe()


async def _nothing(container: object) -> None:
    del container


def _available_mb() -> float:
    line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable"))
    return int(line.split()[1]) / 1024


def _group_mb(container_id: str) -> float | None:
    """Resident memory of a container's control group, files in the page cache left out; under either version."""
    group = Path("/sys/fs/cgroup")
    try:
        if (group / "cgroup.controllers").exists():
            (found,) = [*group.glob(f"*/*{container_id}*"), *group.glob(f"*{container_id}*")][:1]
            text, key = (found / "memory.stat").read_text(), "anon"
        else:
            text, key = (group / "memory/docker" / container_id / "memory.stat").read_text(), "total_rss"
    except (OSError, ValueError):
        return None
    return int(dict(line.split() for line in text.splitlines())[key]) / 2**20
