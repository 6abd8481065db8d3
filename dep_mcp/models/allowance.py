"""What a provider's headers say of its limits: how fast they fill, how much they hold, and what is left."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dep_mcp.models.retry_after import number, seconds

_LONGEST_S = 7 * 86_400.0
"""No limit takes longer to fill: what says so is a point in time, or nonsense."""


@dataclass(frozen=True, kw_only=True)
class Quota:
    """One limit, as a token bucket.

    Attributes:
        per_s: How fast it fills.
        limit: What it holds.
        left: What was in it when the answer left.
    """

    per_s: float
    limit: float
    left: float


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What the headers of an answer say; `None` where they say nothing that can be understood.

    Attributes:
        requests: Of calls.
        tokens: Of tokens, of prompts and answers together.
    """

    requests: Quota | None = None
    tokens: Quota | None = None

    @property
    def requests_per_s(self) -> float | None:
        """How fast calls are allowed anew."""
        return None if self.requests is None else self.requests.per_s

    @property
    def tokens_per_s(self) -> float | None:
        """How fast tokens are allowed anew."""
        return None if self.tokens is None else self.tokens.per_s


def allowance(headers: Mapping[str, str], *, now: datetime | None = None) -> Allowance | None:
    """The allowance that headers tell of, in OpenAI's dialect or in Anthropic's.

    `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, resets as `6m0s`, `20ms` or seconds;
    `anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`, resets as RFC 3339 dates. Both resets say when
    all of the limit is there again, so it fills with what is missing by then.

    Args:
        headers: With names in lower case, or a mapping that doesn't mind.
        now: For dates; default the present.
    """
    if not (
        "x-ratelimit-limit-requests" in headers
        or "x-ratelimit-limit-tokens" in headers
        or "anthropic-ratelimit-requests-limit" in headers
        or "anthropic-ratelimit-tokens-limit" in headers
    ):
        return None  # most endpoints; the rest would cost ten times that
    found = Allowance(requests=_quota(headers, "requests", now), tokens=_quota(headers, "tokens", now))
    return None if found.requests is None and found.tokens is None else found


def _quota(headers: Mapping[str, str], of: str, now: datetime | None) -> Quota | None:
    names = [f"x-ratelimit-{part}-{of}" for part in ("limit", "remaining", "reset")]
    if names[0] not in headers:
        names = [f"anthropic-ratelimit-{of}-{part}" for part in ("limit", "remaining", "reset")]
    limit, left = (number(headers.get(name, "").strip(), 1.0) for name in names[:2])
    reset_s = _reset_s(headers.get(names[2], "").strip(), now or datetime.now(UTC))
    if limit is None or left is None or reset_s is None or not math.isfinite(limit):
        return None
    if left >= limit or not 0 < reset_s <= _LONGEST_S:
        return None
    return Quota(per_s=(limit - left) / reset_s, limit=limit, left=left)


def _reset_s(text: str, now: datetime) -> float | None:
    try:
        date = datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        return None
    if date is None:
        return seconds(text, now)
    return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
