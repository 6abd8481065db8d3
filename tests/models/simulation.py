"""A provider with limits, in virtual time: minutes of an evaluation pass in milliseconds, and always the same way."""

import heapq
import math
import random
from dataclasses import dataclass, field

from dep_mcp.models.control import Control, Ticket

LEAST_S = 1e-7


@dataclass
class Provider:
    """Refuses by a token bucket, by a cap on calls in flight, or both.

    Attributes:
        rate: Calls a second.
        burst: Size of the bucket.
        cap: Calls in flight.
        changes: From a second on, other limits.
    """

    rate: float | None = None
    burst: float = 5
    cap: int | None = None
    changes: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    in_flight: int = 0
    _tokens: float = math.nan
    _at: float = 0.0

    def accepts(self, now: float) -> bool:
        while self.changes and self.changes[0][0] <= now:
            for name, value in self.changes.pop(0)[1].items():
                setattr(self, name, value)
        if self.cap is not None and self.in_flight >= self.cap:
            return False
        if self.rate is not None:
            tokens = self.burst if math.isnan(self._tokens) else self._tokens + (now - self._at) * self.rate
            self._tokens, self._at = min(self.burst, tokens), now
            if self._tokens < 1:
                return False
            self._tokens -= 1
        self.in_flight += 1
        return True


@dataclass
class Outcome:
    """How it went.

    Attributes:
        seconds: Until the last answer.
        refused: Calls refused.
        most: Calls in flight at most.
    """

    seconds: float
    refused: int
    most: int


class Simulation:
    """A client that does what `Control` says.

    Args:
        provider: Which.
        items: To be answered.
        latency_s: Of an answer; the median where `sigma` is given.
        sigma: Of a lognormal latency.
        round_trip_s: On the wire.
        retry_after_s: How long a refused call waits.
        seed: Of all that is random.
        most: Calls in flight at most.
    """

    def __init__(
        self,
        provider: Provider,
        items: int,
        *,
        latency_s: float,
        sigma: float = 0.0,
        round_trip_s: float = 0.002,
        retry_after_s: float = 1.0,
        seed: int = 0,
        most: int = 512,
    ) -> None:
        self.provider, self.items, self.latency_s, self.sigma = provider, items, latency_s, sigma
        self.round_trip_s, self.retry_after_s = round_trip_s, retry_after_s
        self.random = random.Random(seed)
        self.control = Control(most)
        self.now, self.ready, self.done, self.most = 0.0, items, 0, 0
        self._events: list[tuple[float, int, str, Ticket | None]] = []
        self._number, self._poll_at = 0, -1.0

    def run(self) -> Outcome:
        self._send()
        while self.done < self.items:
            self.now, _, what, ticket = heapq.heappop(self._events)
            assert self.now < 3600, "it stands still"
            getattr(self, f"_{what}")(ticket)
            self._send()
        return Outcome(self.now, self.control.refusals, self.most)

    def _later(self, wait_s: float, what: str, ticket: Ticket | None = None) -> None:
        self._number += 1
        heapq.heappush(self._events, (self.now + wait_s, self._number, what, ticket))

    def _half_way_s(self) -> float:
        return self.round_trip_s * self.random.uniform(0.3, 0.7)

    def _send(self) -> None:
        while self.ready:
            wait_s = self.control.wait_s(self.now)
            if wait_s > LEAST_S:
                if wait_s < math.inf and not self.now < self._poll_at <= self.now + wait_s:
                    self._poll_at = self.now + wait_s
                    self._later(wait_s, "poll")
                return
            self.ready -= 1
            self._later(self._half_way_s(), "arrive", self.control.sent(self.now))
            self.most = max(self.most, self.control.in_flight)

    def _poll(self, _ticket: Ticket | None) -> None:
        self._poll_at = -1.0

    def _arrive(self, ticket: Ticket | None) -> None:
        if self.provider.accepts(self.now):
            self._later(self.latency_s * math.exp(self.sigma * self.random.gauss(0, 1)), "leave", ticket)
        else:
            self._later(self._half_way_s(), "refused", ticket)

    def _leave(self, ticket: Ticket | None) -> None:
        self.provider.in_flight -= 1
        self._later(self._half_way_s(), "answered", ticket)

    def _answered(self, ticket: Ticket | None) -> None:
        assert ticket is not None
        self.control.answered(ticket, self.now)
        self.done += 1

    def _refused(self, ticket: Ticket | None) -> None:
        assert ticket is not None
        self.control.refused(ticket, self.now)
        self._later(self.retry_after_s, "again")

    def _again(self, _ticket: Ticket | None) -> None:
        self.ready += 1
