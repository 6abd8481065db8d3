"""What providers say of their limits, and what is made of it."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.adapters.openai_compatible.adapter import Adapter
from dep_mcp.models import Allowance, Caller, Limiter
from dep_mcp.models.allowance import Quota, allowance
from dep_mcp.protocol import Generation, Item, Limits, Message, ModelCard, TextAnswer
from dep_mcp.testing import faulty_provider

NOW = datetime(2026, 7, 28, 12, 0, 0, tzinfo=UTC)
REQUESTS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "30",
    "x-ratelimit-reset-requests": "10s",
}
TOKENS = {
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6ms",
}
ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "50",
    "anthropic-ratelimit-requests-remaining": "40",
    "anthropic-ratelimit-requests-reset": "2026-07-28T12:00:20Z",
    "anthropic-ratelimit-tokens-limit": "40000",
    "anthropic-ratelimit-tokens-remaining": "20000",
    "anthropic-ratelimit-tokens-reset": "2026-07-28T14:00:40+02:00",
}


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        (REQUESTS, 3, None),
        (TOKENS, None, 16 / 0.006),
        (REQUESTS | TOKENS, 3, 16 / 0.006),
        (REQUESTS | {"x-ratelimit-reset-requests": "1m0s"}, 0.5, None),
        (REQUESTS | {"x-ratelimit-reset-requests": "20"}, 1.5, None),
        (REQUESTS | {"x-ratelimit-reset-requests": " 20 "}, 1.5, None),
        (ANTHROPIC, 0.5, 500),
        (ANTHROPIC | {"anthropic-ratelimit-tokens-reset": "2026-07-28T12:00:40"}, 0.5, 500),
    ],
)
def test_each_dialect_is_understood(headers: dict[str, str], requests: float | None, tokens: float | None) -> None:
    """A limit fills with what is missing by the time when all of it is there again."""
    found = allowance(headers, now=NOW)
    assert found is not None
    assert found.requests_per_s == (None if requests is None else pytest.approx(requests))
    assert found.tokens_per_s == (None if tokens is None else pytest.approx(tokens))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-ratelimit-limit": "60", "x-ratelimit-remaining": "30", "x-ratelimit-reset": "10"},
        REQUESTS | {"x-ratelimit-remaining-requests": "60"},
        REQUESTS | {"x-ratelimit-remaining-requests": "61"},
        REQUESTS | {"x-ratelimit-remaining-requests": "-1"},
        REQUESTS | {"x-ratelimit-limit-requests": "unlimited"},
        REQUESTS | {"x-ratelimit-limit-requests": "9" * 400},
        REQUESTS | {"x-ratelimit-reset-requests": "0s"},
        REQUESTS | {"x-ratelimit-reset-requests": "soon"},
        REQUESTS | {"x-ratelimit-reset-requests": "1785240010"},
        {name: value for name, value in REQUESTS.items() if "reset" not in name},
        {name: value for name, value in REQUESTS.items() if "remaining" not in name},
        {name: value for name, value in ANTHROPIC.items() if "tokens" not in name}
        | {"anthropic-ratelimit-requests-reset": "2026-07-28T11:59:59Z"},
        {name: value for name, value in ANTHROPIC.items() if "tokens" not in name}
        | {"anthropic-ratelimit-requests-reset": "T"},
    ],
)
def test_what_isnt_understood_says_nothing(headers: dict[str, str]) -> None:
    """Also a full limit: nothing is missing, so how fast it fills isn't known."""
    assert allowance(headers, now=NOW) is None


@given(st.dictionaries(st.sampled_from([*REQUESTS, *TOKENS, *ANTHROPIC]), st.text() | st.from_regex(r"\A[\dTZ:.-]+\Z")))
def test_no_header_crashes_a_run(headers: dict[str, str]) -> None:
    """A proxy on the way may send anything."""
    found = allowance(headers)
    for quota in (found.requests, found.tokens) if found is not None else ():
        assert quota is None or (quota.per_s > 0 and quota.left < quota.limit)


# -- Limiter.learn


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def told(per_s: float, limit: float, left: float) -> Allowance:
    return Allowance(requests=Quota(per_s=per_s, limit=limit, left=left))


async def taken(limiter: Limiter) -> int:
    """How many calls may leave right now; they are in flight then."""
    flow, count = limiter.flow(), 0
    while limiter.take(flow) is not None:
        count += 1
    return count


