"""What a provider's headers tell of its limits: how many requests and tokens a minute it allows."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from dep_mcp.models.retry_after import seconds
from dep_mcp.protocol import WireModel


class Allowance(WireModel):
    """An upper bound, as a provider states it; what it really bears is found out all the same."""

    requests_per_minute: float | None = None
    """`None` where it doesn't say."""
    tokens_per_minute: float | None = None
    """`None` where it doesn't say."""


def tells(headers: Mapping[str, str]) -> bool:
    """Whether there is anything to read, as cheaply as that can be told."""
    return "x-ratelimit-limit-requests" in headers or "anthropic-ratelimit-requests-limit" in headers


def allowance(headers: Mapping[str, str], *, now: datetime | None = None) -> Allowance:
    """Read the headers.

    OpenAI's names (`x-ratelimit-limit-requests`, which others have taken over) and Anthropic's
    (`anthropic-ratelimit-requests-limit`, with RFC 3339 dates). Where a bucket refills steadily, what was used comes
    back until the reset; where a window ends, what remains may be used until then. Nobody says which of them it is, so
    the faster one is the bound.

    Args:
        headers: With lower-case names, or a mapping that doesn't care.
        now: For dates; default the present.
    """
    now = now or datetime.now(UTC)
    requests, tokens = (_per_minute(headers, what, now) for what in ("requests", "tokens"))
    return Allowance(requests_per_minute=requests, tokens_per_minute=tokens)


def _per_minute(headers: Mapping[str, str], what: str, now: datetime) -> float | None:
    values = {}
    for part in ("limit", "remaining", "reset"):
        names = (f"x-ratelimit-{part}-{what}", f"anthropic-ratelimit-{what}-{part}")
        values[part] = next((headers[name].strip() for name in names if name in headers), "")
    limit, remaining = _number(values["limit"]), _number(values["remaining"])
    reset_s = seconds(values["reset"], now)
    if reset_s is None:
        reset_s = _seconds_until(values["reset"], now)
    if limit is None or remaining is None or reset_s is None or reset_s <= 0 or remaining > limit:
        return None
    return 60 * max(1.0, limit - remaining, remaining) / reset_s


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,15}(\.\d+)?", text) else None


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        return (datetime.fromisoformat(text) - now).total_seconds()
    except (ValueError, TypeError):  # no date, or one without a zone
        return None
