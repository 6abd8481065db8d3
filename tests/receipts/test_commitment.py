"""Commitments: what was committed to can be opened, item by item or whole, and nothing else can."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import Commitment, Opening
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts import Committed, verify_openings

SECRET = bytes(range(32))
ROWS = st.lists(st.tuples(st.text(max_size=10), st.text(max_size=10)), min_size=1, max_size=20)


def opened(rows: list[tuple[str, str]], *, alone: bool) -> tuple[Commitment, list[Opening]]:
    committed = Committed(SECRET, rows)
    openings = [committed.opening(number, *row, alone=alone) for number, row in enumerate(rows)]
    return committed.commitment, openings


def is_bad(openings: list[Opening], commitment: Commitment) -> None:
    with pytest.raises(ReceiptError):
        verify_openings(openings, commitment)


@given(ROWS, st.data())
def test_any_items_can_be_opened_alone(rows: list[tuple[str, str]], data: st.DataObject) -> None:
    """Some, all, one twice: each stands for itself."""
    commitment, openings = opened(rows, alone=True)
    some = data.draw(st.lists(st.sampled_from(openings), min_size=1))
    assert verify_openings(some, commitment) == len(some)


@given(ROWS)
def test_all_items_can_be_opened_together(rows: list[tuple[str, str]]) -> None:
    """Without proofs, since all of them together give the root."""
    commitment, openings = opened(rows, alone=False)
    assert verify_openings(iter(openings), commitment) == len(rows)


@given(ROWS, st.booleans(), st.data())
def test_an_opening_with_anything_changed_is_refused(
    rows: list[tuple[str, str]], alone: bool, data: st.DataObject  # noqa: FBT001 (drawn)
) -> None:  # fmt: skip
    """A target, an item, a salt, a place: else an owner could say later that the targets were others."""
    commitment, openings = opened(rows, alone=alone)
    place = data.draw(st.integers(0, len(openings) - 1))
    field = data.draw(st.sampled_from(["item", "target", "salt", "number"]))
    value = {
        "item": openings[place].item + "x",
        "target": openings[place].target + "x",
        "salt": openings[place].salt[:-1] + ("0" if openings[place].salt[-1] != "0" else "1"),
        "number": openings[place].number + 1,
    }[field]
    openings[place] = openings[place].model_copy(update={field: value})
    is_bad(openings, commitment)


@given(ROWS, st.data())
def test_a_whole_opening_with_items_missing_added_or_moved_is_refused(
    rows: list[tuple[str, str]], data: st.DataObject
) -> None:
    """What is left out may be what wouldn't stand."""
    commitment, openings = opened(rows, alone=False)
    is_bad(openings[:-1], commitment)
    extra = openings[-1].model_copy(update={"number": len(openings)})
    is_bad([*openings, extra], commitment)
    order = data.draw(st.permutations(openings))
    if order != openings:
        is_bad(order, commitment)


def test_the_two_ways_do_not_mix() -> None:
    """A proof among items without, or one without among proofs, is no opening."""
    rows = [("a", "1"), ("b", "2")]
    commitment, alone = opened(rows, alone=True)
    _, together = opened(rows, alone=False)
    is_bad([alone[0], together[1]], commitment)
    is_bad([together[0], alone[1]], commitment)
    is_bad([], commitment)


def test_the_commitment_of_another_benchmark_does_not_fit() -> None:
    """Or the same data under another secret."""
    rows = [("a", "1"), ("b", "2")]
    _, openings = opened(rows, alone=True)
    is_bad(openings, Committed(bytes(32), rows).commitment)


def test_one_opened_item_tells_nothing_about_another() -> None:
    """Of two possible targets each could be tried: the salt of the other item isn't known from this one's."""
    commitment, openings = opened([("question", "yes"), ("question", "yes"), ("question", "no")], alone=True)
    assert len({opening.salt for opening in openings}) == 3
    for guess in ("yes", "no"):
        is_bad([openings[0].model_copy(update={"number": 1, "target": guess, "proof": openings[1].proof})], commitment)


def test_a_leaf_has_one_meaning() -> None:
    """Moving a quote from the item to the target gives another commitment."""
    roots = [
        Committed(SECRET, [row]).commitment.root
        for row in [('a","b', "c"), ("a", 'b","c'), ("a", "b"), ("", "ab"), ("ab", "")]
    ]
    assert len(set(roots)) == 5


def test_the_leaf_is_as_documented() -> None:
    """Whoever writes a verifier of their own starts here."""
    import hashlib
    import hmac

    salt = hmac.new(SECRET, b"0", "sha256").hexdigest()
    leaf = json.dumps([salt, '{"é":1}', '"t"'], separators=(",", ":")).encode()
    root = hashlib.sha256(b"\x00" + leaf).hexdigest()
    assert Committed(SECRET, [('{"é":1}', '"t"')]).commitment == Commitment(root=f"sha256:{root}", items=1)
