"""Tells an endpoint that is down from one that falters: nothing but faults, many of them, for a while."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dep_mcp.protocol.errors import EvaluationPausedError


@dataclass
class Breaker:
    """Pauses an evaluation whose calls all fail; one answer, or one refusal of a request's own, begins it anew.

    Attempts of an item alone don't bound how long that takes: calls may hang for minutes before each fails, and
    fewer of them are sent at once the more of them hang.

    Attributes:
        calls: So many calls in a row must have failed with a fault that is retried; refusals for their rate neither
            count nor end the row.
        seconds: For so long at least.
        clock: Seconds; only goes forward.
    """

    calls: int = 20
    seconds: float = 60.0
    clock: Callable[[], float] = time.monotonic
    _row: int = field(default=0, init=False)
    _since: float = field(default=math.inf, init=False)

    def heard(self) -> None:
        """The endpoint answered, if only that it won't take this request."""
        self._row, self._since = 0, math.inf

    def failed(self, detail: str) -> None:
        """A call failed with a fault that is retried.

        Args:
            detail: What the provider said.

        Raises:
            EvaluationPausedError: The endpoint is down.
        """
        now = self.clock()
        self._row, self._since = self._row + 1, min(self._since, now)
        if self._row < self.calls or now - self._since < self.seconds:
            return
        msg = (
            f"the model's endpoint answered nothing for {now - self._since:.0f} s: the last {self._row} calls all"
            f" failed; the last said: {detail}. Nothing of it counts; resume when it is up again."
        )
        raise EvaluationPausedError(msg)
