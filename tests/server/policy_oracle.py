"""A benchmark of binary targets as an oracle under a policy: whole sessions, or a short cut with the same numbers.

Turns are kept as the store keeps them: one that is refused is no turn, and one that is scored counts for those that
come after it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from dep_mcp.metrics import estimate
from dep_mcp.protocol import (
    PAGE_ITEMS,
    Answer,
    Counts,
    DatasetCard,
    DeclaredFailure,
    Disclosure,
    GetItems,
    ItemScore,
    Open,
    Policy,
    ScoreReport,
    ScoreRequest,
    Submission,
    Submit,
    TextAnswer,
    Turn,
    new_evaluation_id,
)
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, SealedItem
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.policy import admit, disclosed
from dep_mcp.server.session import SealedSession

WRONG = "neither"
"""An answer that no target is: wrong, but no failure."""
FAILURE = DeclaredFailure(status=500)
Said = str | tuple[str, ...] | None
"""In every epoch, epoch by epoch, or a declared failure."""
Answers = Mapping[int, Said]
"""By item; `WRONG` for those that aren't in it."""
Choose = Callable[[Sequence[int]], Answers]
"""From the items of an evaluation, which the subject sees, to its answers."""
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Told:
    """What a subject knows after a query: what it said, the report, and how often each item was right, if told."""

    answers: Answers
    report: ScoreReport
    details: Mapping[int, float | None]
    identity: str = ""


class Oracle(ABC):
    """A benchmark, and the turns of those who ask it; `parts` sub-tasks lie evenly over its items."""

    def __init__(self, targets: Sequence[str], policy: Policy, *, parts: int = 1, seed: int = 0) -> None:
        self.targets = targets
        self.policy = policy
        self.parts = [f"part-{number % parts:02}" for number in range(len(targets))]
        self._rng = Random(seed)
        self._turns: dict[str, list[Turn]] = {}
        self._at = _FIRST
        self._bundle = Bundle.build(self._items())

    def _items(self) -> Iterable[SealedItem]:
        for number, (target, part) in enumerate(zip(self.targets, self.parts, strict=True)):
            yield SealedItem(str(number), f"Is it so with {number}?", target, subtask=part)

    def ask(
        self,
        choose: Choose,
        *,
        identity: str = "a",
        final: bool = False,
        task: str | None = None,
        limit: int | None = None,
        epochs: int = 1,
    ) -> Told:
        """One evaluation, an hour after the last one; raises what the server raises."""
        self._at += timedelta(hours=1)
        turns = self._turns.setdefault(identity, [])
        turn = Turn(evaluation_id=new_evaluation_id(), at=self._at, final=final, epochs=epochs)
        opening = Open(
            evaluation_id=turn.evaluation_id,
            seed=f"{self._rng.getrandbits(128):032x}",
            task=task,
            limit=limit,
            epochs=epochs,
            turn=turn,
            earlier=tuple(turns),
        )
        told = self._evaluate(opening, choose)
        turns.append(turn.model_copy(update={"score": told.report.ranked}))
        return replace(told, identity=identity)

    @abstractmethod
    def _evaluate(self, opening: Open, choose: Choose) -> Told:
        """Open, answer and score."""


class SessionOracle(Oracle):
    """Asks a `SealedSession`, all of it."""

    def _evaluate(self, opening: Open, choose: Choose) -> Told:
        session = self._session()
        session.open(opening)
        numbers, cursor = list[int](), ""
        while cursor is not None:
            page = session.get_items(GetItems(evaluation_id=opening.evaluation_id, cursor=cursor or None))
            numbers += [int(item.item_id) for item in page.items]
            cursor = page.next_cursor
        answers = choose(numbers)
        pairs = [(number, epoch) for number in numbers for epoch in range(1, opening.epochs + 1)]
        for start in range(0, len(pairs), PAGE_ITEMS):
            page_of = [
                Submission(item_id=str(number), epoch=epoch, answer=_answer(answers.get(number, WRONG), epoch))
                for number, epoch in pairs[start : start + PAGE_ITEMS]
            ]
            submitted = session.submit(Submit(evaluation_id=opening.evaluation_id, submissions=tuple(page_of)))
            assert submitted.accepted == len(page_of)
        report, details, cursor = None, list[ItemScore](), ""
        while cursor is not None:
            result = session.score(ScoreRequest(evaluation_id=opening.evaluation_id, cursor=cursor or None))
            report, cursor = result.report, result.next_cursor
            details += result.details
        assert report is not None
        return Told(answers, report, _right(details))

    def _session(self) -> SealedSession:
        oracle = self

        class Binary(Benchmark):
            scorer = ExactMatch()

            def items(self, draw: object) -> Iterable[SealedItem]:  # noqa: ARG002 (they are fixed)
                return oracle._items()

        card = DatasetCard(
            name="binary", version="1", title="t", description="d", license="x", source="s", policy=self.policy
        )
        return SealedSession(Binary(card, Path()), digest=self._bundle.digest, bundle=self._bundle)


class ShortOracle(Oracle):
    """Computes the report of a session without its tools; `admit` and `disclosed` are the server's."""

    def _evaluate(self, opening: Open, choose: Choose) -> Told:
        numbers: Sequence[int] = range(len(self.targets))
        if opening.task is not None or opening.limit is not None:
            numbers = self._bundle.draw(opening.seed, task=opening.task, limit=opening.limit)
        admit(self.policy, opening, len(numbers))
        answers = choose(numbers)
        right: dict[int, float | None] = {}
        for number in numbers:
            said, target = answers.get(number, WRONG), self.targets[number]
            right[number] = (
                said.count(target)
                if isinstance(said, tuple)
                else None
                if said is None
                else opening.epochs * (said == target)
            )
        report = disclosed(self.policy, self._report(opening, right), opening.earlier)
        details = right if self.policy.disclosure is Disclosure.FULL else {}
        return Told(answers, report, details)

    def _report(self, opening: Open, right: Mapping[int, float | None]) -> ScoreReport:
        parts: dict[str, list[float]] = {self.parts[number]: [] for number in right}
        for number, count in right.items():
            if count is not None:
                parts[self.parts[number]].append(count / opening.epochs)
        expected, failed = len(right) * opening.epochs, opening.epochs * sum(count is None for count in right.values())
        total, epochs = sum(count for count in right.values() if count is not None), opening.epochs
        told = {} if self.policy.disclosure is Disclosure.FINAL else parts
        return ScoreReport(
            evaluation_id=opening.evaluation_id,
            benchmark="binary",
            benchmark_version="1",
            task=opening.task,
            metric="accuracy",
            overall=estimate([value for values in parts.values() for value in values], epochs=epochs),
            ranked=total / expected,
            upper=(total + failed) / expected,
            subtasks={name: estimate(values, epochs=epochs) for name, values in sorted(told.items())},
            counts=Counts(expected=expected, scored=expected - failed, failed=failed, missing=0),
            items_digest="sha256:" + "0" * 64,
        )


def _answer(said: Said, epoch: int) -> Answer:
    if said is None:
        return FAILURE
    return TextAnswer(text=said if isinstance(said, str) else said[epoch - 1])


def _right(details: Sequence[ItemScore]) -> dict[int, float | None]:
    right: dict[int, float | None] = {}
    for detail in details:
        before = right.get(int(detail.item_id), 0.0)
        right[int(detail.item_id)] = None if detail.value is None or before is None else before + detail.value
    return right
