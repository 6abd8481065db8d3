"""One sealed session: what the tools do, without MCP. A container serves one evaluation."""

import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches

from dep_mcp.metrics import estimate
from dep_mcp.protocol import (
    PAGE_BYTES,
    PAGE_ITEMS,
    Attested,
    ChoiceAnswer,
    Claimed,
    Commitment,
    Counts,
    DataKey,
    DeclaredFailure,
    Description,
    Digest,
    Disclosure,
    Envelope,
    Estimate,
    GetItems,
    Item,
    ItemPage,
    ItemScore,
    Open,
    Opened,
    Rejection,
    ScoreReport,
    ScoreRequest,
    ScoreResult,
    ScoreState,
    Submission,
    Submit,
    Submitted,
)
from dep_mcp.protocol.errors import (
    AlreadyOpenError,
    BadCursorError,
    DataError,
    EvaluationClosedError,
    NotOpenError,
    SealError,
    UnfitAnswerError,
    UnknownItemError,
    UnknownNameError,
    WrongEvaluationError,
)
from dep_mcp.receipts import AnswerLog, Committed, SigningKey, issue
from dep_mcp.server.benchmark import Benchmark, Draw
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.guard import Guard
from dep_mcp.server.ledger import Entry, Ledger
from dep_mcp.server.policy import admit, disclosed

SUBMIT_S = 20.0
"""How long one call of `submit` takes on further submissions; the caller sends the rest again."""


