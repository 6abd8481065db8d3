"""The leaderboard: comparable evaluations side by side."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from dep_mcp.protocol import Evaluation, EvaluationState, ScoreReport, Settings
from dep_mcp.results import leaderboard

Scored = tuple[Evaluation, ScoreReport]


@pytest.fixture
def scored(settings: Callable[..., Settings], report: Callable[..., ScoreReport]) -> Callable[..., Scored]:
    def make(number: int, model: str, ranked: float, **changed: object) -> Scored:
        evaluation_id, now = f"ev_{number:036d}", datetime.now(UTC)
        evaluation = Evaluation(
            evaluation_id=evaluation_id,
            state=EvaluationState.COMPLETED,
            cause="scored",
            created_at=now,
            updated_at=now,
            settings=settings(model=model, **changed),
        )
        return evaluation, report(evaluation_id, ranked)

    return make


def ranks(rows: list[Scored]) -> list[tuple[int, str, float]]:
    return [
        (standing.rank, standing.evaluation.settings.model.name, standing.report.ranked)
        for standing in leaderboard(rows)
    ]


def test_models_are_ranked_by_the_score_that_counts_failures_as_wrong(scored: Callable[..., Scored]) -> None:
    """Nobody climbs by answering the easy items only."""
    assert ranks([scored(1, "low", 0.1), scored(2, "high", 0.9), scored(3, "mid", 0.5)]) == [
        (1, "high", 0.9),
        (2, "mid", 0.5),
        (3, "low", 0.1),
    ]


def test_equal_scores_share_a_rank_and_the_next_is_skipped(scored: Callable[..., Scored]) -> None:
    """As in sports: 1, 2, 2, 4."""
    rows = [scored(1, "a", 0.9), scored(2, "b", 0.5), scored(3, "c", 0.5), scored(4, "d", 0.1)]
    assert [rank for rank, _, _ in ranks(rows)] == [1, 2, 2, 4]


@pytest.mark.parametrize("order", [1, -1])
def test_the_newest_evaluation_stands_for_its_model(scored: Callable[..., Scored], order: int) -> None:
    """Not the best: that would reward trying again. Whatever the order in which they are read."""
    rows = [scored(1, "a", 0.9), scored(2, "a", 0.4), scored(3, "b", 0.5)]
    assert ranks(rows[::order]) == [(1, "b", 0.5), (2, "a", 0.4)]


@pytest.mark.parametrize(
    "changed", [{"benchmark": "other"}, {"benchmark_version": "2"}, {"task": "odd"}, {"limit": 10}], ids=str
)
def test_what_is_not_comparable_has_a_board_of_its_own(
    scored: Callable[..., Scored], changed: dict[str, object]
) -> None:
    """Ten items and three hundred are two tests."""
    rows = leaderboard([scored(1, "a", 0.5), scored(2, "a", 0.9, **changed), scored(3, "b", 0.4)])
    assert len({standing.board for standing in rows}) == 2
    assert [standing.rank for standing in rows if standing.evaluation.settings.model.name == "a"] == [1, 1]


def test_nothing_scored_is_an_empty_board() -> None:
    """And no error."""
    assert leaderboard([]) == []
