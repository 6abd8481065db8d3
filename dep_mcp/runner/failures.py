"""What failures mean: is it the item, every request, or the provider? Only what else comes can tell."""

from typing import NoReturn

from dep_mcp.protocol import DeclaredFailure, Record
from dep_mcp.protocol.errors import EvaluationPausedError, ModelCallError

MOST_MALFORMED = 20
"""An evaluation whose first calls all are refused as malformed stops after so many."""
_LEAST_IN_A_ROW = 5


class Failures:
    """The failures of one evaluation, some of them kept back until it is known what they mean."""

    def __init__(self) -> None:
        self._held: list[Record] = []
        self._malformed = 0

    def hold(self, record: Record, in_flight: int) -> None:
        """Keep back an item whose retries ran out while nothing else was answered.

        An answer to another item settles it as the item's own failure. Too many in a row mean that the provider is
        down: nothing of it is recorded, and the evaluation pauses.

        Args:
            record: Its failure.
            in_flight: Calls that the endpoint may be given at once.

        Raises:
            EvaluationPausedError: The provider is down.
        """
        self._held.append(record)
        if len(self._held) >= max(_LEAST_IN_A_ROW, in_flight):
            self._raise_down()

    def settled(self, *, answered: bool) -> list[Record]:
        """What was kept back, to be recorded: there was an answer, or nothing else is left to call.

        Args:
            answered: Whether the evaluation has any answer.

        Raises:
            EvaluationPausedError: It has none: the provider is down.
        """
        if self._held and not answered:
            self._raise_down()
        held, self._held = self._held, []
        return held

    def malformed(self, record: Record) -> ModelCallError | None:
        """Count a failure of an evaluation that has no answer yet; once all were such, the error to end it with."""
        self._malformed += 1
        if self._malformed < MOST_MALFORMED:
            return None
        answer = record.submission.answer
        status = answer.status if isinstance(answer, DeclaredFailure) else 400
        msg = f"the first {MOST_MALFORMED} calls were all refused as malformed; the last: {record.detail}"
        return ModelCallError(msg, status)

    def _raise_down(self) -> NoReturn:
        msg = (
            f"the model's endpoint answers nothing: {len(self._held)} items in a row used up their attempts;"
            f" the last said: {self._held[-1].detail}. Nothing of it counts; resume when it is up again."
        )
        raise EvaluationPausedError(msg)
