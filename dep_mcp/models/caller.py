"""Calls a model by the status contract: what is retried, how long it waits, and when it gives up."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dep_mcp.models.breaker import Breaker
from dep_mcp.models.control import Ticket
from dep_mcp.models.limiter import Flow
from dep_mcp.models.port import Completion, ModelAdapter
from dep_mcp.protocol import Action, DeclaredFailure, Generation, Item, TextAnswer, rule_for
from dep_mcp.protocol.errors import ModelCallError

RATE_LIMIT_PATIENCE_S = 3600.0
"""How long one item is refused with 429, again and again, before the evaluation pauses."""
_TIMED_OUT = (408, 504)
_HOPELESS = (Action.FAIL_EVALUATION, Action.PAUSE)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How provider faults are retried.

    Attributes:
        attempts: Calls per item at most, those refused for their rate not counted.
        base_s: First ceiling of the back-off.
        most_s: Last ceiling of the back-off.
    """

    attempts: int = 6
    base_s: float = 0.5
    most_s: float = 30.0

    def wait_s(self, failures: int) -> float:
        """Exponential back-off with full jitter: uniform in 0..min(most, base * 2^(failures - 1))."""
        return random.uniform(0, min(self.most_s, self.base_s * 2 ** (failures - 1)))  # noqa: S311 (jitter)


@dataclass(frozen=True, kw_only=True)
class Called:
    """How an item ended.

    Attributes:
        completion: With an answer, or with a declared failure.
        attempts: Calls made, those refused for their rate not counted.
        detail: For a failure: what the provider said.
        exhausted: Whether it failed because retries ran out (the provider's fault, not the request's).
        others_answered: Whether, meanwhile, a call that left after the item's first failure was answered: then the
            endpoint wasn't down.
    """

    completion: Completion
    attempts: int
    detail: str | None = None
    exhausted: bool = False
    others_answered: bool = False


