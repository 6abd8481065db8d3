"""How far an evaluation is: a live bar on a terminal, plain lines elsewhere; always on standard error."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dep_mcp.cli.views import err
from dep_mcp.models import Flow
from dep_mcp.runner import Progress as State

_LIVE_S = 0.2
_PLAIN_S = 10.0


@asynccontextmanager
async def shown(title: str, state: State, flow: Flow) -> AsyncGenerator[None]:
    """Show progress until the block ends."""
    task = asyncio.create_task(_live(title, state, flow) if sys.stderr.isatty() else _plain(title, state, flow))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _live(title: str, state: State, flow: Flow) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=err()) as bar:
        task = bar.add_task(title, total=None, note="starting the container")
        try:
            while True:
                bar.update(task, total=state.total or None, completed=state.done, note=_note(state, flow))
                await asyncio.sleep(_LIVE_S)
        finally:
            bar.update(task, total=state.total or None, completed=state.done, note=_note(state, flow))


async def _plain(title: str, state: State, flow: Flow) -> None:
    begin = time.monotonic()
    while True:
        await asyncio.sleep(_PLAIN_S)
        note = _note(state, flow)
        err().print(f"{title}: {state.done} of {state.total or '?'} after {time.monotonic() - begin:.0f} s; {note}")


def _note(state: State, flow: Flow) -> str:
    if not state.total:
        return "starting the container"
    faults = "".join(f", {count} x {status}" for status, count in sorted(state.faults.items()))
    failed = f", {state.failed} failed" if state.failed else ""
    return f"{flow.in_flight} in flight{failed}{faults}"
