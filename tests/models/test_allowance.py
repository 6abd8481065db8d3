"""Limits as providers state them, in the dialects of their headers."""

from datetime import UTC, datetime

import pytest

from dep_mcp.models import Limiter
from dep_mcp.models.allowance import Allowance, allowance, tells
from dep_mcp.protocol import Limits

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def of(dialect: str, limit: str, remaining: str, reset: str) -> dict[str, str]:
    if dialect == "anthropic":
        prefix = "anthropic-ratelimit-requests-"
        return {prefix + "limit": limit, prefix + "remaining": remaining, prefix + "reset": reset}
    names = {"limit": limit, "remaining": remaining, "reset": reset}
    return {f"x-ratelimit-{part}-requests": value for part, value in names.items()}


@pytest.mark.parametrize(
    ("headers", "per_minute"),
    [
        (of("openai", "500", "0", "1m0s"), 500),
        (of("openai", "10", "0", "100ms"), 6000),
        (of("openai", "14400", "100", "23h50m"), 60 * 14300 / 85800),
        (of("openai", "60", "55", "50"), 66),
        (of("anthropic", "50", "0", "2026-01-02T03:05:05Z"), 50),
        (of("anthropic", "50", "0", "2026-01-02T03:04:35+00:00"), 100),
        (of("openai", "500", "500", "0s"), None),
        (of("openai", "500", "900", "1s"), None),
        (of("openai", "many", "0", "1s"), None),
        (of("openai", "500", "0", "soon"), None),
        (of("openai", "9" * 40, "0", "1s"), None),
        (of("anthropic", "50", "0", "2026-01-02T03:05:05"), None),
        ({"x-ratelimit-limit-requests": "500"}, None),
    ],
    ids=str,
)
def test_what_is_stated_is_read_and_garbage_is_nothing(headers: dict[str, str], per_minute: float | None) -> None:
    """A provider's headers are as trustworthy as its replies."""
    assert tells(headers)
    found = allowance(headers, now=NOW).requests_per_minute
    assert found == (None if per_minute is None else pytest.approx(per_minute))


def test_tokens_are_read_apart() -> None:
    """Both limits hold at once."""
    headers = of("openai", "10", "0", "1s") | {
        "x-ratelimit-limit-tokens": "30000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "30s",
    }
    assert allowance(headers, now=NOW) == Allowance(requests_per_minute=600, tokens_per_minute=60000)
    assert not tells({"content-type": "application/json"})


async def test_what_is_stated_bounds_the_pace_and_a_card_has_the_last_word() -> None:
    """Before anything was refused."""
    for limits, most in ((Limits(concurrency=100), 7), (Limits(concurrency=100, requests_per_minute=60), 1)):
        limiter = Limiter(limits, clock=lambda: 1000.0)
        flow = limiter.flow()
        limiter.learn(Allowance(requests_per_minute=420, tokens_per_minute=None))
        sent = 0
        while limiter.take(flow) is not None:
            sent += 1
        assert sent == most
