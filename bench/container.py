"""CPU and memory of a benchmark's container, read from its control group while it lives."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")
_SAMPLE_S = 0.05


@dataclass
class Sealed:
    """What a container took, as far as could be read.

    Attributes:
        cpu_s: User and system time of all containers of the evaluation so far.
        peak_mb: Most memory that it ever had, the cached parts of its files included.
        started_at: When the client's log says that it started, in seconds since 1970.
    """

    cpu_s: float | None = None
    peak_mb: float | None = None
    started_at: str | None = None


@asynccontextmanager
async def watched(logs: Path) -> AsyncGenerator[Sealed]:
    """Watch the container that the log of an evaluation names, until the block ends.

    Args:
        logs: The folder of the logs; must hold one evaluation's.
    """
    sealed = Sealed()
    task = asyncio.create_task(_watch(logs, sealed))
    try:
        yield sealed
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _watch(logs: Path, sealed: Sealed) -> None:
    started = 0
    while True:
        events = starts(logs)
        if len(events) > started:
            started = len(events)
            sealed.started_at = events[-1]["timestamp"]
            await _sample(events[-1]["text"], sealed)
        await asyncio.sleep(_SAMPLE_S)


def starts(logs: Path, names: Sequence[str] = ("container_started", "container_replaced")) -> list[dict[str, Any]]:
    """The logged starts of containers, or other events."""
    marks = [f'"event": "{name}"' for name in names]
    found = []
    for path in logs.glob("*.jsonl"):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [json.loads(line) for line in lines if any(mark in line for mark in marks)]
    return found


async def _sample(container_id: str, sealed: Sealed) -> None:
    before = sealed.cpu_s or 0.0
    while True:
        cpu_s, peak_mb = _read(container_id)
        if cpu_s is None:
            return  # it is gone
        sealed.cpu_s = before + cpu_s
        sealed.peak_mb = max(sealed.peak_mb or 0.0, peak_mb)
        await asyncio.sleep(_SAMPLE_S)


def _read(container_id: str) -> tuple[float | None, float]:
    """CPU seconds and the peak of memory in MB, under either version of control groups."""
    try:
        if (_CGROUP / "cgroup.controllers").exists():
            (group,) = [*_CGROUP.glob(f"*/*{container_id}*"), *_CGROUP.glob(f"*{container_id}*")][:1]
            usage = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
            return int(usage["usage_usec"]) / 1e6, int((group / "memory.peak").read_text()) / 2**20
        cpu = (_CGROUP / "cpuacct/docker" / container_id / "cpuacct.usage").read_text()
        peak = (_CGROUP / "memory/docker" / container_id / "memory.max_usage_in_bytes").read_text()
        return int(cpu) / 1e9, int(peak) / 2**20
    except (OSError, ValueError, KeyError):
        return None, 0.0
