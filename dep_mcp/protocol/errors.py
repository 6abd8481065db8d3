"""Every error of the protocol and the toolkit.

    DepError
    ├── UsageError                    bad_usage            400  a flag or argument that can't be right
    ├── InvalidArgumentsError         invalid_arguments    400  a tool was called with the wrong shape
    ├── CardError                     broken_card          422  a card names the file and the field
    ├── UnknownNameError              unknown_name         404  no such benchmark, task, model or evaluation
    ├── DataError                     bad_data             422  missing, empty, duplicate or wrong digest
    │   └── GeneratedError            items_generated      422  there are no fixed items to seal or to commit to
    ├── ReceiptError                  bad_receipt          422  a receipt or an opening isn't what it should be
    ├── SealError                                               what a benchmark endpoint refuses
    │   ├── NotOpenError              not_open             409
    │   ├── AlreadyOpenError          already_open         409
    │   ├── WrongKeyError             wrong_key            403  the data key is missing or another one's
    │   ├── WrongEvaluationError      wrong_evaluation     404
    │   ├── UnknownItemError          unknown_item         404
    │   ├── SubmissionConflictError   submission_conflict  409  write-once: another answer is there
    │   ├── UnfitAnswerError          unfit_answer         422  not the kind of answer that the item asks for
    │   ├── EvaluationClosedError     evaluation_closed    409  scored: no submission any more
    │   ├── BadCursorError            bad_cursor           400
    │   ├── TooFewItemsError          too_few_items        422  the policy scores no fewer
    │   ├── QuotaError                quota_exhausted      429  the policy scores this identity no more for now
    │   └── TurnError                 turn_taken           409  another evaluation of this identity comes first
    ├── EngineError                   engine_unavailable   503  no container engine answers
    │   ├── ImageBuildError           image_build_failed   500
    │   ├── HardeningError            not_hardened         500  the engine applied less than was asked
    │   └── ContainerLostError        container_lost       502  retryable: replace it and replay
    ├── ModelCallError                model_call           any  a status of the contract (`protocol.status`)
    ├── EvaluationPausedError         paused               503  resumable; says why it paused
    ├── EvaluationCancelledError      cancelled            409  on request; can be resumed all the same
    ├── ResumeRefusedError            resume_refused       409  something that matters changed
    └── StoreError                    store_unavailable    507  disk full, locked or broken

`code` is the wire identity and never reused. A message says what happened and what to do, and never
quotes a target, a key or a prompt.
"""

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from dep_mcp.protocol.base import WireModel


class ErrorBody(WireModel):
    """An error on the wire: the structured content of an `isError` result, or the data of a JSON-RPC error."""

    status: int
    code: str
    detail: str


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""What would move a terminal's cursor, colour it or turn its text round: some details are others' words."""


class DepError(Exception):
    """Root of all errors; `status` follows HTTP, `code` is stable, `retryable` says whether waiting can help."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str) -> None:
        self.detail = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", detail)
        super().__init__(self.detail)

    def body(self) -> ErrorBody:
        """The error as it travels."""
        return ErrorBody(status=self.status, code=self.code, detail=self.detail)

    @classmethod
    def from_body(cls, body: ErrorBody) -> "DepError":
        """Rebuild an error from its code; an unknown code becomes a plain `DepError`."""
        kind = _BY_CODE.get(body.code)
        if kind is None:
            return DepError(f"{body.code}: {body.detail}")
        return ModelCallError(body.detail, body.status) if kind is ModelCallError else kind(body.detail)


class UsageError(DepError):
    """A flag or argument can't be right."""

    status, code = 400, "bad_usage"


class InvalidArgumentsError(DepError):
    """A tool was called with arguments of the wrong shape."""

    status, code = 400, "invalid_arguments"


class CardError(DepError):
    """A card is broken; the message names its file and field."""

    status, code = 422, "broken_card"


class UnknownNameError(DepError):
    """No benchmark, task, model or evaluation of that name; the message lists the nearest."""

    status, code = 404, "unknown_name"


