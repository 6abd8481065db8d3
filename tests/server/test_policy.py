"""The policy of a card: what is scored, how often, and what of it is told."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dep_mcp.metrics import estimate
from dep_mcp.protocol import Counts, Disclosure, Open, Policy, Quota, ScoreReport, Turn, new_evaluation_id, new_seed
from dep_mcp.protocol.errors import QuotaError, TooFewItemsError, TurnError
from dep_mcp.server.policy import admit, disclosed

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY_S = 86400.0
STEPS = Policy(step=0.05)


def turn(hours_ago: float = 0.0, *, final: bool = False, epochs: int = 1, score: float | None = 0.5) -> Turn:
    at = NOW - timedelta(hours=hours_ago)
    return Turn(evaluation_id=new_evaluation_id(), at=at, final=final, epochs=epochs, score=score)


def opening(*earlier: Turn, final: bool = False, epochs: int = 1, kept: bool = True) -> Open:
    mine = turn(final=final, epochs=epochs, score=None)
    return Open(
        evaluation_id=mine.evaluation_id, seed=new_seed(), turn=mine if kept else None, earlier=earlier if kept else ()
    )


def exact(right: int, *, items: int = 100, failed: int = 0, scorer_errors: int = 0) -> ScoreReport:
    scored = items - failed
    part = estimate([1.0] * right + [0.0] * (scored - right))
    return ScoreReport(
        evaluation_id=new_evaluation_id(),
        benchmark="toy",
        benchmark_version="1",
        task=None,
        metric="accuracy",
        overall=part,
        ranked=right / items,
        upper=(right + failed) / items,
        subtasks={"odd": part},
        counts=Counts(expected=items, scored=scored, scorer_errors=scorer_errors, failed=failed, missing=0),
        items_digest="sha256:" + "0" * 64,
    )


# -- what is admitted


def test_a_turn_at_the_end_of_time_is_refused_as_any_other() -> None:
    """The next turn would come after the last date that there is: no fault of the endpoint."""
    last = turn().model_copy(update={"at": datetime.max.replace(tzinfo=UTC)})
    request = opening(last).model_copy(update={"turn": last})
    with pytest.raises(QuotaError, match="never"):
        admit(Policy(quota=Quota(scores=1, window_s=1e9)), request, 50)
    with pytest.raises(ValidationError):
        Quota(scores=1, window_s=1e15)


def test_too_few_items_are_refused_before_they_are_answered() -> None:
    """A score of one item is its target's, on a benchmark of yes and no."""
    with pytest.raises(TooFewItemsError, match="fewer than 50"):
        admit(Policy(least_items=50), opening(kept=False), 49)
    admit(Policy(least_items=50), opening(kept=False), 50)


@pytest.mark.parametrize(
    ("quota", "earlier", "final", "admitted"),
    [
        (Quota(scores=2), [], False, True),
        (Quota(scores=2), [turn(1000)], False, True),
        (Quota(scores=2), [turn(1000), turn(1)], False, False),
        (Quota(scores=2, window_s=DAY_S), [turn(25), turn(1)], False, True),
        (Quota(scores=2, window_s=DAY_S), [turn(24), turn(1)], False, True),
        (Quota(scores=2, window_s=DAY_S), [turn(23.9), turn(1)], False, False),
        (Quota(scores=2), [turn(2, score=None), turn(1)], False, False),
        (Quota(scores=3, reserved=1), [turn(2), turn(1)], False, False),
        (Quota(scores=3, reserved=1), [turn(2), turn(1)], True, True),
        (Quota(scores=3, reserved=1), [turn(3), turn(2), turn(1, final=True)], True, False),
        (Quota(scores=3, reserved=1), [turn(3, final=True)], False, True),
        (Quota(scores=3, reserved=1), [turn(3, final=True), turn(2, final=True), turn(1, final=True)], False, False),
        (Quota(scores=1, reserved=1), [], False, False),
    ],
)
def test_a_quota_counts_what_was_or_may_be_scored(
    *, quota: Quota, earlier: list[Turn], final: bool, admitted: bool
) -> None:
    """Open ones too: those that are started together would all be scored otherwise."""
    asked = opening(*earlier, final=final)
    if admitted:
        admit(Policy(quota=quota), asked, 10)
        return
    with pytest.raises(QuotaError):
        admit(Policy(quota=quota), asked, 10)


@pytest.mark.parametrize(
    ("before", "epochs", "again"), [(6, 4, ""), (6, 5, "14:00"), (6, 9, "06:00"), (0, 11, "never")]
)
def test_an_epoch_counts_as_a_score(before: int, epochs: int, again: str) -> None:
    """Answers may differ from epoch to epoch: with weights of 1, 2, 4… one mean would tell many targets."""
    earlier = (turn(22), turn(6, epochs=before - 1)) if before else ()
    asked, policy = opening(*earlier, epochs=epochs), Policy(quota=Quota(scores=10, window_s=DAY_S))
    if not again:
        admit(policy, asked, 10)
        return
    with pytest.raises(QuotaError, match=again):
        admit(policy, asked, 10)


