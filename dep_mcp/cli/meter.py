"""How far an evaluation is, as numbers: taken from its runner, published in the store, read there by `watch`."""

import time
from collections import deque
from typing import Self

from pydantic import Field

from dep_mcp.models import Flow
from dep_mcp.protocol import WireModel
from dep_mcp.runner import Progress

_SPAN_S = 10.0


class Snapshot(WireModel):
    """One moment of an evaluation."""

    title: str
    total: int = 0
    """0 until known."""
    done: int = 0
    failed: int = 0
    in_flight: int = 0
    size: int = 0
    """Calls that may be in flight, of all evaluations of the endpoint."""
    rate_per_s: float | None = None
    """The pace that the endpoint was measured to bear, where it limits."""
    told_wait_s: float = 0.0
    """Until the provider wants to see its refused calls again."""
    rate_limited: int = 0
    """Calls refused with 429."""
    faults: dict[int, int] = Field(default_factory=dict)
    """Refused and failed calls by status."""
    items_per_s: float = 0.0
    tokens_per_s: float = 0.0
    cost_usd: float | None = None

    @property
    def left_s(self) -> float | None:
        """Seconds to go at this speed; `None` while that can't be told."""
        return (self.total - self.done) / self.items_per_s if self.items_per_s and self.total else None

    @classmethod
    def read(cls, text: str | None, title: str) -> Self:
        """What a process published, or nothing yet."""
        return cls(title=title) if text is None else cls.model_validate_json(text)


class Meter:
    """Measures an evaluation that runs in this process.

    Args:
        title: Its name for people.
        progress: Of its runner.
        flow: Its share of the endpoint.
    """

    def __init__(self, title: str, progress: Progress, flow: Flow) -> None:
        self.title = title
        self.progress = progress
        self._flow = flow
        self._past: deque[tuple[float, int, int]] = deque()

    def now(self) -> Snapshot:
        """Take a snapshot; speeds are over the last ten seconds."""
        progress, flow, at = self.progress, self._flow, time.monotonic()
        done = progress.answered + progress.failed
        tokens = progress.prompt_tokens + progress.completion_tokens
        self._past.append((at, done, tokens))
        while self._past[0][0] < at - _SPAN_S:
            self._past.popleft()
        since, done_then, tokens_then = self._past[0]
        span_s = max(1e-3, at - since)
        return Snapshot(
            title=self.title,
            total=progress.total,
            done=progress.done,
            failed=progress.failed,
            in_flight=flow.in_flight,
            size=flow.size,
            rate_per_s=flow.rate_per_s,
            told_wait_s=flow.told_wait_s,
            rate_limited=progress.faults.get(429, 0),
            faults=dict(progress.faults),
            items_per_s=(done - done_then) / span_s,
            tokens_per_s=(tokens - tokens_then) / span_s,
            cost_usd=None if done in (0, progress.unpriced) else progress.cost_usd,
        )
