"""How long a provider asks to wait, in the dialects of its headers."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_RESETS = ("x-ratelimit-reset-requests", "x-ratelimit-reset-tokens", "x-ratelimit-reset")
MOST_S = 3600.0
"""No header makes a call wait longer."""


def retry_after_s(headers: Mapping[str, str], *, now: datetime | None = None) -> float | None:
    """Seconds to wait, 0 to 3600, or `None` where no header says.

    `retry-after-ms`; `retry-after` in seconds or as an HTTP date (RFC 9110, 10.2.3); else the latest of the
    `x-ratelimit-reset-*` headers, in seconds or as `6m0s`, `20ms`.

    Args:
        headers: In any case of letters.
        now: For a date; default the present.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    found = [number(lower["retry-after-ms"], 0.001)] if "retry-after-ms" in lower else []
    if not any(value is not None for value in found) and "retry-after" in lower:
        found = [seconds(lower["retry-after"], now or datetime.now(UTC))]
    if not any(value is not None for value in found):
        found = [seconds(lower[name], now or datetime.now(UTC)) for name in _RESETS if name in lower]
    known = [value for value in found if value is not None]
    return min(MOST_S, max(0.0, *known, 0.0)) if known else None


def number(text: str, unit: float) -> float | None:
    """A number in some unit; `None` if it is none, or below zero."""
    return float(text) * unit if re.fullmatch(r"\d+(\.\d+)?", text) else None


def seconds(text: str, now: datetime) -> float | None:
    """Seconds given as a number, as a span (`6m0s`, `20ms`), or as an HTTP date."""
    plain = number(text, 1.0)
    if plain is not None:
        return plain
    spans = _SPAN.findall(text)
    if spans and "".join(value + unit for value, unit in spans) == text:
        return sum(float(value) * _UNITS_S[unit] for value, unit in spans)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # no date, or a year or an offset of twenty digits
        return None
    return (date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds()
