"""An endpoint that is down pauses an evaluation before every item has used up its attempts."""

import asyncio

import pytest

from dep_mcp.models import Breaker, Caller, Limiter, RetryPolicy
from dep_mcp.protocol import Generation, Item, Limits, Message
from dep_mcp.protocol.errors import EvaluationPausedError, ModelCallError
from dep_mcp.testing import ScriptedModel

ITEM = Item(item_id="i", messages=(Message(role="user", content="q"),))
ENDLESS = RetryPolicy(attempts=10**6, base_s=0.0001, most_s=0.0002)


class Clock:
    """Goes on by a second at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def fed(breaker: Breaker, failures: int) -> None:
    for _ in range(failures):
        breaker.failed("HTTP 503")


def test_many_faults_over_a_while_open_it() -> None:
    """Neither a burst nor a few slow ones do: a proxy that restarts breaks all calls in flight at once."""
    burst = Breaker(calls=5, seconds=60, clock=lambda: 0.0)
    fed(burst, 1000)
    few = Breaker(calls=5, seconds=1, clock=Clock())
    fed(few, 4)
    with pytest.raises(EvaluationPausedError, match="503"):
        fed(few, 1)


def test_anything_heard_begins_the_row_anew() -> None:
    """One answer shows that the endpoint is up."""
    breaker = Breaker(calls=5, seconds=1, clock=Clock())
    for _ in range(10):
        fed(breaker, 4)
        breaker.heard()


async def test_calls_that_only_fail_end_in_a_pause_whatever_attempts_are_left() -> None:
    """Attempts alone would let an evaluation hang for hours where every call takes minutes to fail."""
    model = ScriptedModel(lambda _item, _call: ModelCallError("no answer within 120 s", 408))
    flow = Limiter(Limits(concurrency=4)).flow()
    caller = Caller(adapter=model, flow=flow, timeout_s=1, policy=ENDLESS, breaker=Breaker(calls=20, seconds=0.01))
    async with asyncio.timeout(5):
        with pytest.raises(EvaluationPausedError):
            await caller.call(ITEM, Generation(), epoch=1)
    assert model.calls["i"] >= 20


async def test_refusals_for_the_rate_neither_open_nor_close_it() -> None:
    """A busy endpoint isn't down; and a gateway that refuses with 429 what its dead backend can't take isn't up."""
    replies = [429, 503, 503, 429, 503, 503, 200]
    model = ScriptedModel(lambda _i, call: ModelCallError("no", replies[call - 1]) if replies[call - 1] > 200 else "4")
    flow = Limiter(Limits(concurrency=4)).flow()
    breaker = Breaker(calls=5, seconds=0)
    caller = Caller(adapter=model, flow=flow, timeout_s=1, policy=ENDLESS, breaker=breaker)
    async with asyncio.timeout(5):
        called = await caller.call(ITEM, Generation(), epoch=1)
    assert called is not None
    replies = [503, 503, 429, 503, 503, 503]
    with pytest.raises(EvaluationPausedError):
        await caller.call(ITEM.model_copy(update={"item_id": "j"}), Generation(), epoch=1)
    assert model.calls["j"] == 6


async def test_a_malformed_request_shows_that_the_endpoint_is_up() -> None:
    """It was read and refused."""
    breaker = Breaker(calls=5, seconds=0)
    for status in (503, 503, 503, 503, 422, 503, 503, 503, 503, 413):
        model = ScriptedModel(lambda _item, call, status=status: ModelCallError("no", status) if call == 1 else "4")
        caller = Caller(
            adapter=model,
            flow=Limiter(Limits(concurrency=1)).flow(),
            timeout_s=1,
            policy=RetryPolicy(attempts=1),
            breaker=breaker,
        )
        assert await caller.call(ITEM, Generation(), epoch=1) is not None
