"""Ids: minted ones sort, can't be guessed, and pass their own pattern; an author's can't hold control characters."""

import re

import pytest
from pydantic import TypeAdapter, ValidationError

from dep_mcp.protocol import EvaluationId, ItemId, ids, new_evaluation_id, new_seed

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
evaluation_id: TypeAdapter[str] = TypeAdapter(EvaluationId)
item_id: TypeAdapter[str] = TypeAdapter(ItemId)


def number(text: str) -> int:
    value = 0
    for letter in text.removeprefix("ev_"):
        value = value * 32 + ALPHABET.index(letter)
    return value


def test_a_minted_id_fits_the_pattern_of_the_protocol() -> None:
    """Both sides of the seal check it, so a digit out of place would stop every evaluation."""
    for _ in range(200):
        assert evaluation_id.validate_python(new_evaluation_id())


def test_ids_sort_by_the_time_they_were_minted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newest first is how people look for an evaluation, and the store orders by id."""
    times = [1, 999_999_999, 1_700_000_000_000_000_000, 1_700_000_000_001_000_000, 2**47 * 1_000_000]
    minted = []
    for now in times:
        monkeypatch.setattr(ids.time, "time_ns", lambda now=now: now)
        minted.append(new_evaluation_id())
    assert minted == sorted(minted)


def test_an_id_is_time_then_128_random_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a capability: who can guess it could submit in another's name."""
    monkeypatch.setattr(ids.time, "time_ns", lambda: 1_700_000_000_123_456_789)
    numbers = [number(new_evaluation_id()) for _ in range(500)]
    assert {value >> 132 for value in numbers} == {1_700_000_000_123}
    assert {value & 0b1111 for value in numbers} == {0}
    randoms = [value >> 4 & (2**128 - 1) for value in numbers]
    assert len(set(randoms)) == 500
    for bit in range(128):
        assert 0 < sum(value >> bit & 1 for value in randoms) < 500


@pytest.mark.parametrize("bad", ["", "ev_", "ev_" + "0" * 35, "ev_" + "0" * 37, "ev_" + "u" * 36, "EV_" + "0" * 36])
def test_a_mistyped_evaluation_id_is_refused(bad: str) -> None:
    """Letters that are taken for digits aren't in the alphabet, and nothing is cut short."""
    with pytest.raises(ValidationError):
        evaluation_id.validate_python(bad)


def test_an_id_with_a_newline_behind_it_is_refused() -> None:
    """`$` of many engines lets one through."""
    with pytest.raises(ValidationError):
        evaluation_id.validate_python("ev_" + "0" * 36 + "\n")


def test_a_seed_is_32_hexadecimal_digits_and_never_the_same() -> None:
    """128 random bits: the order and the items of an evaluation must not be guessed."""
    seeds = {new_seed() for _ in range(100)}
    assert len(seeds) == 100
    assert all(re.fullmatch("[0-9a-f]{32}", seed) for seed in seeds)


@pytest.mark.parametrize("good", ["x", "test-1", "Ä/ö ü", "x" * 256])
def test_an_author_may_choose_any_printable_item_id(good: str) -> None:
    """Published data sets come with ids of all sorts."""
    assert item_id.validate_python(good) == good


@pytest.mark.parametrize("bad", ["", "x" * 257, "a\nb", "a\x00", "\x7f", "a\n"])
def test_an_item_id_with_control_characters_is_refused(bad: str) -> None:
    """It is printed in terminals and logs."""
    with pytest.raises(ValidationError):
        item_id.validate_python(bad)