class SealedSession:
    """A benchmark, opened for one evaluation.

    Args:
        benchmark: The author's.
        digest: Of its data, or of its generator.
        bundle: Its indexed items; `None` where they are generated at `open`.
        scorer: Digest of the code that scores, for the receipt.
        unseal: Decrypts the items of a sealed benchmark.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        *,
        digest: Digest,
        bundle: Bundle | None,
        scorer: Digest | None = None,
        unseal: Callable[[DataKey | None], Bundle] | None = None,
    ) -> None:
        self._benchmark = benchmark
        self._digest = digest
        self._scorer = scorer
        self._indexed = bundle
        self._unseal = unseal
        self._guard = Guard(benchmark.scorer)
        self._opening: Open | None = None
        self._result: ScoreResult | None = None

    def describe(self) -> Description:
        """Say what the benchmark is; the same before and after `open`."""
        card = self._benchmark.card
        return Description(
            benchmark=card.name,
            version=card.version,
            title=card.title,
            license=card.license,
            metric=card.metric,
            policy=card.policy,
            tasks=tuple(self._tasks()),
            generation=card.generation,
            data_digest=self._digest,
            sealed=card.sealed is not None,
            canary=card.canary,
        )

    def _tasks(self) -> list[str]:
        if (sealed := self._benchmark.card.sealed) is not None:
            return list(sealed.tasks)
        return sorted(self._benchmark.tasks()) if self._indexed is None else self._indexed.tasks()

    def open(self, opening: Open) -> Opened:
        """Fix the item set.

        Raises:
            AlreadyOpenError: It is open for another evaluation, or with other arguments.
            UnknownNameError: No task of that name.
            DataError: The generator yielded nothing, or an id twice; or the card commits to other items and targets.
            WrongKeyError: It is sealed, and the key isn't the right one.
            SealError: The policy doesn't let it be scored; see `dep_mcp.server.policy`.
        """
        if self._opening is None:
            self._fix(opening)
        elif self._opening != _without_secrets(opening):
            msg = "this container was opened for another evaluation: start another container"
            raise AlreadyOpenError(msg)
        return Opened(
            items=len(self._order),
            epochs=opening.epochs,
            items_digest=self._items_digest,
            public_key=self._key.public,
        )

    def _fix(self, opening: Open) -> None:
        tasks = self._tasks()
        if opening.task is not None and opening.task not in tasks:
            near = ", ".join(get_close_matches(opening.task, tasks, 3, 0.4)) or ", ".join(tasks[:10]) or "none"
            msg = f"{self._benchmark.card.name} has no task {opening.task!r}; nearest: {near}"
            raise UnknownNameError(msg)
        if self._unseal is not None:
            self._indexed = self._unseal(opening.data_key)
        self._bundle = self._indexed or Bundle.build(
            self._benchmark.items(Draw(opening.seed, opening.task, opening.limit))
        )
        task = opening.task if self._indexed else None
        self._order = self._bundle.draw(opening.seed, task=task, limit=opening.limit)
        admit(self._benchmark.card.policy, opening, len(self._order))
        self._positions = {number: position for position, number in enumerate(self._order)}
        digest = hashlib.sha256()
        for number in self._order:
            digest.update(self._bundle.item_json(number).encode() + b"\n")
        self._items_digest = "sha256:" + digest.hexdigest()
        self._ledger = Ledger(len(self._order), opening.epochs)
        self._key = SigningKey.mint()
        self._commitment = self._verified(opening.salt)
        self._opening = _without_secrets(opening)

    def _verified(self, salt: str | None) -> Commitment | None:
        """The card's commitment, if these are the items and targets that it was made of; none without its secret."""
        commitment = self._benchmark.card.commitment
        if commitment is None or salt is None or self._indexed is None:
            return None
        if Committed(bytes.fromhex(salt), self._bundle.rows()).commitment != commitment:
            msg = "items and targets aren't those that the card commits to: mend the data, or commit anew"
            raise DataError(msg)
        return commitment

    def _opened(self, evaluation_id: str) -> Open:
        if self._opening is None:
            msg = "the operator hasn't opened this container for an evaluation"
            raise NotOpenError(msg)
        if self._opening.evaluation_id != evaluation_id:
            msg = "this container serves another evaluation"
            raise WrongEvaluationError(msg)
        return self._opening

    def get_items(self, request: GetItems) -> ItemPage:
        """One page, of at most 100 items and 256 KiB.

        Raises:
            BadCursorError: Not a cursor of this evaluation.
        """
        self._opened(request.evaluation_id)
        start = self._offset(request.cursor, len(self._order))
        items: list[Item] = []
        size, stop = 0, start
        for number in self._order[start : start + request.limit]:
            size += len(self._bundle.item_json(number).encode())
            if items and size > PAGE_BYTES:
                break
            items.append(self._bundle.item(number))
            stop += 1
        cursor = str(stop) if stop < len(self._order) else None
        return ItemPage(items=tuple(items), next_cursor=cursor, total=len(self._order))

    @staticmethod
    def _offset(cursor: str | None, total: int) -> int:
        if cursor is None:
            return 0
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 10 and int(cursor) < total):  # noqa: PLR2004 (below 2³¹)
            msg = "not a cursor of this evaluation: start again without one"
            raise BadCursorError(msg)
        return int(cursor)

    def submit(self, request: Submit) -> Submitted:
        """Score submissions as they come, each once; what is refused is listed, and doesn't hinder the rest.

        They are taken in order, as many as there is time for: at least one, and none after `SUBMIT_S`.

        Raises:
            WrongEvaluationError: This container serves another evaluation.
        """
        self._opened(request.evaluation_id)
        outcomes, rejected, begin = [0, 0], [], time.monotonic()
        for submission in request.submissions:
            if time.monotonic() - begin > SUBMIT_S:
                break
            try:
                outcomes[self._take(submission)] += 1
            except SealError as error:
                rejected.append(
                    Rejection(
                        item_id=submission.item_id,
                        epoch=submission.epoch,
                        code=error.code,
                        detail=error.detail,
                    )
                )
        return Submitted(accepted=outcomes[False], duplicates=outcomes[True], rejected=tuple(rejected))

    def _take(self, submission: Submission) -> bool:
        """Score one submission; return whether it was there already."""
        number = self._bundle.number_of(submission.item_id)
        position = None if number is None else self._positions.get(number)
        epochs = self._opening.epochs if self._opening else 0
        if number is None or position is None or submission.epoch > epochs:
            msg = f"no such item and epoch in this evaluation (epochs: {epochs})"
            raise UnknownItemError(msg)
        slot, digest = position * epochs + submission.epoch - 1, submission.digest()
        answer = submission.answer
        failure = isinstance(answer, DeclaredFailure)
        if self._ledger.is_duplicate(slot, digest, failure=failure):
            return True
        if self._result is not None:
            msg = "the evaluation has been scored; nothing can be submitted any more"
            raise EvaluationClosedError(msg)
        if isinstance(answer, DeclaredFailure):
            self._ledger.write(slot, digest, Entry.FAILED)
            return False
        options = len(self._bundle.item(number).options)
        if options != (len(answer.log_likelihoods) if isinstance(answer, ChoiceAnswer) else 0):
            msg = f"the item asks for {f'{options} log-likelihoods' if options else 'text'}"
            raise UnfitAnswerError(msg)
        score = self._guard.score(answer, self._bundle.target(number))
        self._ledger.write(slot, digest, Entry.SCORER_ERROR if score is None else Entry.SCORED, score or 0.0)
        return False

    def score(self, request: ScoreRequest) -> ScoreResult:
        """Score a complete evaluation, once; a repeated call returns the same.

        Raises:
            TooFewItemsError: Fewer items were answered than the policy scores.
            BadCursorError: Not a cursor of this evaluation.
        """
        opening = self._opened(request.evaluation_id)
        if self._result is None:
            missing = self._ledger.count()[Entry.MISSING]
            if missing:
                return ScoreResult(state=ScoreState.INCOMPLETE, missing=missing)
            report = disclosed(self._benchmark.card.policy, self._report(opening), opening.earlier)
            receipt = self._receipt(opening, report)
            self._result = ScoreResult(state=ScoreState.SCORED, missing=0, report=report, receipt=receipt)
        if self._benchmark.card.policy.disclosure is not Disclosure.FULL:
            self._offset(request.cursor, 0)  # no cursor was ever handed out
            return self._result
        details, cursor = self._details(request, opening.epochs)
        return self._result.model_copy(update={"details": details, "next_cursor": cursor})

    def _details(self, request: ScoreRequest, epochs: int) -> tuple[tuple[ItemScore, ...], str | None]:
        total = len(self._order) * epochs
        start = self._offset(request.cursor, total)
        stop = min(total, start + PAGE_ITEMS)
        details = tuple(
            ItemScore(
                item_id=self._bundle.item(self._order[slot // epochs]).item_id,
                epoch=slot % epochs + 1,
                value=self._ledger.value(slot),
            )
            for slot in range(start, stop)
        )
        return details, str(stop) if stop < total else None

    def _report(self, opening: Open) -> ScoreReport:
        card, count = self._benchmark.card, self._ledger.count()
        parts: dict[str | None, list[float]] = {}
        for position, number in enumerate(self._order):
            values = parts.setdefault(self._bundle.subtasks[number], [])
            mean = self._ledger.item_mean(position)
            if mean is not None:
                values.append(mean)
        expected, total = len(self._order) * opening.epochs, self._ledger.total()
        return ScoreReport(
            evaluation_id=opening.evaluation_id,
            benchmark=card.name,
            benchmark_version=card.version,
            task=opening.task,
            metric=card.metric,
            overall=estimate([value for values in parts.values() for value in values], epochs=opening.epochs),
            ranked=total / expected,
            upper=(total + count[Entry.FAILED]) / expected,
            subtasks=self._subtasks(parts, opening.epochs),
            counts=Counts(
                expected=expected,
                scored=count[Entry.SCORED] + count[Entry.SCORER_ERROR],
                scorer_errors=count[Entry.SCORER_ERROR],
                failed=count[Entry.FAILED],
                missing=0,
            ),
            items_digest=self._items_digest,
        )

    def _receipt(self, opening: Open, report: ScoreReport) -> Envelope:
        """The report with all that it rests on, signed; made once, since its time is part of it."""
        card, log = self._benchmark.card, AnswerLog()
        for digest in self._ledger.digests():
            log.add(digest)
        attested = Attested(
            public_key=self._key.public,
            report=report,
            policy=card.policy,
            data=self._digest,
            sealed=card.sealed is not None,
            scorer=self._scorer,
            answers=log.root,
            commitment=self._commitment,
        )
        claimed = Claimed(**opening.claims.model_dump(), at=datetime.now(UTC))
        return issue(attested, claimed, log, self._key)

    def _subtasks(self, parts: dict[str | None, list[float]], epochs: int) -> dict[str, Estimate]:
        if self._benchmark.card.policy.disclosure is Disclosure.FINAL:
            return {}
        return {name: estimate(values, epochs=epochs) for name, values in sorted(parts.items(), key=str) if name}


def _without_secrets(opening: Open) -> Open:
    return opening.model_copy(update={"data_key": None, "salt": None})
