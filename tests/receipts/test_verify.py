"""A receipt is good or it isn't: every byte of it counts, and so does who signed."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import Envelope
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts import MOST_BYTES, SigningKey, check, countersigned, key_id, verify
from dep_mcp.receipts.envelope import pae
from tests.receipts.conftest import Made, pae_free

Change = Callable[[dict[str, Any]], None]
MADE = Made()
GOOD = MADE.countersigned().model_dump_json().encode()
"""One for the properties: each example would else mint keys."""


def text_of(envelope: Envelope) -> bytes:
    return envelope.model_dump_json().encode()


def is_bad(data: bytes, owner: str | None = None) -> str:
    """Why it is refused."""
    with pytest.raises(ReceiptError) as error:
        verify(data, owner)
    return error.value.detail


def test_the_encoding_that_is_signed_is_the_specifications() -> None:
    """The example of DSSE's own document."""
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


# -- good ones


def test_a_receipt_of_the_container_alone_is_good(made: Made) -> None:
    """Before it is countersigned, or on an endpoint without an owner."""
    verified = verify(text_of(made.envelope()))
    assert (verified.owner, verified.owner_checked) == (None, False)
    assert verified.statement.predicate.attested.public_key == made.container.public


def test_a_countersigned_receipt_is_good_with_the_owners_key_and_without(made: Made) -> None:
    """Without it, only that it wasn't checked is known."""
    data = text_of(made.countersigned())
    owner = key_id(made.owner.public)
    assert [verify(data, key).owner for key in (None, made.owner.public)] == [owner, owner]
    assert [verify(data, key).owner_checked for key in (None, made.owner.public)] == [False, True]


def test_a_second_owner_takes_the_place_of_the_first(made: Made) -> None:
    """An envelope has the container's signature and at most one more."""
    again = countersigned(made.countersigned(), SigningKey.mint())
    assert len(again.signatures) == 2
    assert check(again).owner != key_id(made.owner.public)


# -- who signed


def test_the_wrong_owners_key_is_told(made: Made) -> None:
    """Good signatures by somebody else prove nothing to whoever asked for this one."""
    stranger = SigningKey.mint().public
    assert "isn't countersigned by the key" in is_bad(text_of(made.countersigned()), stranger)
    assert "isn't countersigned by the key" in is_bad(text_of(made.envelope()), made.owner.public)


def test_a_signature_under_anothers_name_is_told(made: Made) -> None:
    """The id of a key is a hint that no signature covers."""
    first, second = made.countersigned().signatures
    renamed = second.model_copy(update={"sig": first.sig})
    forged = made.countersigned().model_copy(update={"signatures": (first, renamed)})
    assert "wasn't" not in is_bad(text_of(forged), made.owner.public)


def test_swapped_signatures_are_told(made: Made) -> None:
    """Each has its place; and each its key."""
    envelope = made.countersigned()
    first, second = envelope.signatures
    swapped = envelope.model_copy(update={"signatures": (second, first)})
    is_bad(text_of(swapped))
    crossed = (
        first.model_copy(update={"sig": second.sig}),
        second.model_copy(update={"sig": first.sig}),
    )
    is_bad(text_of(envelope.model_copy(update={"signatures": crossed})))


def test_the_container_cannot_be_its_own_owner(made: Made) -> None:
    """A second signature by the same key says nothing new."""
    envelope = made.envelope()
    twice = envelope.model_copy(update={"signatures": envelope.signatures * 2})
    assert "both signatures" in is_bad(text_of(twice))
    assert "both signatures" in is_bad(text_of(twice), made.container.public)


def test_signatures_of_another_receipt_are_told(made: Made) -> None:
    """By the same keys, of another evaluation."""
    envelope, other = made.countersigned(), made.countersigned()
    for signatures in (other.signatures, (envelope.signatures[0], other.signatures[1])):
        is_bad(text_of(envelope.model_copy(update={"signatures": signatures})), made.owner.public)


