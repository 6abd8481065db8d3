"""Calls a model by the status contract: what is retried, how long it waits, and when it gives up."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from dep_mcp.models.port import Completion, ModelAdapter
from dep_mcp.models.window import Window
from dep_mcp.protocol import Action, DeclaredFailure, Generation, Item, TextAnswer, rule_for
from dep_mcp.protocol.errors import ModelCallError

RATE_LIMIT_PATIENCE_S = 3600.0
"""How long one item waits in all for a provider that keeps saying 429, before the evaluation pauses."""


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
    """

    completion: Completion
    attempts: int
    detail: str | None = None
    exhausted: bool = False


@dataclass
class Caller:
    """One endpoint's calls.

    Attributes:
        adapter: What sends them.
        window: Shared by all calls of the endpoint.
        timeout_s: Deadline of one call.
        policy: How faults are retried.
        stopping: Once set, nothing is sent again and waits end.
        on_fault: Told of each refused or failed call: status and what the provider said.
    """

    adapter: ModelAdapter
    window: Window
    timeout_s: float
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    on_fault: Callable[[int, str], None] = lambda _status, _detail: None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, item: Item, generation: Generation, *, epoch: int) -> Called | None:
        """Answer one item, or declare its failure; `None` when stopped while it waited.

        Raises:
            ModelCallError: 401, 402, 403, 404, or endless 429: no other call would fare better.
        """
        failures, waited_s = 0, 0.0
        while True:
            try:
                completion = await self._once(item, generation, epoch)
            except ModelCallError as error:
                rule = rule_for(error.status)
                self.on_fault(error.status, error.detail)
                if rule.action in (Action.FAIL_EVALUATION, Action.PAUSE):
                    raise
                if rule.action is Action.OUTCOME:
                    # The model's own doing (too long, refused): an empty answer, scored as such.
                    answer = TextAnswer(text="", finish_reason=str(error.status))
                    return Called(completion=Completion(answer=answer), attempts=failures + 1, detail=error.detail)
                if rule.action is Action.WAIT:
                    if waited_s > RATE_LIMIT_PATIENCE_S:
                        raise
                    # "Again at once" (0 s) is not obeyed to the letter, or it would be asked for ever and ever faster.
                    least_s = self.policy.wait_s(1 if error.retry_after_s is not None else 5)
                    wait_s = max(error.retry_after_s or 0.0, least_s)
                else:
                    failures += 1
                    if rule.action is Action.FAIL_ITEM or failures >= self.policy.attempts:
                        return _failed(error, failures, exhausted=rule.action is Action.RETRY)
                    wait_s = self.policy.wait_s(failures)
            else:
                return None if completion is None else Called(completion=completion, attempts=failures + 1)
            waited_s += wait_s
            if await self._stopped_within(wait_s):
                return None

    async def _stopped_within(self, wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                return await self.stopping.wait()
        except TimeoutError:
            return False

    async def _once(self, item: Item, generation: Generation, epoch: int) -> Completion | None:
        async with self.window.permit() as permit:
            if self.stopping.is_set():  # while it waited for its place
                return None
            try:
                async with asyncio.timeout(self.timeout_s + 5):  # the adapter's own deadline comes first
                    completion = await self.adapter.complete(item, generation, timeout_s=self.timeout_s, epoch=epoch)
            except TimeoutError:
                msg = f"no answer within {self.timeout_s:.0f} s"
                raise ModelCallError(msg, 408) from None
            except ModelCallError as error:
                if rule_for(error.status).action is Action.WAIT:
                    self.window.limited(permit)
                raise
            except Exception as error:  # an adapter's own fault, or an answer that the protocol doesn't take
                msg = f"the adapter failed with {type(error).__name__}: {str(error)[:300]}"
                raise ModelCallError(msg, 500) from error
            self.window.succeeded()
            return completion


def _failed(error: ModelCallError, attempts: int, *, exhausted: bool) -> Called:
    completion = Completion(answer=DeclaredFailure(status=error.status))
    return Called(completion=completion, attempts=attempts, detail=error.detail, exhausted=exhausted)
