"""Commands that evaluate: run, resume."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dep_mcp.cli.base import EPILOG, EXIT_FAILED, EXIT_PAUSED, with_host
from dep_mcp.cli.reading import document, show_summary

if TYPE_CHECKING:
    from dep_mcp.cli.evaluate import Outcome
    from dep_mcp.cli.wiring import Host


def _names(_ctx: object, _parameter: object, values: tuple[str, ...]) -> list[str]:
    names = [name.strip() for value in values for name in value.split(",") if name.strip()]
    return list(dict.fromkeys(names))


@click.command(epilog=EPILOG)
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

    sys.exit(with_host(work))


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    seed = options["seed"]
    if seed is not None and not (len(seed) == 32 and set(seed) <= set("0123456789abcdef")):  # noqa: PLR2004 (128 bits)
        raise click.BadParameter("a seed is 32 hexadecimal digits", param_hint="--seed")  # noqa: EM101, TRY003 (click's way)
    return options


@click.command(epilog=EPILOG)
@click.argument("evaluation")
@click.option("--data", multiple=True, type=click.Path(exists=True, path_type=Path),
              help="File or folder with the benchmark's data, if it was given to `run`.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def resume(*, evaluation: str, data: tuple[Path, ...], as_json: bool) -> None:
    """Go on with a paused or killed EVALUATION.

    EVALUATION is its id, or the end of it. What has an answer is never sent again.
    """
    from dep_mcp.cli import evaluate

    async def work(host: "Host") -> int:
        return await _report(host, [await evaluate.resume(host, evaluation, data)], as_json=as_json)

    sys.exit(with_host(work))


async def _report(host: "Host", outcomes: "list[Outcome]", *, as_json: bool) -> int:
    from dep_mcp.cli import views
    from dep_mcp.protocol import EvaluationState
    from dep_mcp.results import leaderboard

    if as_json:
        documents = [await document(host, outcome.evaluation.evaluation_id) for outcome in outcomes]
        click.echo(json.dumps(documents, indent=2))
    else:
        for outcome in outcomes:
            await show_summary(host, outcome.evaluation.evaluation_id)
            views.out().print()
        scored = [(outcome.evaluation, outcome.report) for outcome in outcomes if outcome.report is not None]
        if len(scored) > 1:
            views.out().print(views.leaderboard(leaderboard(scored)))
    states = {outcome.evaluation.state for outcome in outcomes}
    for outcome in outcomes:
        if outcome.error is not None:
            _explain(outcome)
    if states & {EvaluationState.PAUSED, EvaluationState.RUNNING}:  # running: a full disk couldn't take `paused`
        return EXIT_PAUSED
    return 0 if states <= {EvaluationState.COMPLETED} else EXIT_FAILED


def _explain(outcome: "Outcome") -> None:
    evaluation, error = outcome.evaluation, outcome.error
    if error is not None:
        click.echo(f"dep-mcp: {evaluation.evaluation_id} {evaluation.state}: {error.detail}", err=True)
        click.echo(f"         go on with: dep-mcp resume {evaluation.evaluation_id}", err=True)