def test_a_container_whose_key_is_not_the_one_it_names_is_told(made: Made) -> None:
    """The key in the statement is what the owner bound at `open`."""

    def another_key(statement: dict[str, Any]) -> None:
        statement["predicate"]["attested"]["public_key"] = SigningKey.mint().public

    assert "first signature" in is_bad(made.forged(another_key))


# -- every byte


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
def test_any_byte_changed_is_told(place: int, value: int) -> None:
    """Also where no signature covers it: ids of keys, punctuation."""
    changed = GOOD[:place] + bytes([value]) + GOOD[place + 1 :]
    if changed != GOOD:
        is_bad(changed, MADE.owner.public)


@given(st.integers(0, len(GOOD) - 1), st.integers(1, 200))
def test_a_receipt_with_a_piece_missing_is_told(place: int, length: int) -> None:
    """A cut file, or one whose middle is lost."""
    is_bad(GOOD[:place] + GOOD[place + length :], MADE.owner.public)


@given(st.data())
def test_any_byte_of_the_statement_changed_is_told(data: st.DataObject) -> None:
    """Encoded again as it should be, so that only the signatures can tell."""
    envelope = Envelope.model_validate_json(GOOD)
    payload = bytearray(pae_free(envelope))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    changed = envelope.model_copy(update={"payload": b64encode(payload).decode()})
    is_bad(text_of(changed), MADE.owner.public)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_anything_else_is_no_receipt(data: bytes) -> None:
    """And ends in our error, not in a traceback."""
    is_bad(data)


# -- the envelope


def spoilt(**changes: Any) -> bytes:
    return json.dumps(json.loads(GOOD) | changes).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xef\xbb\xbf" + GOOD,
        GOOD.decode().encode("utf-16"),
        GOOD + GOOD,
        b"[" * 100_000,
        b'{"payload":' * 50_000,
        b"1" * 10_000,
        b'"\\ud800"',
        b"NaN",
        spoilt(payloadType="application/json"),
        spoilt(payloadType="application/vnd.in-toto+JSON"),
        spoilt(payload=7),
        spoilt(payload=""),
        spoilt(signatures=[]),
        spoilt(signatures=json.loads(GOOD)["signatures"] + json.loads(GOOD)["signatures"][:1]),
        spoilt(signatures=None),
        spoilt(comment="nothing covers this"),
        GOOD.replace(b'{"keyid"', b'{"comment":"nor this","keyid"', 1),
        GOOD.replace(b'"payload":', b'"payload":"e30=","payload":', 1),
        GOOD.replace(b'"payload":', b'"\\u0070ayload":"e30=","payload":', 1),
        GOOD.replace(b'{"keyid"', b'{"sig":"AA==","keyid"', 1),
    ],
)
def test_an_envelope_of_another_shape_is_refused(data: bytes) -> None:
    """Two readers must not see two receipts in one file: no key twice, nothing that isn't signed."""
    is_bad(data)


def test_a_huge_file_is_refused_before_it_is_read(made: Made) -> None:
    """Padding costs the sender nothing; the payload has the same bound."""
    assert "MiB" in is_bad(text_of(made.envelope()) + b" " * MOST_BYTES)
    assert "MiB" in is_bad(b"[" * (MOST_BYTES + 1))


def test_base64_has_one_form(made: Made) -> None:
    """Else one receipt could be passed off as two: other alphabet, spare bits, line breaks, no padding."""
    payload = b'{"a":"??>>~~"}'
    standard = b64encode(payload).decode()
    assert len(payload) % 3
    spare = standard.rstrip("=")
    last = chr(ord(spare[-1]) + 1)
    variants = [
        urlsafe_b64encode(payload).decode(),
        spare,
        f"{standard[:8]}\n{standard[8:]}",
        f"{standard} ",
        f"{standard}====",
        f"{spare[:-1]}{last}{standard[len(spare) :]}",
        f"{standard}ä",
    ]
    for variant in variants:
        whole = json.loads(made.signed(payload)) | {"payload": variant}
        assert "base64" in is_bad(json.dumps(whole).encode()), variant
    good = json.loads(GOOD)
    for sig in (good["signatures"][0]["sig"].rstrip("="), good["signatures"][0]["sig"][:-3] + "B=="):
        signatures = [good["signatures"][0] | {"sig": sig}, good["signatures"][1]]
        is_bad(spoilt(signatures=signatures))


