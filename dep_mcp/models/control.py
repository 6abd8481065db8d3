"""Finds by itself how many calls an endpoint bears at once and a second. Pure; time is passed in.

Two hypotheses explain a refusal: too many calls in flight (a cap), or too many a second (a rate). Under a cap, what
was refused once is refused again, and what was borne is borne; under a rate, a little later more is accepted. So a
refusal is first taken for a cap's, and after a moment a few calls more than the cap are tried: accepted, it was the
rate, which is measured from then on (`pace`); refused, it is a cap, and is tried again more and more seldom.
A refusal of a call sent before the last cut says nothing new.
"""

import math
from collections import deque
from dataclasses import dataclass

from dep_mcp.models.pace import Pace

START = 10
"""Calls in flight at first."""
FREE = 32
"""Up to so many the window doubles every second even before anything was answered."""
_TICK_S = 0.02
_SPACING = 0.4
"""Calls are spread over this share of an answer's time, lest a whole window leaves at once."""
_PRESUMED_S = 0.05
"""What isn't refused after so long counts as accepted."""
_BURST_S = 0.05
_FIRST_TRY_S, _LAST_TRY_S = 0.2, 6.0
"""When more than a cap is tried, at first and at most."""
_CONFIRMED = 3
"""Tries refused after which more being accepted means that the cap rose."""
_MOST_ODD, _ODD_S = 6, 3.0
"""So many refusals within a cap, in seconds: there is none."""
_LATELY_S = 3.0
_WORTH_S = 2.0
"""Seconds of work that must be left for more than a cap to be tried."""


@dataclass(slots=True, eq=False)
class Ticket:
    """A call in flight.

    Attributes:
        number: In order of sending, from 1.
        depth: Calls in flight with it.
        at: When it left.
        bound: Whether the window, not the pace or a lack of work, kept the next one back.
    """

    number: int
    depth: int
    at: float
    bound: bool


