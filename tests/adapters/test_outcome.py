"""What is kept of a provider's words, and the status they end in."""

import json

import pytest

from dep_mcp.adapters.outcome import MOST_CHARACTERS, outcome, presentable
from dep_mcp.protocol import STATUS_CONTRACT, Item, Message

KEY = "sk-abcdefghijklmnop"
QUESTION = 'Natalia sold clips to "48" of her friends\nin April, and then she sold half as many in May.'


def item(content: str, *options: str) -> Item:
    return Item(item_id="1", messages=(Message(role="user", content=content),), options=options)


@pytest.mark.parametrize(
    "said",
    [
        f"bad request: {QUESTION}",
        f"bad request: {json.dumps(QUESTION)}",
        f"bad request: {QUESTION[20:50]}",
        f"bad request: {QUESTION!r}",
        f"bad request: {QUESTION.upper()[:3]}{QUESTION[3:]}",
    ],
)
def test_no_quoted_prompt_stays(said: str) -> None:
    """However it was quoted, and wherever it was cut."""
    shown = presentable(said, item(QUESTION), None)
    assert shown.startswith("bad request: ")
    assert "[prompt]" in shown
    assert "clips" not in shown
    assert "friends" not in shown


def test_short_prompts_and_options_are_cut_as_words_only() -> None:
    """`hi` is no part of `this`."""
    assert presentable("this is bad: hi, (yes)", item("hi", "yes", "no"), None) == "this is bad: [prompt], ([prompt])"


@pytest.mark.parametrize("said", [f"Incorrect API key: {KEY}", f"Incorrect API key: {KEY[:12]}***"])
def test_no_key_stays(said: str) -> None:
    """Providers like to quote it, whole or in part."""
    shown = presentable(said, item("x"), KEY)
    assert "[key]" in shown
    assert KEY[:8] not in shown


def test_a_detail_is_one_short_line() -> None:
    """Logs and tables are made of lines."""
    shown = presentable("a\n\tb " * 1000, item("x"), None)
    assert len(shown) <= MOST_CHARACTERS
    assert "\n" not in shown


@pytest.mark.parametrize("status", [200, 204, 302, 409, 418, 425, 429, 520, 529, 599, 777])
def test_every_status_ends_in_one_of_the_contract(status: int) -> None:
    """And what it was stays readable."""
    error = outcome("no", status, item=item("x"), api_key=None, retry_after_s=3)
    assert error.status in STATUS_CONTRACT
    assert error.status != 200
    assert error.retry_after_s == 3
    assert error.detail == ("no" if status in STATUS_CONTRACT and status != 200 else f"HTTP {status}: no")
