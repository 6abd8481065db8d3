"""What people read: summaries and tables. Results go to standard output, everything else to standard error."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from dep_mcp.protocol import Estimate, Evaluation, ScoreReport
from dep_mcp.results import Standing, Totals

_SHORT = 60
"""Characters of one setting of generation; a system prompt has thousands."""
WIDE = 140
"""Columns from which a table holds whole evaluation ids."""


def out() -> Console:
    """The console of results; wide enough in a pipe that no id is cut."""
    console = Console(highlight=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=160)


def err() -> Console:
    """The console of everything that isn't a result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def estimate(value: Estimate) -> str:
    """`0.417 (95 % interval 0.24 to 0.61, standard error 0.10, n = 24)`."""
    if value.value is None or value.low is None or value.high is None:
        return "nothing was scored"
    error = "" if value.stderr is None else f"standard error {value.stderr:.3f}, "
    return f"{value.value:.3f}  (95 % interval {value.low:.3f} to {value.high:.3f}, {error}n = {value.n})"


def benchmark_name(evaluation: Evaluation) -> str:
    """`name:task version`."""
    settings = evaluation.settings
    task = f":{settings.task}" if settings.task else ""
    return f"{settings.benchmark}{task} {settings.benchmark_version}"


def sealing(evaluation: Evaluation) -> str:
    """How well the targets are kept, for every result."""
    recipient = evaluation.settings.sealed_to
    return "unsealed: targets aren't encrypted in the image" if recipient is None else f"sealed to {recipient}"


_SET_IN = "\n" + " " * 12
"""Before further lines of a value: some are others' words, and none shall look like one of ours."""


def summary(evaluation: Evaluation, report: ScoreReport | None, totals: Totals, store: Path, log: Path) -> str:
    """Everything about one evaluation, a line for each thing."""
    settings = evaluation.settings
    lines = [
        ("evaluation", evaluation.evaluation_id),
        ("state", f"{evaluation.state} ({evaluation.cause})"),
        ("benchmark", benchmark_name(evaluation)),
        ("model", settings.model.name),
        *([("identity", settings.identity)] if settings.identity else []),
    ]
    if report is None:
        lines.append(("answered", f"{totals.answered}; failures: {totals.failed}"))
    else:
        lines.append((report.metric, estimate(report.overall)))
        if report.step:
            lines.append(("policy", _rounded(report)))
        lines += [("", _part(name, part)) for name, part in report.subtasks.items()]
        lines.append(("failures", _failures(report)))
    outcomes = _outcomes(totals)
    if outcomes:
        lines.append(("outcomes", outcomes))
    cost = "price unknown" if totals.cost_usd is None else f"{totals.cost_usd:.4f} USD"
    lines += [
        ("tokens", f"{totals.prompt_tokens} in, {totals.completion_tokens} out; {cost}"),
        ("settings", _settings(evaluation)),
        ("image", settings.image_digest),
        ("data", sealing(evaluation)),
    ]
    if report is not None:
        lines.append(("items", report.items_digest))
    lines += [("record", str(store)), ("log", str(log))]
    return "\n".join(f"{name:<12}{str(value).rstrip().replace(chr(10), _SET_IN)}" for name, value in lines)


def _rounded(report: ScoreReport) -> str:
    text = f"scores come in steps of {report.step:g}; everything above is made from the rounded one"
    if report.stands is None:
        return text
    return f"{text}. Not better by a step than {report.stands}, whose score stands"


def _outcomes(totals: Totals) -> str:
    """Answers that are the model's own doing and still worth knowing about: they were scored as they are."""
    counts = {
        "cut by the limit of tokens": totals.truncated,
        "refused by a content policy": totals.refused,
        "longer than the context window": totals.too_long,
        "empty": totals.empty,
    }
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def _part(name: str, part: Estimate) -> str:
    if part.value is None:
        return f"{name:<24} nothing was scored"
    return f"{name:<24} {part.value:.3f}  ({part.low:.3f} to {part.high:.3f}, n = {part.n})"


def _settings(evaluation: Evaluation) -> str:
    settings = evaluation.settings
    generation = settings.generation.model_dump(exclude_none=True, exclude_defaults=False)
    shown = ", ".join(f"{name} {_short(value)}" for name, value in generation.items() if value != ())
    limit = "all items" if settings.limit is None else f"at most {settings.limit} items"
    return f"{limit}, epochs {settings.epochs}, {shown}"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}... ({len(text)} characters)"


def _failures(report: ScoreReport) -> str:
    counts = report.counts
    if counts.failed == 0:
        text = f"none of {counts.expected}"
    else:
        text = (
            f"{counts.failed} of {counts.expected} calls failed and weren't scored: the score lies between"
            f" {report.ranked:.3f} (all of them wrong; used for ranking) and {report.upper:.3f} (all right)"
        )
    if counts.scorer_errors:
        text += f"; the scorer itself failed on {counts.scorer_errors}, counted as wrong"
    return text


_TITLE = "Leaderboard: the newest evaluation of each model; failures count as wrong"


def leaderboard(standings: Sequence[Standing]) -> Table:
    """The leaderboard, benchmark after benchmark."""
    columns = ("benchmark", "rank", "model", "score", "95 % interval", "n", "failed", "sealed", "evaluation")
    table = _table(columns, narrow=("benchmark", "model"), title=_TITLE)
    before: object = None
    for standing in standings:
        report, evaluation = standing.report, standing.evaluation
        name = benchmark_name(evaluation) + ("" if standing.board[3] is None else f" (limit {standing.board[3]})")
        if before not in (None, standing.board):
            table.add_section()
        table.add_row(
            "" if standing.board == before else name,
            str(standing.rank),
            evaluation.settings.model.name,
            f"{report.ranked:.3f}",
            _interval(report),
            str(report.overall.n),
            str(report.counts.failed),
            "yes" if evaluation.settings.sealed_to else "no",
            f"…{evaluation.evaluation_id[-8:]}",
        )
        before = standing.board
    return table


def _interval(report: ScoreReport) -> str:
    """The interval; where calls failed, the bounds instead, since the interval is of what was scored."""
    if report.counts.failed:
        return f"bounds {report.ranked:.3f} to {report.upper:.3f}"
    overall = report.overall
    return "" if overall.low is None else f"{overall.low:.3f} to {overall.high:.3f}"


def evaluations(found: Sequence[tuple[Evaluation, ScoreReport | None]], width: int) -> Table:
    """Evaluations, newest first; on a narrow terminal by the end of their ids, which all commands take."""
    columns = ("evaluation", "state", "benchmark", "model", "score", "created (UTC)")
    table = _table(columns, narrow=("benchmark", "model"))
    for evaluation, report in found:
        value = None if report is None else report.ranked
        whole = evaluation.evaluation_id
        table.add_row(
            whole if width >= WIDE else f"…{whole[-8:]}",
            evaluation.state,
            benchmark_name(evaluation),
            evaluation.settings.model.name,
            "" if value is None else f"{value:.3f}",
            f"{evaluation.created_at:%Y-%m-%d %H:%M}",
        )
    return table


def _table(columns: Sequence[str], *, narrow: Sequence[str], title: str | None = None) -> Table:
    """A table in which only the narrow columns give way on a narrow terminal."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        gives_way = name in narrow
        table.add_column(name, no_wrap=True, min_width=6 if gives_way else len(name), ratio=None)
        table.columns[-1].overflow = "ellipsis" if gives_way else "fold"
    return table


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Any table of text."""
    table = Table()
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    return table
