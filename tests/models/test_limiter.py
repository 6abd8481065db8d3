"""Whose turn it is, and what a card's limits allow; the clock is the test's own."""

import asyncio

import pytest

from dep_mcp.models import Flow, Limiter, Ticket
from dep_mcp.models.limiter import Bucket
from dep_mcp.models.pace import MOST_RATE, Pace
from dep_mcp.protocol import Limits


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def take(flow: Flow) -> Ticket:
    async with asyncio.timeout(5):
        ticket = await flow.admit()
    assert ticket is not None
    return ticket


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_places_go_to_the_evaluation_with_the_fewest_calls() -> None:
    """However many wait on one side: a large evaluation doesn't starve a small one."""
    limiter = Limiter(Limits(concurrency=4))
    large, small = limiter.flow(), limiter.flow()
    held = [await take(large) for _ in range(4)]
    waiting = [asyncio.create_task(take(large)) for _ in range(8)]
    late = asyncio.create_task(take(small))
    await settle()
    large.answered(held[0], None)
    await settle()
    assert late.done(), "it has none in flight, and is served first though it came last"
    assert not any(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_call_that_is_sent_again_comes_before_fresh_ones() -> None:
    """It has waited longest, and its evaluation can't end without it."""
    limiter = Limiter(Limits(concurrency=1))
    flow = limiter.flow()
    held = await take(flow)
    order: list[str] = []

    async def wait(name: str, *, again: bool) -> None:
        ticket = await flow.admit(again=again)
        assert ticket is not None
        order.append(name)
        flow.answered(ticket, None)

    fresh = asyncio.create_task(wait("fresh", again=False))
    await settle()
    again = asyncio.create_task(wait("again", again=True))
    await settle()
    flow.answered(held, None)
    await asyncio.gather(fresh, again)
    assert order == ["again", "fresh"]


async def test_a_cancelled_wait_gives_its_place_back() -> None:
    """Whether it had come already or not."""
    limiter = Limiter(Limits(concurrency=1))
    flow = limiter.flow()
    held = await take(flow)
    one, other = asyncio.create_task(take(flow)), asyncio.create_task(take(flow))
    await settle()
    one.cancel()
    flow.answered(held, None)
    other.cancel()
    await asyncio.gather(one, other, return_exceptions=True)
    assert (limiter.in_flight, flow.in_flight) == (0, 0)
    assert await take(flow)


async def test_stopping_one_evaluation_leaves_the_others_their_places() -> None:
    """Who waits is told at once; nothing is admitted any more."""
    limiter = Limiter(Limits(concurrency=1))
    stopped, other = limiter.flow(), limiter.flow()
    held = await take(other)
    waiting = asyncio.create_task(stopped.admit())
    await settle()
    stopped.stop()
    assert await waiting is None
    assert await stopped.admit() is None
    other.answered(held, None)
    assert await take(other)


async def test_requests_a_minute_of_the_card_are_kept() -> None:
    """Spread evenly: a second's worth at once at most."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100, requests_per_minute=120), clock=clock)
    flow = limiter.flow()
    sent = 0
    for _ in range(600):  # a minute
        while (ticket := limiter.take(flow)) is not None:
            sent += 1
            flow.answered(ticket, None)
        clock.now += 0.1
    assert 118 <= sent <= 123


async def test_tokens_a_minute_of_the_card_are_kept() -> None:
    """By what calls turn out to cost."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=4, tokens_per_minute=6000), clock=clock)
    flow = limiter.flow()
    tokens = 0
    for _ in range(3000):  # five minutes
        while (ticket := limiter.take(flow)) is not None:
            flow.answered(ticket, 200)
            tokens += 200
        clock.now += 0.1
    assert 5 * 6000 <= tokens <= 5 * 6000 + 1000 + 4 * 200  # what the bucket holds, and those in flight


@pytest.mark.parametrize(("wait_s", "places"), [(30.0, 0), (1.0, 1)])
async def test_an_endpoint_that_asks_for_a_long_wait_again_and_again_is_left_alone(wait_s: float, places: int) -> None:
    """A quota of a minute or a day is used up: more calls would only be refused too."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=8), clock=clock)
    flow = limiter.flow()
    for ticket in [await take(flow) for _ in range(4)]:
        flow.refused(ticket, wait_s)
    clock.now += 5
    assert bool(limiter.take(flow)) == bool(places)
    clock.now += 26
    assert limiter.take(flow) is not None


def test_a_bucket_may_be_overdrawn_and_is_waited_for() -> None:
    """What a call costs is known afterwards only."""
    bucket = Bucket(60, burst_s=2)
    assert bucket.wait_s(0.0) == 0
    bucket.take(5)
    assert bucket.wait_s(0.0) == pytest.approx(3, abs=1e-3)
    assert bucket.wait_s(3.1) == 0
    bucket.take(-100)
    bucket.take(2)
    assert bucket.wait_s(3.1) > 0


async def test_how_long_a_provider_asked_to_wait_is_known() -> None:
    """People see it; it counts down, and a shorter wait asked for later doesn't hide it."""
    clock = Clock()
    flow = Limiter(Limits(concurrency=3), clock=clock).flow()
    assert flow.told_wait_s == 0
    held = [await take(flow) for _ in range(3)]
    for ticket, asked_s in zip(held, (600.0, 5.0, None), strict=True):
        flow.refused(ticket, asked_s)
    clock.now += 100
    assert flow.told_wait_s == 500
    clock.now += 1000
    assert flow.told_wait_s == 0


async def test_a_pace_that_nothing_limits_is_none() -> None:
    """After timeouts an endpoint may turn out to have no limit: the pace grows, though not beyond all bounds."""
    pace = Pace(10, 0.0)
    for second in range(200):
        pace.sent(float(second))
    assert pace.rate == MOST_RATE
    limiter = Limiter(Limits())
    limiter._control.pace = pace
    assert limiter.rate_per_s is None
    pace.rate = 5
    assert limiter.rate_per_s == 5
