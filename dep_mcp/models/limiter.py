"""Flow control of one endpoint, shared fairly by all evaluations that use it.

It owns the only queue for the endpoint: what the card's limits allow a minute, what `Control` finds the endpoint to
bear, and whose turn it is. A call that was refused comes before fresh ones of its evaluation.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

from dep_mcp.models.allowance import Allowance, Quota
from dep_mcp.models.control import Control, Ticket
from dep_mcp.models.pace import MOST_RATE
from dep_mcp.protocol import Limits

MOST_IN_FLIGHT = 512
"""Where the card sets no limit; each call in flight holds a connection, of which a process has about a thousand."""
_LONG_WAIT_S = 5.0
_ROW = 3
"""After so many refusals in a row that ask for a long wait, the whole endpoint waits."""
_MOST_WAIT_S = 60.0
_CHANGED = 0.1
"""Share by which a rate that a provider tells must differ to be another one: it is made of round numbers."""


class Bucket:
    """A token bucket.

    Args:
        per_minute: How fast it fills.
        burst_s: Seconds of filling that it holds.
    """

    def __init__(self, per_minute: float, *, burst_s: float) -> None:
        self._per_s = per_minute / 60
        self._most = max(1.0, self._per_s * burst_s)
        self._level, self._at = self._most, -math.inf
        self._least = -math.inf

    def wait_s(self, now: float) -> float:
        """Seconds until there is anything in it."""
        self._level, self._at = min(self._most, self._level + (now - self._at) * self._per_s), now
        return 0.0 if self._level > 0 else -self._level / self._per_s + 1e-6

    def take(self, amount: float) -> None:
        """Take out, or with a negative amount give back; it may fall below zero, and is waited for then."""
        self._level = max(self._least, min(self._most, self._level - amount))

    def mirror(self, quota: Quota, each: float, flying: int, now: float) -> None:
        """Hold what the provider says that its own holds, from now on.

        Args:
            quota: Its word, of a moment ago. That others use it up too is seen in what is left.
            each: What a call takes out.
            flying: Calls in flight, of which it may not know yet.
            now: Seconds.
        """
        self.wait_s(now)
        if abs(quota.per_s - self._per_s) > _CHANGED * self._per_s:
            self._per_s = quota.per_s
        self._most = max(1.0, quota.limit)
        self._least = -_MOST_WAIT_S * self._per_s  # a wrong word is waited for this long, and then corrected
        if self._level > quota.left + each:  # less is the time that the answer took
            self._level = quota.left
        self._level = max(self._least, quota.left - flying * each, self._level)


class Flow:
    """One evaluation's calls to an endpoint.

    Args:
        limiter: The endpoint's.
    """

    def __init__(self, limiter: "Limiter") -> None:
        self._limiter = limiter
        self.waiting: deque[asyncio.Future[Ticket | None]] = deque()
        self.in_flight = 0
        self.left = math.inf
        """Calls that are still to come, as far as that is known."""
        self.stopping = asyncio.Event()
        self._told_until = -math.inf

    @property
    def most(self) -> int:
        """Calls in flight that the endpoint is never given more of."""
        return self._limiter.most

    @property
    def size(self) -> int:
        """Calls that the endpoint may be given now, of all its evaluations."""
        return self._limiter.size

    @property
    def rate_per_s(self) -> float | None:
        """Calls a second that the endpoint was measured to bear; `None` while its rate doesn't limit."""
        return self._limiter.rate_per_s

    @property
    def told_wait_s(self) -> float:
        """Seconds until the last of its refused calls may be sent again, as the provider said; 0 if none waits."""
        return max(0.0, self._told_until - self._limiter.now())

    async def admit(self, *, again: bool = False) -> Ticket | None:
        """Wait for this evaluation's turn; `None` once it is stopped.

        Args:
            again: The call was sent before: it goes first.
        """
        if self.stopping.is_set():
            return None
        if not self.waiting and (ticket := self._limiter.take(self)) is not None:
            return ticket
        turn: asyncio.Future[Ticket | None] = asyncio.get_running_loop().create_future()
        if again:
            self.waiting.appendleft(turn)
        else:
            self.waiting.append(turn)
        try:
            self._limiter.pump()
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and (ticket := turn.result()) is not None:
                self.given_back(ticket)
            elif turn in self.waiting:
                self.waiting.remove(turn)
            raise

    def answered(self, ticket: Ticket, tokens: int | None) -> None:
        """A call was answered, with so many tokens as far as the provider said."""
        self.in_flight -= 1
        self._limiter.answered(ticket, tokens)

    def learn(self, allowance: Allowance) -> None:
        """The provider told its limits."""
        self._limiter.learn(allowance)

    def refused(self, ticket: Ticket, retry_after_s: float | None) -> None:
        """A call was refused for the endpoint's limits."""
        self.in_flight -= 1
        self._told_until = max(self._told_until, self._limiter.now() + (retry_after_s or 0.0))
        self._limiter.refused(ticket, retry_after_s)

    def given_back(self, ticket: Ticket, *, overloaded: bool = False) -> None:
        """A call failed, timed out (`overloaded`), or was never sent."""
        self.in_flight -= 1
        self._limiter.given_back(ticket, overloaded=overloaded)

    def stop(self) -> None:
        """Send nothing more."""
        self.stopping.set()
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)


