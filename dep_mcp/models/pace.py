"""The pace of an endpoint that limits requests a second: measures its rate from its refusals. Pure; time is passed in.

Once an endpoint has refused, its bucket of tokens is empty; at the next refusal it is empty again. What it accepted
in between, divided by the time, is the rate at which it is filled, whatever that is said to be.
"""

from collections import deque
from itertools import pairwise

CALM_S, CALM_CALLS = 1.0, 60
"""So long without a refusal (seconds, and as many calls), and the pace grows faster and faster."""
CREEP = 0.03
"""Growth a second before that: of fast endpoints; of slow ones less, since each refusal weighs more."""
_RUSH, _HOLD_S = 8.0, 0.15
"""A pace that is only guessed grows ninefold a second, after a moment."""
_LEAST_S, _LEAST_CALLS = 0.4, 8
"""Less than this measures nothing."""
_FLOOD_S = 1.0
"""Refusals that follow one another faster are one event."""
_LEAST_RATE = 1 / 30
"""Calls a second that are tried in any case."""
MOST_RATE = 1e4
"""More than any process sends: a pace that has grown so far limits nothing."""
_CHAIN, _CHAIN_S, _INDIFFERENT_S = 3, 2.0, 10.0
"""After so many measurements in a row, each so soon after the other (seconds), refusals change nothing for a while."""
_MEMORY_S = 30.0
"""How long what was accepted a second is remembered."""
_SHARE = 200
"""Calls over which the share of refused ones is taken."""


class Pace:
    """Calls a second to one endpoint.

    Args:
        rate: First guess, calls a second.
        now: Seconds on any clock that only goes forward.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = max(1.0, rate)
        self._known = False
        self._base = self.rate
        self._grown_at = self._quiet_at = now
        self._next_at = now + 1 / self.rate
        self._refused: deque[int] = deque()
        self._began = now
        self._seconds: deque[list[int]] = deque()
        self._refusals = 0
        self._flood = (0, now, 0)
        self._flood_at = self._indifferent_until = float("-inf")
        self._measured_at = deque([float("-inf")])
        self._first = self.rate

    def wait_s(self, now: float) -> float:
        """Seconds until the next call may leave."""
        return self._next_at - now

    def sent(self, now: float) -> None:
        """A call left: the next one is due a little later; one place of lateness may be made up for."""
        second = int(now)
        if not self._seconds or self._seconds[-1][0] != second:
            self._seconds.append([second, 0])
        self._seconds[-1][1] += 1
        self._grow(now)
        self._next_at = max(self._next_at, now - 1 / self.rate) + 1 / self.rate

    def count(self, number: int, now: float) -> None:
        """A call was refused, fresh or stale.

        Args:
            number: Of the call, in order of sending.
            now: When its refusal came.
        """
        self._refusals += 1
        if self._seconds:
            self._seconds[-1][1] -= 1
        self._refused.append(number)
        while self._refused[0] < number - _SHARE:
            self._refused.popleft()
        if now - self._flood_at > _FLOOD_S:
            self._flood = (number, now, self._refusals)
        self._flood_at = now

    def cut(self, number: int, at: float, now: float) -> None:
        """Slow down after a refusal that says something new.

        Args:
            number: Of the call refused, already counted.
            at: When it was sent.
            now: When its refusal came.
        """
        if now < self._indifferent_until:
            return
        flooded = sum(refused > number - 20 for refused in self._refused) > 2  # noqa: PLR2004 (of the last 20)
        measured = self._measured(number, at) if flooded else None
        if measured is not None:
            self._measure(measured, now)
            self._flood = (number, at, self._refusals)
        elif not self._known:
            self.rate *= 0.75
        elif now - self._quiet_at > self._calm_s() and self.rate > 1.1 * self._base:
            self.rate = max(self._base, 0.75 * self.rate)
        elif flooded:
            self.rate *= 0.85
        else:
            share = len(self._refused) / _SHARE
            self.rate *= 0.995 if share < 0.01 else 0.98 if share < 0.02 else 0.94  # noqa: PLR2004 (steps)
        self._hold_up(flooded=flooded, now=now)
        self._known = True
        self._base = self.rate
        self._grown_at = self._quiet_at = now
        self._next_at = now + 1 / self.rate

    def _hold_up(self, *, flooded: bool, now: float) -> None:
        """Never fall far below what was accepted a moment ago; refused even so, now and then, it isn't for the rate."""
        while self._seconds and self._seconds[0][0] < now - _MEMORY_S:
            self._seconds.popleft()
        counts = [count for second, count in self._seconds if second > self._began]
        best = max((sum(pair) / 2 for pair in pairwise(counts)), default=0.0)
        least = max(_LEAST_RATE, best / 4)
        if self.rate < least:
            self.rate = least
            if not flooded and best:
                self.rate, self._indifferent_until = 0.7 * best, now + _INDIFFERENT_S

    def _measure(self, measured: float, now: float) -> None:
        """At the rate measured a limit refuses no more. An endpoint that goes on, and on, refuses whatever is sent."""
        if now - self._measured_at[-1] > _CHAIN_S:
            self._measured_at.clear()
            self._first = measured
        self._measured_at.append(now)
        self.rate = 0.98 * measured
        if len(self._measured_at) > _CHAIN:
            self.rate = self._first
            self._indifferent_until = now + _INDIFFERENT_S
            self._measured_at = deque([float("-inf")])

    def _measured(self, number: int, at: float) -> float | None:
        """Calls accepted a second since this flood of refusals began; `None` if too few."""
        first, began, refusals = self._flood
        good, span = (number - first) - (self._refusals - refusals), at - began
        return good / span if span >= _LEAST_S and good >= _LEAST_CALLS else None

    def _calm_s(self) -> float:
        return max(CALM_S, CALM_CALLS / self._base)

    def _grow(self, now: float) -> None:
        span, self._grown_at = min(1.0, now - self._grown_at), now
        quiet = now - self._quiet_at
        if not self._known:
            growth = 0.0 if quiet < _HOLD_S else _RUSH
        elif quiet < self._calm_s():
            growth = CREEP * min(1.0, self.rate / 100)
        else:
            growth = min(1.0, CREEP * 4 ** (quiet - self._calm_s()))
        self.rate = min(MOST_RATE, self.rate * (1 + growth) ** span)
