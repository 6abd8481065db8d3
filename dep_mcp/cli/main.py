"""The command line. Commands import what they use when they run: `--help` loads no engine, model or MCP library."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dep_mcp import __version__

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dep_mcp.cli.evaluate import Outcome
    from dep_mcp.cli.wiring import Host

Value = TypeVar("Value")

EXIT_FAILED, EXIT_USAGE, EXIT_PAUSED, EXIT_ABORTED = 1, 2, 3, 130

_EPILOG = (
    "Exit codes: 0 done, 1 an evaluation failed, 2 something has to be put right first, 3 paused (resume goes on),"
    " 130 aborted."
)


class _Commands(click.Group):
    """Turns the toolkit's errors into one message and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo("dep-mcp: aborted", err=True)
            sys.exit(EXIT_ABORTED)
        except Exception as error:
            from dep_mcp.protocol.errors import DepError  # only now: --help doesn't load pydantic

            if not isinstance(error, DepError):
                raise
            click.echo(f"dep-mcp: {error.detail}", err=True)
            sys.exit(EXIT_USAGE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of that name."""
        from difflib import get_close_matches

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.list_commands(ctx), 3, 0.5)
            if not near:
                raise
            msg = f"{error.message} Did you mean {' or '.join(near)}?"
            raise click.UsageError(msg, ctx) from error


def _with_host(work: "Callable[[Host], Awaitable[Value]]") -> Value:
    from dep_mcp.cli.wiring import Host
    from dep_mcp.settings import HostSettings

    async def main() -> Value:
        async with Host.open(HostSettings.read()) as host:
            return await work(host)

    return asyncio.run(main())


def _names(_ctx: object, _parameter: object, values: tuple[str, ...]) -> list[str]:
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    return list(dict.fromkeys(names))


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dep-mcp")
def cli() -> None:
    """Evaluate language models on benchmarks that run in sealed containers and never show their targets."""


@cli.command(epilog=_EPILOG)
@click.option("-b", "--benchmark", "benchmarks", multiple=True, required=True, callback=_names, metavar="NAME[:TASK]",
              help="Benchmark, or path of its folder; several: repeat, or separate by commas.")  # fmt: skip
@click.option("-m", "--model", "models", multiple=True, required=True, callback=_names, metavar="MODEL",
              help="Name of a card, provider/model, FILE.gguf, or replay:ANSWERS.jsonl.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Items of each benchmark at most, drawn at random.")
@click.option("--epochs", type=click.IntRange(1, 1000), default=1, show_default=True, help="Repetitions of each item.")
@click.option("--data", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="File or folder with a benchmark's data.")  # fmt: skip
@click.option("--seed", metavar="HEX", help="Repeat an evaluation with the seed that `show` prints (32 hex digits).")
@click.option("--api-base", metavar="URL", help="Address of an OpenAI-compatible endpoint.")
@click.option("--concurrency", type=click.IntRange(1, 10000), help="Calls in flight at most.")
@click.option("--temperature", type=click.FloatRange(0, 10), help="Instead of the benchmark's.")
@click.option("--max-tokens", type=click.IntRange(1), help="Instead of the benchmark's.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON on standard output.")
def run(*, as_json: bool, temperature: float | None, max_tokens: int | None, **options: Any) -> None:  # noqa: ANN401 (click's)
    """Evaluate models on benchmarks and print the scores."""
    from dep_mcp.cli import evaluate
    from dep_mcp.protocol import Generation

    given = {
        name: value for name, value in (("temperature", temperature), ("max_tokens", max_tokens)) if value is not None
    }
    plan = evaluate.Plan(generation=Generation.model_validate(given), **_checked(options))

    async def work(host: "Host") -> int:
        outcomes = await evaluate.run(host, plan)
        return await _report(host, outcomes, as_json=as_json)

    sys.exit(_with_host(work))


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    seed = options["seed"]
    if seed is not None and not (len(seed) == 32 and set(seed) <= set("0123456789abcdef")):  # noqa: PLR2004 (128 bits)
        raise click.BadParameter("a seed is 32 hexadecimal digits", param_hint="--seed")  # noqa: EM101, TRY003 (click's way)
    return options


@cli.command(epilog=_EPILOG)
@click.argument("evaluation")
@click.option("--data", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="File or folder with the benchmark's data, if it was given to `run`.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def resume(*, evaluation: str, data: tuple[Path, ...], as_json: bool) -> None:
    """Go on with an EVALUATION (its id, or the end of it); what has an answer is never sent again."""
    from dep_mcp.cli import evaluate

    async def work(host: "Host") -> int:
        return await _report(host, [await evaluate.resume(host, evaluation, data)], as_json=as_json)

    sys.exit(_with_host(work))


async def _report(host: "Host", outcomes: "list[Outcome]", *, as_json: bool) -> int:
    from dep_mcp.cli import views
    from dep_mcp.protocol import EvaluationState
    from dep_mcp.results import leaderboard

    if as_json:
        documents = [await _document(host, outcome.evaluation.evaluation_id) for outcome in outcomes]
        click.echo(json.dumps(documents, indent=2))
    else:
        for outcome in outcomes:
            await _show(host, outcome.evaluation.evaluation_id)
            views.out().print()
        scored = [(outcome.evaluation, outcome.report) for outcome in outcomes if outcome.report is not None]
        if len(scored) > 1:
            views.out().print(views.leaderboard(leaderboard(scored)))
    states = {outcome.evaluation.state for outcome in outcomes}
    for outcome in outcomes:
        if outcome.error is not None:
            _explain(outcome)
    if EvaluationState.PAUSED in states:
        return EXIT_PAUSED
    return 0 if states <= {EvaluationState.COMPLETED} else EXIT_FAILED


def _explain(outcome: "Outcome") -> None:
    evaluation, error = outcome.evaluation, outcome.error
    if error is not None:
        click.echo(f"dep-mcp: {evaluation.evaluation_id} {evaluation.state}: {error.detail}", err=True)
        click.echo(f"         go on with: dep-mcp resume {evaluation.evaluation_id}", err=True)


async def _show(host: "Host", evaluation_id: str) -> None:
    from dep_mcp.cli import views

    evaluation = await host.store.evaluation(evaluation_id)
    report, totals = await host.store.report(evaluation_id), await host.store.totals(evaluation_id)
    store, log = host.settings.store, host.log_path(evaluation_id)
    views.out().print(views.summary(evaluation, report, totals, store, log))


async def _document(host: "Host", evaluation_id: str) -> dict[str, Any]:
    from dataclasses import asdict

    evaluation = await host.store.evaluation(evaluation_id)
    report, totals = await host.store.report(evaluation_id), await host.store.totals(evaluation_id)
    opened = await host.store.opened(evaluation_id)
    document = {
        "evaluation": evaluation.model_dump(mode="json"),
        "opened": opened and opened.model_dump(mode="json"),
        "report": report and report.model_dump(mode="json"),
        "totals": asdict(totals),
        "store": str(host.settings.store),
        "log": str(host.log_path(evaluation_id)),
    }
    if evaluation.state == "completed" and evaluation.settings.publish_seed:
        document["seed"] = await host.store.seed(evaluation_id)
    return document


@cli.command()
@click.argument("evaluation")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def show(*, evaluation: str, as_json: bool) -> None:
    """Print an EVALUATION (its id, or the end of it): score, settings, failures, history."""
    from dep_mcp.cli import views

    async def work(host: "Host") -> None:
        found = await host.store.evaluation(evaluation)
        if as_json:
            click.echo(json.dumps(await _document(host, found.evaluation_id), indent=2))
            return
        await _show(host, found.evaluation_id)
        if found.state == "completed" and found.settings.publish_seed:
            views.out().print(f"seed        {await host.store.seed(found.evaluation_id)} (secret until it was scored)")
        for at, state, cause in await host.store.transitions(found.evaluation_id):
            views.out().print(f"{at[:19]}  {state}: {cause}", markup=False)
        for record in await host.store.failures(found.evaluation_id):
            submission = record.submission
            views.out().print(
                f"failed: {submission.item_id}, epoch {submission.epoch}, attempts {record.attempts}: {record.detail}",
                markup=False,
            )

    _with_host(work)


@cli.command("leaderboard")
@click.option("-b", "--benchmark", help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def leaderboard_command(*, benchmark: str | None, as_json: bool) -> None:
    """Rank the models of all completed evaluations, benchmark by benchmark."""
    from dep_mcp.cli import views
    from dep_mcp.results import leaderboard

    async def work(host: "Host") -> None:
        scored = [
            (evaluation, report)
            for evaluation in await host.store.evaluations()
            if (report := await host.store.report(evaluation.evaluation_id)) is not None
            and benchmark in (None, evaluation.settings.benchmark)
        ]
        standings = leaderboard(scored)
        if as_json:
            rows = [
                {"rank": standing.rank, "model": standing.evaluation.settings.model.name,
                 "evaluation_id": standing.evaluation.evaluation_id, "report": standing.report.model_dump(mode="json")}
                for standing in standings
            ]  # fmt: skip
            click.echo(json.dumps(rows, indent=2))
        elif standings:
            views.out().print(views.leaderboard(standings))
        else:
            click.echo(
                "no completed evaluation yet: `dep-mcp run -b reasoning_gym -m smollm2-135m --limit 24` makes one"
            )

    _with_host(work)


@cli.group()
def ls() -> None:
    """List benchmarks, models or evaluations."""


@ls.command("benchmarks")
def ls_benchmarks() -> None:
    """List the benchmarks that `run -b` takes."""
    from dep_mcp.cli import views
    from dep_mcp.orchestrator import Catalogue
    from dep_mcp.settings import HostSettings

    rows = [
        (name, benchmark.card.version, benchmark.card.request, benchmark.card.license, benchmark.card.title,
         ", ".join(file.name for file in benchmark.card.data) or "none: items are generated")
        for name, benchmark in sorted(Catalogue(HostSettings.read().plugins).benchmarks().items())
    ]  # fmt: skip
    views.out().print(views.plain(("benchmark", "version", "asks for", "licence", "title", "data needed"), rows))


@ls.command("models")
def ls_models() -> None:
    """List the model cards; any other provider/model, GGUF file or endpoint works too."""
    from dep_mcp.cli import views
    from dep_mcp.models import Models
    from dep_mcp.settings import HostSettings

    rows = [
        (name, card.adapter, ", ".join(card.requests),
         _key(card.api_key_env),
         card.description)
        for name, card in sorted(Models(HostSettings.read().plugins).cards().items())
    ]  # fmt: skip
    views.out().print(views.plain(("model", "adapter", "answers", "key", "description"), rows))


def _key(variable: str | None) -> str:
    from dep_mcp.settings import secret

    if variable is None:
        return "no key needed"
    return f"{variable} is {'set' if secret(variable) else 'not set'}"


@ls.command("evaluations")
def ls_evaluations() -> None:
    """List evaluations, newest first."""
    from dep_mcp.cli import views

    async def work(host: "Host") -> None:
        found = [
            (evaluation, await host.store.report(evaluation.evaluation_id))
            for evaluation in await host.store.evaluations()
        ]
        views.out().print(views.evaluations(found) if found else "no evaluation yet")

    _with_host(work)


@cli.command()
def doctor() -> None:
    """Check what this machine has: engine, isolation, disk, models, keys."""
    from dep_mcp.cli.doctor import examine

    sys.exit(_with_host(examine))


@cli.command()
def setup() -> None:
    """Make a container engine and a base image available (on Debian and Ubuntu, as root, installs them)."""
    from dep_mcp.cli.doctor import SCRIPTS

    for script in SCRIPTS:
        ended = subprocess.run([str(script)], check=False, stdout=subprocess.DEVNULL)  # noqa: S603 (our own file)
        if ended.returncode:
            sys.exit(ended.returncode)


@cli.group()
def model() -> None:
    """Serve local models and fetch their weights."""


@model.command("serve")
@click.argument("name")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
def model_serve(*, name: str, port: int) -> None:
    """Serve a local model (a card's NAME, or a GGUF file) with an OpenAI-compatible API on loopback."""
    from dep_mcp.adapters.llamacpp.process import command
    from dep_mcp.models import Models
    from dep_mcp.protocol.errors import UsageError
    from dep_mcp.settings import HostSettings

    settings = HostSettings.read()
    card = Models(settings.plugins).resolve(name)
    if card.serve is None:
        msg = f"{name} isn't a local model: it is called at {card.api_base or 'its provider'}"
        raise UsageError(msg)
    arguments = command(card, cache_dir=settings.weights, say=lambda text: click.echo(text, err=True), port=port)
    os.execv(arguments[0], arguments)  # noqa: S606 (our own interpreter): one process, so that signals reach the server


@model.command("pull")
@click.argument("name")
def model_pull(*, name: str) -> None:
    """Fetch the weights of a local model now rather than at its first use."""
    from dep_mcp.adapters.llamacpp.weights import find
    from dep_mcp.models import Models
    from dep_mcp.protocol.errors import UsageError
    from dep_mcp.settings import HostSettings

    settings = HostSettings.read()
    card = Models(settings.plugins).resolve(name)
    if card.weights is None:
        msg = f"{name} has no weights to fetch: it is called at its provider"
        raise UsageError(msg)
    click.echo(find(card.weights, cache_dir=settings.weights, say=lambda text: click.echo(text, err=True)))


@cli.group()
def data() -> None:
    """Fetch benchmarks' data."""


@data.command("pull")
@click.argument("benchmark")
def data_pull(*, benchmark: str) -> None:
    """Fetch the data of a BENCHMARK as its authors publish it, checked against the card's digest."""
    from dep_mcp.cli.data import pull
    from dep_mcp.orchestrator import Catalogue
    from dep_mcp.settings import HostSettings

    settings = HostSettings.read()
    folder, _ = Catalogue(settings.plugins).resolve(benchmark)
    for path in pull(folder.card, settings.data / folder.card.name, say=lambda text: click.echo(text, err=True)):
        click.echo(path)


def main() -> None:
    """Entry point of `dep-mcp`."""
    cli()