class Limiter:
    """What one endpoint bears, and whose turn it is.

    Args:
        limits: The card's.
        clock: Seconds; only goes forward.
    """

    def __init__(self, limits: Limits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._control = Control(limits.concurrency or MOST_IN_FLIGHT, limits.concurrency)
        requests, tokens = limits.requests_per_minute, limits.tokens_per_minute
        self._requests = None if requests is None else Bucket(requests, burst_s=1.0)
        self._tokens = None if tokens is None else Bucket(tokens, burst_s=10.0)
        self._stated = (requests is not None, tokens is not None)
        self._mean_tokens = 0.0
        self._clock = clock
        self._flows: list[Flow] = []
        self._timer: asyncio.TimerHandle | None = None
        self._blocked_until = -math.inf
        self._row = 0

    def flow(self) -> Flow:
        """A share for one more evaluation."""
        flow = Flow(self)
        self._flows.append(flow)
        return flow

    @property
    def most(self) -> int:
        """Calls in flight that are never exceeded."""
        return self._control.most

    @property
    def size(self) -> int:
        """Calls that may be in flight now."""
        return self._control.size

    @property
    def in_flight(self) -> int:
        """Calls in flight now."""
        return self._control.in_flight

    @property
    def rate_limited(self) -> int:
        """Calls that were refused so far."""
        return self._control.refusals

    @property
    def rate_per_s(self) -> float | None:
        """Calls a second that the endpoint was measured to bear; `None` while its rate doesn't limit."""
        pace = self._control.pace
        return None if pace is None or pace.rate >= MOST_RATE else pace.rate

    def now(self) -> float:
        """Seconds by its clock."""
        return self._clock()

    def take(self, flow: Flow) -> Ticket | None:
        """A place right now, if there is one and no other evaluation waits for it."""
        if any(other.waiting for other in self._flows):
            return None
        now = self._clock()
        return self._send(flow, now) if self._wait_s(now) <= 0 else None

    def pump(self) -> None:
        """Give places to those who wait, to the evaluation with the fewest calls in flight first."""
        now = self._clock()
        waiting = [flow for flow in self._flows if flow.waiting]
        while waiting:
            wait_s = self._wait_s(now)
            if wait_s > 0:
                self._later(wait_s)
                return
            flow = min(waiting, key=_in_flight) if len(waiting) > 1 else waiting[0]
            turn = flow.waiting.popleft()
            if not turn.done():
                turn.set_result(self._send(flow, now))
            if not flow.waiting:
                waiting.remove(flow)

    def answered(self, ticket: Ticket, tokens: int | None) -> None:
        """See `Flow`."""
        self._row = 0
        if tokens is not None:
            if self._tokens is not None:
                self._tokens.take(tokens - self._mean_tokens)
            self._mean_tokens += (tokens - self._mean_tokens) * (0.1 if self._mean_tokens else 1.0)
        self._control.answered(ticket, self._clock())
        self.pump()

    def learn(self, allowance: Allowance) -> None:
        """Keep to what the provider says of its limits, where the card states none."""
        now, flying = self._clock(), self._control.in_flight
        requests, tokens = allowance.requests, allowance.tokens
        if requests is not None and not self._stated[0]:
            self._requests = self._requests or _like(requests)
            self._requests.mirror(requests, 1, flying, now)
        if tokens is not None and not self._stated[1]:
            self._tokens = self._tokens or _like(tokens)
            self._tokens.mirror(tokens, self._mean_tokens, flying, now)

    def refused(self, ticket: Ticket, retry_after_s: float | None) -> None:
        """See `Flow`."""
        now = self._clock()
        self._row += 1
        if retry_after_s is not None and retry_after_s >= _LONG_WAIT_S and self._row >= _ROW:
            self._blocked_until = now + min(retry_after_s, _MOST_WAIT_S)
        self._control.refused(ticket, now)
        self.pump()

    def given_back(self, ticket: Ticket, *, overloaded: bool) -> None:
        """See `Flow`."""
        self._control.faulted(ticket, overloaded=overloaded, now=self._clock())
        self.pump()

    def _wait_s(self, now: float) -> float:
        self._control.left = sum(flow.left for flow in self._flows) if self._control.pace is None else math.inf
        wait_s = self._control.wait_s(now)
        if now < self._blocked_until:
            wait_s = max(wait_s, self._blocked_until - now)
        if self._requests is not None:
            wait_s = max(wait_s, self._requests.wait_s(now))
        if self._tokens is not None:
            wait_s = max(wait_s, self._tokens.wait_s(now))
        return wait_s

    def _send(self, flow: Flow, now: float) -> Ticket:
        flow.in_flight += 1
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(self._mean_tokens)
        return self._control.sent(now)

    def _later(self, wait_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wait_s < math.inf:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self.pump)


def _in_flight(flow: Flow) -> int:
    return flow.in_flight


def _like(quota: Quota) -> Bucket:
    return Bucket(60 * quota.per_s, burst_s=quota.limit / quota.per_s)
