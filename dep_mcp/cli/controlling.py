"""Commands that reach evaluations which other processes run: pause, cancel, watch, logs."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dep_mcp.cli.base import EPILOG, EXIT_ABORTED, EXIT_PAUSED, with_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dep_mcp.cli.wiring import Host
    from dep_mcp.protocol import Evaluation

_WAIT_S, _LOOK_S = 180.0, 0.25


@click.command()
@click.argument("evaluation")
def pause(*, evaluation: str) -> None:
    """Pause an EVALUATION of another process.

    Its calls in flight end first; `dep-mcp resume` goes on with it. EVALUATION is its id, or the end of it.
    """
    sys.exit(with_host(lambda host: _ask(host, evaluation, "pause")))


@click.command()
@click.argument("evaluation")
def cancel(*, evaluation: str) -> None:
    """End an EVALUATION at once.

    Its calls in flight are dropped, its answers kept; `dep-mcp resume` can still go on with it. EVALUATION is its id,
    or the end of it.
    """
    sys.exit(with_host(lambda host: _ask(host, evaluation, "cancel")))


async def _ask(host: "Host", prefix: str, wish: str) -> int:
    from dep_mcp.protocol import EvaluationState

    wanted = EvaluationState.PAUSED if wish == "pause" else EvaluationState.FAILED
    found = await host.store.evaluation(prefix)
    name = found.evaluation_id
    if found.state is EvaluationState.RUNNING and await host.is_run_elsewhere(name):
        await host.store.wish(name, wish)
        found = await _until_stopped(host, name)
    elif found.state in (EvaluationState.RUNNING, EvaluationState.PAUSED) and found.state is not wanted:
        cause = "its process had ended" if wish == "pause" else "cancelled on request"
        await host.store.transition(name, wanted, cause)
        found = await host.store.evaluation(name)
    click.echo(f"{name} {found.state}: {found.cause}")
    if found.state is wanted:
        return 0
    if found.state is EvaluationState.RUNNING:
        click.echo(f"dep-mcp: it still waits for calls in flight; `dep-mcp watch {name}` follows it", err=True)
    return EXIT_PAUSED


async def _until_stopped(host: "Host", name: str) -> "Evaluation":
    from dep_mcp.protocol import EvaluationState

    until = time.monotonic() + _WAIT_S
    while True:
        found = await host.store.evaluation(name)
        if found.state is not EvaluationState.RUNNING or time.monotonic() > until:
            return found
        await asyncio.sleep(_LOOK_S)


@click.command(epilog=EPILOG)
@click.argument("evaluations", nargs=-1, required=True, metavar="EVALUATION...")
def watch(*, evaluations: tuple[str, ...]) -> None:
    """Follow EVALUATIONs of other processes.

    Ends when they do; Ctrl-C leaves them alone.
    """

    async def work(host: "Host") -> int:
        from dep_mcp.cli.meter import Snapshot
        from dep_mcp.cli.progress import shown
        from dep_mcp.cli.running import exit_code
        from dep_mcp.cli.session import name_of

        found = [await host.store.evaluation(part) for part in evaluations]
        names = {one.evaluation_id: name_of(one) for one in found}
        snapshots = {name: Snapshot(title=title) for name, title in names.items()}
        async with shown(lambda: list(snapshots.values())):
            while True:
                for name, title in names.items():
                    snapshots[name] = Snapshot.read(await host.store.status(name), title)
                states = [await host.store.evaluation(name) for name in names]
                running = [one for one in states if one.state == "running"]
                if not [one for one in running if await host.is_run_elsewhere(one.evaluation_id)]:
                    break
                await asyncio.sleep(_LOOK_S)
        for one in states:
            dead = " (its process has ended: resume it)" if one in running else ""
            click.echo(f"{one.evaluation_id} {one.state}: {one.cause}{dead}")
        return exit_code({str(one.state) for one in states})

    try:
        code = with_host(work)
    except KeyboardInterrupt:
        click.echo("dep-mcp: no longer watched; what runs goes on (`dep-mcp pause` stops it)", err=True)
        code = EXIT_ABORTED
    sys.exit(code)


@click.command()
@click.argument("evaluation")
@click.option("--errors", is_flag=True, help="Only warnings and errors, such as calls that failed.")
@click.option("--follow", is_flag=True, help="Go on with new lines until the evaluation ends.")
def logs(*, evaluation: str, errors: bool, follow: bool) -> None:
    """Print the log of an EVALUATION.

    Containers, failed and refused calls, how it ended.
    """

    async def work(host: "Host") -> None:
        found = await host.store.evaluation(evaluation)
        lines = _lines(host.log_path(found.evaluation_id))
        while True:
            ended = (await host.store.evaluation(found.evaluation_id)).state != "running"
            for line in lines:
                if line is None:
                    break
                if not errors or line["level"] in ("warning", "error", "critical"):
                    click.echo(_readable(line))
            if ended or not follow:
                return
            await asyncio.sleep(_LOOK_S)

    with_host(work)


def _lines(path: Path) -> "Iterator[dict[str, Any] | None]":
    """The lines of a log; `None` where it ends for now."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        part = ""
        while True:
            part += file.readline()
            if not part.endswith("\n"):
                yield None
                continue
            try:
                yield json.loads(part)
            except ValueError:  # a full disk cuts a line
                yield {"timestamp": "", "level": "info", "event": part.strip()}
            part = ""


def _readable(line: dict[str, Any]) -> str:
    free = {"timestamp", "level", "event", "evaluation_id", "settings", "report"}
    values = " ".join(f"{name}={value}" for name, value in line.items() if name not in free and value is not None)
    return f"{line['timestamp'][:23]} {line['level']:<8} {line['event']} {values}".rstrip()