@dataclass
class Caller:
    """The calls of one evaluation.

    Attributes:
        adapter: What sends them; shared by the evaluations of a model.
        flow: This evaluation's share of the endpoint; once it is stopped, nothing is sent again and waits end.
        timeout_s: Deadline of one call.
        policy: How faults are retried.
        breaker: When nothing but faults comes, pauses the evaluation.
        on_fault: Told of each refused or failed call: status and what the provider said.
    """

    adapter: ModelAdapter
    flow: Flow
    timeout_s: float
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    breaker: Breaker = field(default_factory=Breaker)
    on_fault: Callable[[int, str], None] = lambda _status, _detail: None
    _last_sent: int = field(default=0, init=False)
    _last_answered: int = field(default=0, init=False)
    _watch: "_Watch" = field(default_factory=lambda: _Watch(), init=False)  # noqa: PLW0108 (defined below)

    async def call(
        self, item: Item, generation: Generation, *, epoch: int, ticket: Ticket | None = None
    ) -> Called | None:
        """Answer one item, or declare its failure; `None` when stopped while it waited.

        Args:
            item: What to answer.
            generation: Settings.
            epoch: Which repetition.
            ticket: Its place in flight, if it has one already.

        Raises:
            ModelCallError: 401, 402, 403, 404, or endless 429: no other call would fare better.
            EvaluationPausedError: All calls have failed for a while: the endpoint is down.
        """
        failures, refused_at, first_failed = 0, math.inf, 0
        while True:
            ticket = ticket or await self.flow.admit(again=failures > 0 or refused_at < math.inf)
            if ticket is None:
                return None
            try:
                completion = await self._once(item, generation, epoch, ticket)
                return Called(completion=completion, attempts=failures + 1)
            except ModelCallError as error:
                ticket, rule = None, rule_for(error.status)
                self.on_fault(error.status, error.detail)
                if rule.action in _HOPELESS:
                    raise
                self._judge(rule.action, error)
                if rule.action is Action.OUTCOME:
                    return _outcome(error, failures + 1)
                if rule.action is Action.WAIT:
                    refused_at = min(refused_at, time.monotonic())
                    if time.monotonic() - refused_at > RATE_LIMIT_PATIENCE_S:
                        raise
                    wait_s = self._rate_limited_s(error.retry_after_s)
                else:
                    failures += 1
                    first_failed = first_failed or self._last_sent
                    if rule.action is Action.FAIL_ITEM or failures >= self.policy.attempts:
                        exhausted = rule.action is Action.RETRY
                        others_answered = self._last_answered > first_failed
                        return _failed(error, failures, exhausted=exhausted, others_answered=others_answered)
                    wait_s = self.policy.wait_s(failures)
            if await self._stopped_within(wait_s):
                return None

    def _judge(self, action: Action, error: ModelCallError) -> None:
        if action is Action.RETRY:
            self.breaker.failed(error.detail)
        elif action is not Action.WAIT:
            self.breaker.heard()

    def _rate_limited_s(self, retry_after_s: float | None) -> float:
        # "Again at once" (0 s) is not obeyed to the letter, or it would be asked for ever and ever faster.
        least_s = self.policy.wait_s(1 if retry_after_s is not None else 5)
        return max(retry_after_s or 0.0, least_s)

    async def _stopped_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                return await self.flow.stopping.wait()
        except TimeoutError:
            return False

    async def _once(self, item: Item, generation: Generation, epoch: int, ticket: Ticket) -> Completion:
        self._last_sent = max(self._last_sent, ticket.number)
        try:
            with self._watch.within(self.timeout_s + 5):  # the adapter's own deadline comes first
                completion = await self.adapter.complete(item, generation, timeout_s=self.timeout_s, epoch=epoch)
        except TimeoutError:
            self.flow.given_back(ticket, overloaded=True)
            msg = f"no answer within {self.timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        except ModelCallError as error:
            action = rule_for(error.status).action
            if action in _HOPELESS:
                self.flow.stop()  # first, or the place given back is taken by another call
            if action is Action.WAIT:
                self.flow.refused(ticket, error.retry_after_s)
            else:
                self.flow.given_back(ticket, overloaded=error.status in _TIMED_OUT)
            raise
        except Exception as error:  # an adapter's own fault, or an answer that the protocol doesn't take
            self.flow.given_back(ticket)
            msg = f"the adapter failed with {type(error).__name__}: {str(error)[:300]}"
            raise ModelCallError(msg, 500) from error
        except BaseException:  # cancelled
            self.flow.given_back(ticket)
            raise
        self._last_answered = max(self._last_answered, ticket.number)
        self.breaker.heard()
        if completion.allowance is not None:
            self.flow.learn(completion.allowance)
        usage = completion.usage
        known = usage.prompt_tokens is not None or usage.completion_tokens is not None
        tokens = (usage.prompt_tokens or 0) + (usage.completion_tokens or 0)
        self.flow.answered(ticket, tokens if known else None)
        return completion


class _Watch:
    """Deadlines of many calls at the cost of one timer: `asyncio.timeout` would take one for each."""

    def __init__(self) -> None:
        self._until: dict[asyncio.Task[object], float] = {}
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Raise `TimeoutError` from the block once so many seconds, and at most a second more, have passed."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        if task is None:  # pragma: no cover (a coroutine runs in a task)
            raise RuntimeError
        self._until[task] = loop.time() + seconds
        if self._timer is None:
            self._timer = loop.call_later(min(1.0, max(0.0, seconds)), self._look, loop)
        try:
            yield
        except asyncio.CancelledError:
            if task in self._overdue and task.uncancel() == 0:
                raise TimeoutError from None
            raise
        finally:
            self._overdue.discard(task)
            del self._until[task]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for task, until in self._until.items():
            if until <= now and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        self._timer = loop.call_later(1.0, self._look, loop) if self._until else None


def _outcome(error: ModelCallError, attempts: int) -> Called:
    """The model's own doing (too long, refused): an empty answer, scored as such."""
    answer = TextAnswer(text="", finish_reason=str(error.status))
    return Called(completion=Completion(answer=answer), attempts=attempts, detail=error.detail)


def _failed(error: ModelCallError, attempts: int, *, exhausted: bool, others_answered: bool) -> Called:
    return Called(
        completion=Completion(answer=DeclaredFailure(status=error.status)),
        attempts=attempts,
        detail=error.detail,
        exhausted=exhausted,
        others_answered=others_answered,
    )