def test_a_refusal_says_when_the_next_one_is_scored() -> None:
    """Or that it never is."""
    with pytest.raises(QuotaError, match="at 2026-11-26 06:00 UTC"):
        admit(Policy(quota=Quota(scores=1, window_s=DAY_S)), opening(turn(6)), 10)
    with pytest.raises(QuotaError, match="never"):
        admit(Policy(quota=Quota(scores=1)), opening(turn(6)), 10)


def test_a_clock_set_back_frees_no_quota() -> None:
    """Turns that lie in the future count as those of the past."""
    with pytest.raises(QuotaError):
        admit(Policy(quota=Quota(scores=1, window_s=DAY_S)), opening(turn(-5)), 10)


def test_where_scores_are_rounded_one_comes_after_the_other() -> None:
    """A hundred at once would all be compared with the same best score."""
    with pytest.raises(TurnError, match="comes first"):
        admit(STEPS, opening(turn(2), turn(1, score=None)), 10)
    admit(STEPS, opening(turn(2), turn(1)), 10)
    admit(Policy(), opening(turn(1, score=None)), 10)


@pytest.mark.parametrize("part", [{"limit": 1}, {"task": "odd"}])
def test_where_scores_are_rounded_only_the_whole_is_scored(part: dict[str, object]) -> None:
    """One lucky item's score would be the best, and stand for whatever is scored after it."""
    asked = opening(turn()).model_copy(update=part)
    with pytest.raises(TooFewItemsError, match="all of it"):
        admit(STEPS, asked, 10)
    admit(Policy(), asked, 10)
    admit(STEPS, opening(kept=False).model_copy(update=part), 10)


def test_without_turns_only_the_floor_holds() -> None:
    """On a machine of one's own policy binds nobody."""
    admit(Policy(quota=Quota(scores=1, reserved=1), step=0.1), opening(kept=False), 10)


# -- what is disclosed


def test_without_steps_a_report_leaves_as_it_is() -> None:
    """To the byte."""
    report = exact(37)
    assert disclosed(Policy(quota=Quota(scores=1)), report, (turn(),)) is report


@pytest.mark.parametrize(
    ("right", "best", "told", "stands"),
    [(37, None, 0.35, False), (38, None, 0.40, False), (44, 0.40, 0.40, True), (45, 0.40, 0.45, False),
     (12, 0.40, 0.40, True), (15, 0.10, 0.15, False), (100, 0.40, 1.0, False), (0, None, 0.0, False)],
)  # fmt: skip
def test_the_ladder(*, right: int, best: float | None, told: float, stands: bool) -> None:
    """Rounded, and only where it is better by a step; the best of all earlier ones stands, not the last."""
    earlier = () if best is None else (turn(3, score=best - 0.1), turn(2, score=best), turn(1, score=best - 0.05))
    report = disclosed(STEPS, exact(right), earlier)
    assert report.ranked == pytest.approx(told)
    assert report.overall.value == pytest.approx(told)
    assert report.stands == (earlier[1].evaluation_id if stands else None)
    assert report.step == 0.05


@given(right=st.integers(0, 99), failed=st.integers(0, 30), scorer_errors=st.integers(0, 3), earlier=st.booleans())
def test_nothing_gives_the_exact_score_back(*, right: int, failed: int, scorer_errors: int, earlier: bool) -> None:
    """Two scores that are rounded alike leave the same report, interval, bounds, sub-tasks and all."""
    right = min(right, 100 - failed)
    history = (turn(score=0.2),) if earlier else ()
    reports = {}
    for many in range(max(0, right - 3), min(100 - failed, right + 3) + 1):
        report = disclosed(STEPS, exact(many, failed=failed, scorer_errors=scorer_errors), history)
        told = report.model_dump_json(exclude={"evaluation_id"})
        assert reports.setdefault((report.ranked, report.stands), told) == told
        assert report.subtasks == {}
        assert report.overall.low is None or report.overall.low <= (report.overall.value or 0) <= (
            report.overall.high or 0
        )
        assert 0 <= report.ranked <= report.upper <= 1
        assert report.counts.scorer_errors == 0


def test_an_evaluation_of_failures_alone_has_no_score() -> None:
    """Rounded or not."""
    report = disclosed(STEPS, exact(0, items=4, failed=4), ())
    assert (report.overall.value, report.ranked, report.upper) == (None, 0.0, 1.0)


def test_too_few_answers_are_not_scored() -> None:
    """All items but one declared as failures: the score of the rest would be the one's."""
    with pytest.raises(TooFewItemsError, match="send the failures again"):
        disclosed(Policy(least_items=50), exact(1, failed=99), ())
    assert disclosed(Policy(least_items=50), exact(1, failed=50), ()).ranked == 0.01


# -- what a card may say


@pytest.mark.parametrize(
    "policy",
    [
        {"disclosure": "full", "step": 0.1},
        {"disclosure": "full", "quota": {"scores": 3}},
        {"disclosure": "full", "least_items": 10},
        {"quota": {"scores": 2, "reserved": 3}},
        {"quota": {"scores": 0}},
        {"step": 0.6},
    ],
)
def test_a_policy_that_protects_nothing_is_refused(policy: dict[str, object]) -> None:
    """Its author would believe that it does."""
    with pytest.raises(ValidationError):
        Policy.model_validate(policy)


def test_the_default_tells_aggregates() -> None:
    """Every item's score is told only where the author says so."""
    assert Policy().disclosure is Disclosure.AGGREGATE
