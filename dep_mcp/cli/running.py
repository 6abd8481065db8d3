"""Commands that evaluate: run, resume."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dep_mcp.cli.base import EPILOG, EXIT_FAILED, EXIT_PAUSED, EXIT_USAGE, with_host
from dep_mcp.cli.reading import document, show_summary

if TYPE_CHECKING:
    from dep_mcp.cli.session import Outcome
    from dep_mcp.cli.wiring import Host


def _names(_ctx: object, _parameter: object, values: tuple[str, ...]) -> list[str]:
    parts = [[value] if value.startswith("command:") else value.split(",") for value in values]
    return list(dict.fromkeys(name.strip() for part in parts for name in part if name.strip()))


@click.command(epilog=EPILOG)
@click.option("-b", "--benchmark", "benchmarks", multiple=True, callback=_names, metavar="NAME[:TASK]",
              help="Benchmark, or path of its folder; several: repeat, or separate by commas.")  # fmt: skip
@click.option("-m", "--model", "models", multiple=True, callback=_names, metavar="MODEL",
              help="Name of a card, provider/model, FILE.gguf, or replay:, command:, callable: and what.")  # fmt: skip
@click.option("--plan", "plan_file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.yaml",
              help="Take what isn't given here from a file: benchmarks, models, limit, max_cost_usd...")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Items of each benchmark at most, drawn at random.")
@click.option("--epochs", type=click.IntRange(1, 1000), help="Repetitions of each item.  [default: 1]")
@click.option("--data", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="File or folder with a benchmark's data.")  # fmt: skip
@click.option("--seed", metavar="HEX", help="Repeat an evaluation with the seed that `show` prints (32 hex digits).")
@click.option("--identity", metavar="NAME",
              help="Who is evaluated: keep the benchmarks' policies (quotas, steps) against them.")  # fmt: skip
@click.option("--final", is_flag=True, default=None, help="Use what a policy reserves for final scores.")
@click.option("--api-base", metavar="URL", help="Address of an OpenAI-compatible endpoint.")
@click.option("--concurrency", type=click.IntRange(1, 10000),
              help="Calls in flight at most; without it, what the endpoint bears is found out.")  # fmt: skip
@click.option("--parallel", type=click.IntRange(1, 100), help="Evaluations that run at once.  [default: 4]")
@click.option("--max-cost", "max_cost_usd", type=click.FloatRange(0, min_open=True), metavar="USD",
              help="Pause everything once so much is spent.")  # fmt: skip
@click.option("--cache", is_flag=True, default=None,
              help="Take and keep answers to the same requests, where nothing is sampled.")  # fmt: skip
@click.option("--temperature", type=click.FloatRange(0, 10), help="Instead of the benchmark's.")
@click.option("--max-tokens", type=click.IntRange(1), help="Instead of the benchmark's.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Instead of the benchmark's.")
@click.option("--stop", multiple=True, metavar="TEXT", help="End answers at this text; may be repeated.")
@click.option("--generation-seed", "generation_seed", type=int, help="The provider's seed of sampling.")
@click.option("--system-prompt", metavar="TEXT|@FILE", help="Sent before the messages of each item.")
@click.option("--reasoning-effort", metavar="NAME", help="As the provider names it: low, medium, high.")
@click.option("--detach", is_flag=True, help="Go on in the background; `watch`, `logs` and `pause` reach it.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output.")
@click.option("--events", is_flag=True, help="Print what happens as JSON lines on standard output.")
@click.option("--started-fd", type=int, hidden=True)
def run(
    *, as_json: bool, events: bool, detach: bool, started_fd: int | None, plan_file: Path | None, **flags: Any  # noqa: ANN401 (click's)
) -> None:  # fmt: skip
    """Evaluate models on benchmarks and print the scores."""
    from dep_mcp.cli import evaluate
    from dep_mcp.cli.plan import Plan

    plan = Plan.read(plan_file, flags | {"generation": _generation(flags) or None})
    if detach:
        _detach()
        return

    def started(ids: list[str]) -> None:
        if started_fd is not None:
            os.write(started_fd, "\n".join(ids).encode())
            os.close(started_fd)

    async def work(host: "Host") -> int:
        outcomes = await evaluate.run(host, plan, events=events, started=started)
        return await _report(host, outcomes, as_json=as_json, quiet=events)

    sys.exit(with_host(work))


def _generation(flags: dict[str, Any]) -> dict[str, Any]:
    """Take the settings of generation that were given out of the flags."""
    names = ("temperature", "max_tokens", "top_p", "stop", "reasoning_effort", "system_prompt", "generation_seed")
    given = {name.removeprefix("generation_"): value for name in names if (value := flags.pop(name)) not in (None, ())}
    prompt = given.get("system_prompt", "")
    if prompt.startswith("@"):
        try:
            given["system_prompt"] = Path(prompt[1:]).read_bytes().decode()
        except (OSError, ValueError) as error:
            raise click.BadParameter(str(error), param_hint="--system-prompt") from error
    return given


def _detach() -> None:
    """Start this command again in a session of its own, and print the evaluations' ids once they exist."""
    from dep_mcp.settings import HostSettings

    log = HostSettings.read().logs / f"run-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ours, theirs = os.pipe()
    arguments = [argument for argument in sys.argv[1:] if argument != "--detach"]
    with log.open("ab") as file:
        process = subprocess.Popen(  # noqa: S603 (this very command)
            [sys.executable, "-m", "dep_mcp.cli", *arguments, "--started-fd", str(theirs)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            pass_fds=[theirs],
            start_new_session=True,
        )
    os.close(theirs)
    with os.fdopen(ours, encoding="ascii") as pipe:
        ids = pipe.read().split()
    if not ids:
        code = process.wait()
        click.echo(log.read_text(encoding="utf-8", errors="replace").strip(), err=True)
        sys.exit(code or EXIT_USAGE)
    click.echo("\n".join(ids))
    click.echo(f"running in the background (process {process.pid}, output in {log})", err=True)
    click.echo(f"follow with: dep-mcp watch {' '.join(ids)}", err=True)


@click.command(epilog=EPILOG)
@click.argument("evaluation")
@click.option("--data", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="File or folder with the benchmark's data, if it was given to `run`.")  # fmt: skip
@click.option("--fork", is_flag=True,
              help="Start a new evaluation of the same selection as things are now; no answer is used.")  # fmt: skip
@click.option("--retry-failed", is_flag=True,
              help="Of a completed one: start a new one with its answers; only its failures are sent.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def resume(*, evaluation: str, data: tuple[Path, ...], fork: bool, retry_failed: bool, as_json: bool) -> None:
    """Go on with a paused, cancelled, failed or killed EVALUATION.

    EVALUATION is its id, or the end of it. What has an answer is never sent again.
    """
    from dep_mcp.cli import evaluate

    if fork and retry_failed:
        raise click.UsageError("--fork uses no answer, --retry-failed uses all: give one of them")  # noqa: EM101, TRY003 (click's way)

    async def work(host: "Host") -> int:
        outcome = await evaluate.resume(host, evaluation, data, fork=fork, retry_failed=retry_failed)
        return await _report(host, [outcome], as_json=as_json)

    sys.exit(with_host(work))


async def _report(host: "Host", outcomes: "list[Outcome]", *, as_json: bool, quiet: bool = False) -> int:
    from dep_mcp.cli import views
    from dep_mcp.results import leaderboard

    if as_json:
        documents = [await document(host, outcome.evaluation.evaluation_id) for outcome in outcomes]
        click.echo(json.dumps(documents, indent=2))
    elif not quiet:
        for outcome in outcomes:
            await show_summary(host, outcome.evaluation.evaluation_id)
            views.out().print()
        scored = [(outcome.evaluation, outcome.report) for outcome in outcomes if outcome.report is not None]
        if len(scored) > 1:
            views.out().print(views.leaderboard(leaderboard(scored)))
    for outcome in outcomes:
        if outcome.error is not None:
            _explain(outcome)
    return exit_code({str(outcome.evaluation.state) for outcome in outcomes})


def exit_code(states: set[str]) -> int:
    """Of several evaluations: 1 if one failed, else 3 if one can be resumed, else 0."""
    if "failed" in states:
        return EXIT_FAILED
    return EXIT_PAUSED if states & {"paused", "running"} else 0  # running: a full disk couldn't take `paused`


def _explain(outcome: "Outcome") -> None:
    evaluation, error = outcome.evaluation, outcome.error
    if error is not None:
        click.echo(f"dep-mcp: {evaluation.evaluation_id} {evaluation.state}: {error.detail}", err=True)
        click.echo(f"         go on with: dep-mcp resume {evaluation.evaluation_id}", err=True)
