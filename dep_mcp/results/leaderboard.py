"""The leaderboard: completed evaluations, comparable ones side by side."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from dep_mcp.protocol import Evaluation, ScoreReport


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One row.

    Attributes:
        rank: From 1 within the benchmark; models whose ranked scores are equal share it.
        evaluation: The newest completed one of this model on this benchmark, with these settings.
        report: Its score.
    """

    rank: int
    evaluation: Evaluation
    report: ScoreReport

    @property
    def board(self) -> tuple[str, str, str, int | None]:
        """What is comparable: benchmark (a user's own by its folder), version, task and limit."""
        settings = self.evaluation.settings
        name = settings.benchmark_path or settings.benchmark
        return name, settings.benchmark_version, settings.task or "", settings.limit


def leaderboard(scored: Iterable[tuple[Evaluation, ScoreReport]]) -> list[Standing]:
    """Rank models within each benchmark by the mean that counts failures as wrong.

    The newest evaluation of a model with the same benchmark, version, task and limit stands for it.
    """
    newest: dict[tuple[object, ...], Standing] = {}
    for evaluation, report in sorted(scored, key=lambda pair: pair[0].evaluation_id):
        standing = Standing(rank=0, evaluation=evaluation, report=report)
        newest[(*standing.board, evaluation.settings.model.name)] = standing
    boards: dict[object, list[Standing]] = {}
    for standing in newest.values():
        boards.setdefault(standing.board, []).append(standing)
    ranked = []
    for board in sorted(boards, key=str):
        scores = sorted((standing.report.ranked for standing in boards[board]), reverse=True)
        for standing in sorted(boards[board], key=attrgetter("report.ranked"), reverse=True):
            rank = scores.index(standing.report.ranked) + 1
            ranked.append(Standing(rank=rank, evaluation=standing.evaluation, report=standing.report))
    return ranked