async def test_what_is_left_may_be_sent_at_once_and_then_as_fast_as_it_fills() -> None:
    """A daily limit fills slowly and holds much: what it holds isn't waited for."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100), clock=clock)
    limiter.learn(told(2, 60, 10))
    assert await taken(limiter) == 10
    clock.now += 2.01
    assert await taken(limiter) == 5  # a little in it is enough for a call, as with what a card states


async def test_what_the_card_states_stands() -> None:
    """Its owner may want to leave something to others."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100, requests_per_minute=60), clock=clock)
    limiter.learn(told(50, 1000, 900))
    assert await taken(limiter) == 1


async def test_others_who_use_up_the_limit_are_seen() -> None:
    """Another process with the same key."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100), clock=clock)
    limiter.learn(told(1, 60, 50))
    limiter.learn(told(1, 60, 3))
    assert await taken(limiter) == 3


async def test_a_window_that_begins_anew_is_seen() -> None:
    """Not all limits fill evenly; calls in flight may be unknown to the provider yet."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100), clock=clock)
    limiter.learn(told(1, 60, 5))
    assert await taken(limiter) == 5
    limiter.learn(told(1, 60, 59))
    assert await taken(limiter) == 59 - 5


@pytest.mark.parametrize(("per_s", "kept"), [(10.5, 10.0), (9.5, 10.0), (12.0, 12.0), (5.0, 5.0)])
async def test_a_rate_that_hardly_changed_is_the_same(per_s: float, kept: float) -> None:
    """It is computed from round numbers."""
    limiter = Limiter(Limits(concurrency=100), clock=Clock())
    limiter.learn(told(10, 60, 50))
    limiter.learn(told(per_s, 60, 50))
    assert limiter._requests is not None
    assert limiter._requests._per_s == kept


async def test_a_wrong_word_is_waited_for_a_minute_at_most() -> None:
    """Only an answer can correct it, and without a call there is none."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100), clock=clock)
    limiter.learn(told(0.0001, 60, 0))
    assert await taken(limiter) == 0
    clock.now += 61
    assert await taken(limiter) == 1


async def test_tokens_are_kept_to_as_well() -> None:
    """Often they are the tighter limit."""
    clock = Clock()
    limiter = Limiter(Limits(concurrency=100), clock=clock)
    ticket = limiter.take(flow := limiter.flow())
    assert ticket is not None
    flow.learn(Allowance(tokens=Quota(per_s=10, limit=1000, left=500)))
    flow.answered(ticket, 100)
    assert await taken(limiter) in (4, 5)


# -- from a real reply


async def test_a_limit_that_a_provider_tells_is_kept_before_it_refuses() -> None:
    """At a hundred a second with a burst of twenty: found from the first answers."""
    behaviour = {"rate_per_s": 100, "burst": 20, "ratelimit_headers": True, "latency_s": 0.02, "retry_after_s": 0.05}
    async with faulty_provider(**behaviour) as provider:
        card = ModelCard(name="m", adapter="openai_compatible", model="m", api_base=provider.api_base)
        limiter = Limiter(Limits(concurrency=50))
        async with Adapter(card, api_key=None) as adapter:
            caller = Caller(adapter=adapter, flow=limiter.flow(), timeout_s=10)
            calls = [
                caller.call(
                    Item(item_id=str(n), messages=(Message(role="user", content=f"{n}"),)), Generation(), epoch=1
                )
                for n in range(200)
            ]
            done = await asyncio.gather(*calls)
        counters = await provider.counters()
    assert all(called is not None and isinstance(called.completion.answer, TextAnswer) for called in done)
    assert limiter._requests is not None
    assert limiter._requests._per_s == pytest.approx(100, rel=0.2)
    assert counters["statuses"].get("429", 0) <= 40


async def test_nothing_is_learnt_from_a_provider_that_says_nothing() -> None:
    """Most."""
    async with faulty_provider() as provider:
        card = ModelCard(name="m", adapter="openai_compatible", model="m", api_base=provider.api_base)
        async with Adapter(card, api_key=None) as adapter:
            item = Item(item_id="1", messages=(Message(role="user", content="x"),))
            assert (await adapter.complete(item, Generation(), timeout_s=10)).allowance is None