class Control:
    """What one endpoint bears.

    Args:
        most: Calls in flight that are never exceeded.
        start: Calls in flight at first; those of an endpoint that nothing is known of leave one by one, so that the
            first refusal is heard before the rest is sent.
    """

    def __init__(self, most: int, start: int | None = None) -> None:
        self.most = most
        self.in_flight = 0
        self.refusals = 0
        self.pace: Pace | None = None
        self.left = math.inf
        """Calls that are still to come, as far as that is known."""
        self._window = float(min(start or START, most))
        self._spread = start is None
        self._ceiling = math.inf
        self._sent = self._cut = 0
        self._cut_at = -math.inf
        self._odd: deque[float] = deque()
        self._trying = False
        self._try_s, self._try_at = _FIRST_TRY_S, math.inf
        self._tries = 0
        self._beyond: Ticket | None = None
        self._accepted: deque[float] = deque()  # when they left, of those not refused (yet)
        self._latency_s = 0.0
        self._next_at = self._ticked_at = self._began = -math.inf

    @property
    def size(self) -> int:
        """Calls that may be in flight now."""
        return self.most if self.pace is not None else int(self._window)

    # -- asking

    def wait_s(self, now: float) -> float:
        """Seconds until the next call may leave; 0 at once; infinite until an answer or a refusal comes."""
        if self.pace is None:
            self._try(now)
        if self.in_flight >= self.most:
            return math.inf
        if self.pace is not None:
            return max(0.0, self.pace.wait_s(now))
        if self.in_flight < int(self._window):
            return max(0.0, self._next_at - now)
        if self._ceiling == math.inf:
            return _TICK_S if self._window < min(FREE, self.most) else math.inf
        return max(0.001, self._try_at - now)

    def sent(self, now: float) -> Ticket:
        """A call leaves."""
        self.in_flight += 1
        self._sent += 1
        if self._sent == 1:
            self._began = now
        ticket = Ticket(self._sent, self.in_flight, now, self.in_flight >= int(self._window))
        if self.pace is not None:
            self.pace.sent(now)
            return ticket
        self._accepted.append(now)
        while self._accepted[0] < now - _LATELY_S:
            self._accepted.popleft()
        if self._ceiling < math.inf:
            self._next_at = now + _SPACING * self._latency_s / self._window
            beyond = ticket.depth > 1.08 * self._ceiling + min(1.0, self._ceiling / 10)
            if self._trying and self._beyond is None and beyond:
                self._beyond, self._try_at = ticket, now + _PRESUMED_S
        elif self._spread and not self._latency_s:
            self._next_at = now + _TICK_S
        return ticket

    # -- hearing

    def answered(self, ticket: Ticket, now: float) -> None:
        """An answer came."""
        self.in_flight -= 1
        self._latency_s += (now - ticket.at - self._latency_s) * (0.1 if self._latency_s else 1.0)
        if self.pace is None and ticket.bound and self._window < self._ceiling:
            self._window = min(self.most, self._ceiling, self._window + 1)

    def faulted(self, ticket: Ticket, *, overloaded: bool, now: float) -> None:
        """A call failed: growth stops, nothing shrinks; but where calls time out, half as many are too many.

        Args:
            ticket: The call.
            overloaded: It timed out.
            now: Seconds.
        """
        self.in_flight -= 1
        if overloaded and self.pace is None and ticket.number > self._cut:
            self._window = max(1.0, self.in_flight / 2)
            self._ceiling = max(1.0, min(self._ceiling, float(self.in_flight)))
            self._cut, self._cut_at = self._sent, now
            self._try_at = now + _LAST_TRY_S

    def refused(self, ticket: Ticket, now: float) -> None:
        """The endpoint refused a call for its limits."""
        self.in_flight -= 1
        self.refusals += 1
        others = float(max(1, self.in_flight))
        if self.pace is not None:
            self.pace.count(ticket.number, now)
        elif ticket.at in self._accepted:
            self._accepted.remove(ticket.at)
        if ticket.number <= self._cut:
            if self.pace is None and now - self._cut_at < _BURST_S:  # the rest of a burst tells the cap exactly
                self._ceiling = self._window = min(self._ceiling, others)
            return
        self._cut, self._cut_at = self._sent, now
        if self.pace is not None:
            self.pace.cut(ticket.number, ticket.at, now)
        elif self._trying and others >= self._ceiling:
            self._tries += 1
            self._try_s = min(_LAST_TRY_S, 2 * self._try_s)
            self._cap(others, others, now)
        else:
            self._refused_within(others, now)

    # -- the window

    def _refused_within(self, others: float, now: float) -> None:
        if self._ceiling == math.inf:
            self._began = now  # its bucket, if it has one, is empty: what it accepts from now on is its rate
            self._cap(others, others, now)
            return
        self._odd.append(now)
        while self._odd[0] < now - _ODD_S:
            self._odd.popleft()
        if len(self._odd) >= _MOST_ODD:
            self._start_pace(now)
        else:
            self._cap(min(self._ceiling, others), max(1.0, others / 2), now)

    def _cap(self, ceiling: float, window: float, now: float) -> None:
        self._ceiling, self._window = ceiling, window
        self._trying, self._beyond = False, None
        self._try_at = now + self._try_s

    def _try(self, now: float) -> None:
        """Grow a window that nothing has limited, or try more than a cap seems to allow."""
        if self._ceiling == math.inf:
            if self.in_flight >= int(self._window) and self._window < FREE:
                grown = self._window * 2 ** min(_TICK_S, now - self._ticked_at)
                self._window = min(float(self.most), grown)
            self._ticked_at = now
        if now < self._try_at:
            return
        if not self._trying and self.left < _WORTH_S * self._lately(now):
            self._try_at = now + self._try_s  # a refused call would come back after all others are done
            return
        if self._beyond is None:
            self._trying = True
            self._window = min(self.most, max(self._window, self._ceiling) + 1)
            self._try_at = now + _TICK_S
        elif self._tries < _CONFIRMED:
            self._start_pace(now)
        else:
            self._ceiling = self._try_at = math.inf
            self._trying, self._beyond, self._tries, self._try_s = False, None, 0, _FIRST_TRY_S

    def _start_pace(self, now: float) -> None:
        """Pace from now on, at first as fast as calls were accepted in the last second."""
        self.pace = Pace(self._lately(now), now)

    def _lately(self, now: float) -> float:
        """Calls accepted a second, over the last one."""
        since = max(now - 1, self._began)
        return sum(at >= since for at in self._accepted) / max(0.2, now - since)
