"""What providers write into their headers when they want to be left alone."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dep_mcp.models.retry_after import MOST_S, retry_after_s

NOW = datetime(2026, 7, 28, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2),
        ({"retry-after": "0"}, 0),
        ({"RETRY-AFTER": " 1.5 "}, 1.5),
        ({"retry-after": "Tue, 28 Jul 2026 12:00:30 GMT"}, 30),
        ({"retry-after": "Tue, 28 Jul 2026 11:00:00 GMT"}, 0),
        ({"retry-after": "Tue, 28 Jul 2026 14:00:30 +0200"}, 30),
        ({"retry-after": "Tue, 28 Jul 2026 12:00:30 -0000"}, 30),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360),
        ({"x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "1m30.5s"}, 90.5),
        ({"x-ratelimit-reset": "7"}, 7),
        ({"x-ratelimit-reset": "1h1m"}, MOST_S),
        ({"retry-after": "3", "x-ratelimit-reset": "7"}, 3),
        ({"retry-after": "soon", "x-ratelimit-reset": "7"}, 7),
        ({"retry-after": "999999"}, MOST_S),
        ({"retry-after": "9" * 400}, MOST_S),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": ""}, None),
        ({"x-ratelimit-reset": "5x"}, None),
    ],
)
def test_each_dialect_is_understood(headers: dict[str, str], seconds: float | None) -> None:
    """At most an hour, at least nothing; what isn't understood says nothing."""
    assert retry_after_s(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds))


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-reset-tokens"]),
        st.text() | st.from_regex(r"\A\w{3}, \d{1,12} \w{3} \d{1,24} \d+:\d+:\d+ ([+-]\d{1,12}|GMT)\Z"),
    )
)
@example({"retry-after": "Tue, 28 Jul 99999999999999999999 12:00:30 GMT"})
@example({"retry-after": "Tue, 28 Jul 2026 12:00:30 +99999999999999999"})
@example({"retry-after": "Tue, 28 Jul 2026 12:00:30 +9999"})
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"})
def test_no_header_crashes_a_run(headers: dict[str, str]) -> None:
    """A provider, or a proxy on the way, may send anything."""
    found = retry_after_s(headers)
    assert found is None or 0 <= found <= MOST_S
