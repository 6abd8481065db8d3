"""Adaptive concurrency of one endpoint: additive growth, one cut per congestion event."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

_START = 10
_CUT = 0.7


@dataclass
class Permit:
    """A place in flight.

    Attributes:
        sent: Number of the call, in order of sending.
    """

    sent: int


class Window:
    """How many calls may be in flight.

    Args:
        most: Never more than this.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._size = float(min(_START, most))
        self._in_flight = 0
        self._sent = 0
        self._last_cut = 0
        self._free = asyncio.Condition()
        self.rate_limited = 0

    @property
    def size(self) -> int:
        """Calls that may be in flight now."""
        return int(self._size)

    @property
    def in_flight(self) -> int:
        """Calls in flight now."""
        return self._in_flight

    @asynccontextmanager
    async def permit(self) -> AsyncGenerator[Permit]:
        """Wait for a place and hold it for one call."""
        async with self._free:
            await self._free.wait_for(lambda: self._in_flight < self.size)
            self._in_flight += 1
            self._sent += 1
            permit = Permit(self._sent)
        try:
            yield permit
        finally:
            async with self._free:
                self._in_flight -= 1
                self._free.notify_all()

    def succeeded(self) -> None:
        """A call was answered: one more place per window of answers."""
        self._size = min(self.most, self._size + 1 / self._size)

    def limited(self, permit: Permit) -> None:
        """A call was refused for its rate.

        A refusal of a call sent before the last cut says nothing new (it was sent at the old pace).
        """
        self.rate_limited += 1
        if permit.sent > self._last_cut:
            self._size = max(1.0, self._size * _CUT)
            self._last_cut = self._sent
