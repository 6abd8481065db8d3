"""Receipts, keys and openings come from strangers: whatever a file says, it is good or refused by an error of ours."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from pydantic import ValidationError

from dep_mcp.protocol import Opening
from dep_mcp.protocol.errors import DepError, ReceiptError
from dep_mcp.receipts import Committed, SigningKey, explain, public_pem, read_public, verify, verify_openings
from tests.conftest import SOAK
from tests.fuzz.mutation import bent, memory, spoiled
from tests.receipts.conftest import Made, pae_free

INPUTS = 50_000 if SOAK else 5_000
GROWTH = 32 << 20
MADE = Made()
GOOD = MADE.countersigned().model_dump_json().encode()
OTHER = MADE.countersigned(model="another").model_dump_json().encode()
PUBLIC = MADE.owner.public
STATEMENT = json.loads(pae_free(MADE.envelope()))
ROWS = [(f'{{"item_id":"i-{n}"}}', f'"target-{n}"') for n in range(5)]
COMMITTED = Committed(b"s" * 32, ROWS)
OPENINGS = [COMMITTED.opening(n, *ROWS[n], alone=True) for n in range(5)]


def outcomes(read: Callable[[Random], str]) -> Counter[str]:
    """How reading ends for each seed; a crash names its seed."""
    before, ends = memory(), Counter[str]()
    for seed in range(INPUTS):
        try:
            ends[read(Random(seed))] += 1
        except DepError:
            ends["refused"] += 1
        except Exception as crash:
            crash.add_note(f"seed {seed}")
            raise
    assert memory() - before < GROWTH
    return ends


def changed(data: bytes, other: bytes, rng: Random) -> bytes:
    if rng.random() < 0.5:
        return spoiled(data, other, rng)
    return bent(json.loads(data), rng).encode(errors="surrogatepass")


def receipt(rng: Random) -> str:
    data = changed(GOOD, OTHER, rng)
    verify(data, PUBLIC)
    assert json.loads(data) in (json.loads(GOOD), json.loads(OTHER)), data
    return "good"


def statement(rng: Random) -> str:
    payload = bent(STATEMENT, rng).encode(errors="surrogatepass")
    text = explain(verify(MADE.signed(payload), PUBLIC))
    assert all(line.isprintable() for line in text.split("\n"))
    return "good"


def opening(rng: Random) -> str:
    whole = rng.choice(OPENINGS).model_dump_json().encode()
    try:
        told = Opening.model_validate_json(changed(whole, OPENINGS[0].model_dump_json().encode(), rng))
    except ValidationError:
        return "shapeless"
    assert verify_openings([told], COMMITTED.commitment) == 1
    assert told in OPENINGS
    return "good"


def key(rng: Random) -> str:
    private, public = MADE.owner.pem(), public_pem(PUBLIC).encode()
    if rng.random() < 0.5:
        SigningKey.from_pem(spoiled(private, public, rng))
        return "private"
    read = read_public(spoiled(public, private, rng).decode(errors="replace"))
    try:
        verify(GOOD, read)
    except ReceiptError:
        return "another"
    assert read == PUBLIC
    return "public"


def test_a_spoiled_receipt_is_refused_or_says_what_it_said() -> None:
    """With the owner's key, whatever isn't the very receipt is refused."""
    ends = outcomes(receipt)
    assert ends["refused"] > INPUTS // 2
    assert ends["good"] > 0


def test_a_signed_statement_of_any_shape_is_refused_or_explained() -> None:
    """A container's key signs whatever it likes; the words about it steer no terminal."""
    ends = outcomes(statement)
    assert min(ends["refused"], ends["good"]) > INPUTS // 100


def test_a_spoiled_opening_is_refused_or_opens_what_was_committed_to() -> None:
    """Nobody opens another item, another target, or another place."""
    ends = outcomes(opening)
    assert min(ends["refused"], ends["shapeless"], ends["good"]) > INPUTS // 500


def test_a_spoiled_key_is_refused_or_is_a_key() -> None:
    """Public or private, in whatever file."""
    ends = outcomes(key)
    assert min(ends["refused"], ends["private"], ends["public"], ends["another"]) > INPUTS // 500


@pytest.mark.parametrize(
    ("read", "module", "name", "weaker"),
    [
        (receipt, "verify", "is_signed", lambda *_: True),
        (statement, "words", "_printable", str),
        (opening, "commitment", "is_included", lambda *_: True),
        (key, "keys", "_BASE64", re.compile(r"(?s).*")),
    ],
)
def test_the_fuzzer_finds_a_reader_that_is_weaker(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[Random], str], module: str, name: str, weaker: object
) -> None:
    """One that believes a signature, a text, a path, or that a file holds a key."""
    monkeypatch.setattr(sys.modules[f"dep_mcp.receipts.{module}"], name, weaker)
    with pytest.raises((AssertionError, ValueError)):
        outcomes(read)
