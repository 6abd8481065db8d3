"""Shows how far evaluations are: a live view on a terminal, plain lines elsewhere, or events for programs."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

from rich.console import Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dep_mcp.cli.meter import Snapshot
from dep_mcp.cli.views import err

_LIVE_S, _PLAIN_S = 0.25, 10.0
_LONG_S = 3.0
"""A shorter wait isn't worth a word."""
Snapshots = Callable[[], Sequence[Snapshot]]


def event(name: str, **values: object) -> None:
    """Print one event for programs: a JSON object on a line of its own, on standard output."""
    sys.stdout.write(json.dumps({"event": name, "at": time.time(), **values}) + "\n")
    sys.stdout.flush()


@asynccontextmanager
async def shown(snapshots: Snapshots, *, events: bool = False) -> AsyncGenerator[None]:
    """Show progress on standard error, or as events on standard output, until the block ends."""
    show = _events if events else _live if sys.stderr.isatty() else _plain
    task = asyncio.create_task(show(snapshots))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _live(snapshots: Snapshots) -> None:
    with Live(console=err(), auto_refresh=False, transient=False) as live:
        try:
            while True:
                live.update(view(snapshots()), refresh=True)
                await asyncio.sleep(_LIVE_S)
        finally:
            live.update(view(snapshots()), refresh=True)


async def _plain(snapshots: Snapshots) -> None:
    while True:
        await asyncio.sleep(_PLAIN_S)
        for snapshot in snapshots():
            err().print(plain(snapshot), markup=False)


async def _events(snapshots: Snapshots) -> None:
    while True:
        await asyncio.sleep(1)
        for snapshot in snapshots():
            event("progress", **snapshot.model_dump(mode="json"))


def view(snapshots: Sequence[Snapshot]) -> Group:
    """Two lines an evaluation, and one for all of them together."""
    lines: list[Table | Text | Padding] = []
    for snapshot in snapshots:
        row = Table.grid(padding=(0, 1), expand=True)
        row.add_column(ratio=3, no_wrap=True, overflow="ellipsis")
        row.add_column(ratio=2)
        row.add_column(justify="right", no_wrap=True)
        bar = ProgressBar(total=snapshot.total or 1, completed=snapshot.done, pulse=not snapshot.total)
        count = f"{snapshot.done}/{snapshot.total}" if snapshot.total else "starting"
        row.add_row(snapshot.title, bar, f"{count}  {_left(snapshot.left_s)}")
        lines += [row, Padding(Text(details(snapshot), style="dim"), (0, 0, 0, 2))]
    if len(snapshots) > 1:
        lines.append(Text(_together(snapshots), style="bold"))
    return Group(*lines)


def plain(snapshot: Snapshot) -> str:
    """One line."""
    return (
        f"{snapshot.title}: {snapshot.done} of {snapshot.total or '?'}, {_left(snapshot.left_s)}; {details(snapshot)}"
    )


def details(snapshot: Snapshot) -> str:
    """What goes on: calls in flight, speed, what the endpoint refused, what it costs."""
    if not snapshot.total:
        return "starting the container"
    parts = [f"{snapshot.in_flight} in flight of {snapshot.size}"]
    if not snapshot.in_flight and snapshot.told_wait_s >= _LONG_S:
        parts = [f"all wait {_span(snapshot.told_wait_s)}, as the provider asked"]
    elif snapshot.rate_per_s is not None:
        parts.append(f"paced at {snapshot.rate_per_s:.1f}/s")
    parts += [f"{snapshot.items_per_s:.1f} items/s", f"{snapshot.tokens_per_s:,.0f} tokens/s"]
    if snapshot.failed:
        parts.append(f"{snapshot.failed} failed")
    parts += [f"{count} x {status}" for status, count in sorted(snapshot.faults.items())]
    if snapshot.cost_usd is not None:
        parts.append(f"{snapshot.cost_usd:.4f} USD")
    return ", ".join(parts)


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "-:--"
    return f"{_span(seconds)} left"


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"  # noqa: PLR2004 (an hour)


def _together(snapshots: Sequence[Snapshot]) -> str:
    done, total = sum(one.done for one in snapshots), sum(one.total for one in snapshots)
    costs = [one.cost_usd for one in snapshots if one.cost_usd is not None]
    cost = f", {sum(costs):.4f} USD" if costs else ""
    tokens = sum(one.tokens_per_s for one in snapshots)
    speed = sum(one.items_per_s for one in snapshots)
    left = _left((total - done) / speed if speed and all(one.total for one in snapshots) else None)
    return f"{len(snapshots)} evaluations: {done}/{total}, {left}, {tokens:,.0f} tokens/s{cost}"
