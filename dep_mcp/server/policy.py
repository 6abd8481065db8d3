"""The policy of a card, decided here: whether an evaluation is scored, and what of its score leaves. Pure.

The operator keeps each identity's turns and gives them at `open`; a score is recorded as a turn before it is released.
Without turns (on a machine of one's own, where policy binds nobody) floor and rounding hold all the same.
"""

from datetime import UTC, datetime, timedelta

from dep_mcp.metrics import estimate_from_mean
from dep_mcp.protocol import Open, Policy, Quota, ScoreReport, Turn
from dep_mcp.protocol.errors import QuotaError, TooFewItemsError, TurnError

_DIGITS = 12
"""Of scores and steps, which aren't whole in binary: 0.1 and a step of 0.05 are as much as 15 of 100."""
_LAST = datetime.max.replace(tzinfo=UTC)


def admit(policy: Policy, opening: Open, items: int) -> None:
    """Refuse an evaluation that won't be scored, before anybody pays for its answers.

    Args:
        policy: The card's.
        opening: With the identity's turns, if the operator keeps them.
        items: That it would have.

    Raises:
        TooFewItemsError: Fewer than the policy scores; or only a part, and scores are rounded: a best score of a few
            would stand for the whole, and each part's own best would tell its targets.
        QuotaError: Too many were scored, or may yet be.
        TurnError: Scores are rounded, and an earlier evaluation may yet be scored.
    """
    if items < policy.least_items:
        msg = f"this benchmark scores no evaluation of fewer than {policy.least_items} items; this one has {items}"
        raise TooFewItemsError(msg)
    if opening.turn is None:
        return
    if policy.quota is not None:
        _require_budget(policy.quota, opening.turn, opening.earlier)
    if policy.step and (opening.task is not None or opening.limit is not None):
        msg = "this benchmark's scores are compared with the best of the same identity: run all of it, no task or limit"
        raise TooFewItemsError(msg)
    ahead = next((turn for turn in opening.earlier if turn.score is None), None)
    if policy.step and ahead is not None:
        msg = f"{ahead.evaluation_id} of the same identity was opened before and comes first: complete or cancel it"
        raise TurnError(msg)


def _require_budget(quota: Quota, turn: Turn, earlier: tuple[Turn, ...]) -> None:
    """One's own kind at most as many as aren't reserved, and of both kinds together no more than there are."""
    window = None if quota.window_s is None else timedelta(seconds=quota.window_s)
    counted = [one for one in earlier if window is None or abs(turn.at - one.at) < window]
    budgets = [(counted, quota.scores, "")]
    if not turn.final:
        trials = [one for one in counted if not one.final]
        budgets.insert(0, (trials, quota.scores - quota.reserved, f" ({quota.reserved} more only as final)"))
    for spent, most, of_them in budgets:
        over = sum(one.epochs for one in spent) + turn.epochs - most
        if over > 0:
            within = "" if window is None else f" within {window}"
            msg = (
                f"this benchmark scores at most {most} evaluations (by epochs) of one identity{within}{of_them};"
                f" the next one: {_again(spent, over, window)}"
            )
            raise QuotaError(msg)


def _again(spent: list[Turn], over: int, window: timedelta | None) -> str:
    """When so much of it will have left the window."""
    for one in sorted(spent, key=lambda one: one.at):
        over -= one.epochs
        if over <= 0 and window is not None and one.at < _LAST - window:
            return f"at {one.at + window:%Y-%m-%d %H:%M} UTC"
    return "never"


def disclosed(policy: Policy, exact: ScoreReport, earlier: tuple[Turn, ...]) -> ScoreReport:
    """What of a score leaves the container.

    With steps, the Ladder mechanism (Blum and Hardt 2015, algorithm 1): let η be the step, `best` the best score that
    was released before. A score of at least `best + η` is released, rounded to a multiple of η; another one isn't, and
    `best` stands. All other numbers are made from the released one, or they would give the exact one back.

    Args:
        policy: The card's.
        exact: The report as it was computed.
        earlier: The identity's turns.

    Raises:
        TooFewItemsError: Fewer items were answered than the policy scores: a score of a few would tell their verdicts.
    """
    if exact.overall.n < policy.least_items:
        msg = (
            f"this benchmark scores no evaluation with fewer than {policy.least_items} items answered;"
            f" {exact.overall.n} are: send the failures again"
        )
        raise TooFewItemsError(msg)
    if not policy.step:
        return exact
    best = max((turn for turn in earlier if turn.score is not None), key=lambda turn: turn.score or 0.0, default=None)
    if best is not None and best.score is not None and exact.ranked < round(best.score + policy.step, _DIGITS):
        return _made_from(exact, best.score, policy.step, stands=best)
    rounded = min(1.0, round(round(exact.ranked / policy.step) * policy.step, _DIGITS))
    return _made_from(exact, rounded, policy.step, stands=None)


def _made_from(exact: ScoreReport, ranked: float, step: float, *, stands: Turn | None) -> ScoreReport:
    counts = exact.counts
    failed = 0.0 if stands is not None else counts.failed / counts.expected
    overall = min(1.0, ranked / (1 - failed)) if failed < 1 else None
    return exact.model_copy(
        update={
            "overall": estimate_from_mean(overall, exact.overall.n),
            "ranked": ranked,
            "upper": min(1.0, ranked + failed),
            "subtasks": {},
            "counts": counts.model_copy(update={"scorer_errors": 0}),
            "step": step,
            "stands": None if stands is None else stands.evaluation_id,
        }
    )