class DataError(DepError):
    """A benchmark's data is missing, empty, repeated, or not what its digest says."""

    status, code = 422, "bad_data"


class GeneratedError(DataError):
    """What asks for fixed items: the benchmark generates its own."""

    code = "items_generated"


class ReceiptError(DepError):
    """A receipt, a key or an opening is broken, or isn't signed by whom it should be."""

    status, code = 422, "bad_receipt"


class SealError(DepError):
    """A benchmark endpoint refused a call."""


class NotOpenError(SealError):
    """The operator hasn't opened this container for an evaluation."""

    status, code = 409, "not_open"


class AlreadyOpenError(SealError):
    """A container serves one evaluation; it was opened for another."""

    status, code = 409, "already_open"


class WrongKeyError(SealError):
    """The benchmark is encrypted, and it isn't this key that opens it."""

    status, code = 403, "wrong_key"


class WrongEvaluationError(SealError):
    """The evaluation id isn't the one this container was opened for."""

    status, code = 404, "wrong_evaluation"


class UnknownItemError(SealError):
    """The item or epoch isn't in the set fixed at `open`."""

    status, code = 404, "unknown_item"


class SubmissionConflictError(SealError):
    """Submissions are write-once, and another answer is there."""

    status, code = 409, "submission_conflict"


class UnfitAnswerError(SealError):
    """The answer isn't of the kind that the item asks for: text, or one log-likelihood per option."""

    status, code = 422, "unfit_answer"


class EvaluationClosedError(SealError):
    """The evaluation has been scored, so nothing can be submitted any more."""

    status, code = 409, "evaluation_closed"


class BadCursorError(SealError):
    """The cursor isn't one that this evaluation handed out."""

    status, code = 400, "bad_cursor"


class TooFewItemsError(SealError):
    """The policy scores no evaluation of so few items, or with so few answered."""

    status, code = 422, "too_few_items"


class QuotaError(SealError):
    """The policy scores this identity no more for now; the message says when it will."""

    status, code = 429, "quota_exhausted"


class TurnError(SealError):
    """Where the policy rounds, an identity's evaluations are scored one after the other."""

    status, code = 409, "turn_taken"


class EngineError(DepError):
    """No container engine answers, or it refused."""

    status, code, retryable = 503, "engine_unavailable", True


class ImageBuildError(EngineError):
    """An image could not be built."""

    status, code, retryable = 500, "image_build_failed", False


class HardeningError(EngineError):
    """The engine applied less isolation than was asked for."""

    status, code, retryable = 500, "not_hardened", False


class ContainerLostError(EngineError):
    """The container died or stopped answering."""

    status, code, retryable = 502, "container_lost", True


class ModelCallError(DepError):
    """A call of a model ended in a status of the contract other than 200.

    Args:
        detail: What the provider said, without the prompt and without a key.
        status: A status of `protocol.status.STATUS_CONTRACT`.
        retry_after_s: Seconds the provider asked to wait, if it did.
    """

    code = "model_call"

    def __init__(self, detail: str, status: int = 500, *, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.status = status  # type: ignore[misc]  # the one class whose status is the instance's
        self.retry_after_s = retry_after_s


class EvaluationPausedError(DepError):
    """The evaluation paused; everything answered is kept and `resume` goes on."""

    status, code, retryable = 503, "paused", True


class EvaluationCancelledError(DepError):
    """The evaluation was cancelled on request; everything answered is kept."""

    status, code = 409, "cancelled"


class ResumeRefusedError(DepError):
    """Model, settings, benchmark or data changed since the evaluation began."""

    status, code = 409, "resume_refused"


class StoreError(DepError):
    """The store can't be written or read."""

    status, code = 507, "store_unavailable"


def _tree(root: type[DepError]) -> Iterator[type[DepError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)


_BY_CODE: Mapping[str, type[DepError]] = {kind.code: kind for kind in _tree(DepError) if kind is not SealError}
