"""Commands that read the store and the folders: show, leaderboard, ls."""

import json
from typing import TYPE_CHECKING, Any

import click

from dep_mcp.cli.base import with_host

if TYPE_CHECKING:
    from dep_mcp.cli.wiring import Host


async def show_summary(host: "Host", evaluation_id: str) -> None:
    """Print an evaluation for people."""
    from dep_mcp.cli import views

    evaluation = await host.store.evaluation(evaluation_id)
    report, totals = await host.store.report(evaluation_id), await host.store.totals(evaluation_id)
    store, log = host.settings.store, host.log_path(evaluation_id)
    views.out().print(views.summary(evaluation, report, totals, store, log), markup=False)


async def document(host: "Host", evaluation_id: str) -> dict[str, Any]:
    """An evaluation for programs: settings, item set, score, totals, where its record lies."""
    from dataclasses import asdict

    evaluation = await host.store.evaluation(evaluation_id)
    report, totals = await host.store.report(evaluation_id), await host.store.totals(evaluation_id)
    opened, receipt = await host.store.opened(evaluation_id), await host.store.receipt(evaluation_id)
    document = {
        "evaluation": evaluation.model_dump(mode="json"),
        "opened": opened and opened.model_dump(mode="json"),
        "report": report and report.model_dump(mode="json"),
        "receipt": receipt and json.loads(receipt),
        "totals": asdict(totals),
        "store": str(host.settings.store),
        "log": str(host.log_path(evaluation_id)),
    }
    if evaluation.state == "completed" and evaluation.settings.publish_seed:
        document["seed"] = await host.store.seed(evaluation_id)
    return document


@click.command()
@click.argument("evaluation")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@click.option("--answers", is_flag=True, help="Print the recorded answers instead, one JSON object a line.")
def show(*, evaluation: str, as_json: bool, answers: bool) -> None:
    """Print an EVALUATION: score, settings, history.

    EVALUATION is its id, or the end of it. Failures are listed one by one.
    """
    from dep_mcp.cli import views

    async def work(host: "Host") -> None:
        found = await host.store.evaluation(evaluation)
        if answers:
            async for records in host.store.journal(found.evaluation_id):
                for record in records:
                    click.echo(record.model_dump_json())
            return
        if as_json:
            click.echo(json.dumps(await document(host, found.evaluation_id), indent=2))
            return
        await show_summary(host, found.evaluation_id)
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

    with_host(work)


@click.command("leaderboard")
@click.option("-b", "--benchmark", help="Only this one.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def leaderboard_command(*, benchmark: str | None, as_json: bool) -> None:
    """Rank models over all evaluations."""
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

    with_host(work)


@click.group()
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
        console = views.out()
        console.print(views.evaluations(found, console.width) if found else "no evaluation yet")

    with_host(work)