# -- the statement: all of these are signed by both keys


def put(*path: str, value: Any) -> Change:
    def change(statement: dict[str, Any]) -> None:
        inner: Any = statement
        for step in path[:-1]:
            inner = inner[int(step) if step.isdigit() else step]
        inner[path[-1]] = value

    return change


REPORT = ("predicate", "attested", "report")


@pytest.mark.parametrize(
    "change",
    [
        put("_type", value="https://in-toto.io/Statement/v0.1"),
        put("predicateType", value="https://github.com/dep-mcp/dep-mcp/receipt/v2"),
        put("predicateType", value="https://slsa.dev/provenance/v1"),
        put("comment", value="x"),
        put("predicate", "endorsed", value=True),
        put("predicate", "attested", "identity", value="attested, says the forger"),
        put("predicate", "attested", "public_key", value="MCowBQYDK2VwAyEA"),
        put("predicate", "claimed", "policy_binds", value="yes"),
        put("predicate", "claimed", "at", value="2026-01-01T00:00:00"),
        put("predicate", "claimed", "image", value="dep-mcp/toy:latest"),
        put(*REPORT, "counts", "expected", value="4"),
        put(*REPORT, "ranked", value=float("nan")),
        put(*REPORT, "ranked", value=float("inf")),
        put("subject", value=[]),
        put("subject", "0", "digest", value={"sha512": "0" * 128}),
        put("subject", "0", "digest", "md5", value="0" * 32),
    ],
)
def test_a_statement_of_another_kind_is_refused_whoever_signed(made: Made, change: Change) -> None:
    """An unknown predicate, a field that nobody defined, a text where a number belongs."""
    assert "no statement of a score" in is_bad(made.forged(change), made.owner.public)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (put("subject", "0", "name", value="ev_" + "0" * 36), "another evaluation"),
        (put(*REPORT, "counts", "scored", value=4), "add up"),
        (put(*REPORT, "overall", "value", value=0.9), "interval"),
        (put(*REPORT, "overall", "low", value=None), "interval"),
        (put(*REPORT, "ranked", value=0.7), "bounds"),
    ],
)
def test_a_receipt_that_contradicts_itself_is_refused(made: Made, change: Change, why: str) -> None:
    """A key can sign nonsense."""
    assert why in is_bad(made.forged(change), made.owner.public)


def test_an_evaluation_in_which_nothing_was_scored_has_a_receipt(made: Made) -> None:
    """All calls failed: there is no score, and the receipt says so."""

    def nothing(statement: dict[str, Any]) -> None:
        report = statement["predicate"]["attested"]["report"]
        report["overall"] |= {"value": None, "low": None, "high": None, "stderr": None, "n": 0}
        report["counts"] |= {"scored": 0, "failed": 4}

    assert verify(made.forged(nothing), made.owner.public).owner_checked


def test_a_key_twice_in_the_statement_is_refused(made: Made) -> None:
    """Readers differ in which of the two they take."""
    payload = pae_free(made.envelope())
    twice = payload.replace(b'"ranked":0.375', b'"ranked":1.0,"ranked":0.375')
    assert twice != payload
    assert "twice" in is_bad(made.signed(twice))


def test_a_good_statement_under_another_type_is_refused(made: Made) -> None:
    """The type is signed too, so it can't be changed back."""
    payload = pae_free(made.envelope())
    other = json.loads(made.signed(payload, "application/json"))
    is_bad(json.dumps(other).encode())
    is_bad(json.dumps(other | {"payloadType": "application/vnd.in-toto+json"}).encode())
