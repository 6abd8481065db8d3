"""Encrypted bundles in memory: what goes in comes out, and nothing else opens or passes."""

import base64
import hashlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import pyrage
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import DatasetCard, Open, Recipient, Sealed, new_evaluation_id, new_seed
from dep_mcp.protocol.errors import CardError, DataError, GeneratedError, WrongKeyError
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, Draw, SealedItem
from dep_mcp.server.bundle import SEALED, Bundle
from dep_mcp.server.loading import load_session
from dep_mcp.server.sealing import receive, seal, unseal

CARD = {"name": "q", "version": "1", "title": "t", "description": "d", "license": "x", "source": "s"}
CANARY = "2a1c0f52-6a4e-4c0a-9d0f-0d3f4a5b6c7d"


class Quiz(Benchmark):
    scorer = ExactMatch()
    size = 3

    def items(self, draw: Draw) -> Iterator[SealedItem]:  # noqa: ARG002 (they are fixed)
        for number in range(self.size):
            yield SealedItem(f"q-{number}", f"\N{SNOWMAN} {number}?\n", {"x": ["\0", number]}, subtask="ab"[number % 2])


def key() -> tuple[str, Recipient]:
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def sealed(recipient: Recipient, kind: type[Benchmark] = Quiz, canary: str | None = CANARY) -> tuple[bytes, Sealed]:
    out = io.BytesIO()
    card = DatasetCard.model_validate(CARD | ({"canary": canary} if canary else {}))
    said = seal(kind(card, Path()), recipient, out)
    return b"".join(map(base64.b64decode, out.getvalue().splitlines())), said


@pytest.mark.parametrize("size", [1, 3, 5000])
def test_what_was_sealed_comes_out_as_it_was(tmp_path: Path, size: int) -> None:
    """Rows, ids, sub-tasks, digest and canary; over many of the cipher's chunks too."""
    secret, recipient = key()
    kind = type("Sized", (Quiz,), {"size": size})
    bundle, said = sealed(recipient, kind)
    (tmp_path / SEALED).write_bytes(bundle)
    plain = Bundle.build(kind(DatasetCard.model_validate(CARD), Path()).items(Draw()))
    found = unseal(tmp_path, secret)
    assert list(found.whole_rows()) == list(plain.whole_rows())
    assert found.digest == plain.digest
    assert said == Sealed(
        recipient=recipient, sha256=hashlib.sha256(bundle).hexdigest(), items=size, tasks=("a", "b")[:size]
    )
    assert b'"q-0"' not in bundle


def test_no_other_key_opens_it(tmp_path: Path) -> None:
    """Nor none, nor a broken one; and no refusal repeats a key."""
    _, recipient = key()
    (tmp_path / SEALED).write_bytes(sealed(recipient)[0])
    for other in (None, key()[0], "AGE-SECRET-KEY-1" + "Q" * 58):
        with pytest.raises(WrongKeyError) as refused:
            unseal(tmp_path, other)
        assert "AGE-" not in refused.value.detail


SECRET, RECIPIENT = key()
BUNDLE = sealed(RECIPIENT)[0]


@given(place=st.integers(0, len(BUNDLE) - 1), change=st.integers(1, 255))
def test_a_byte_changed_anywhere_is_noticed(tmp_path_factory: pytest.TempPathFactory, place: int, change: int) -> None:
    """Whoever stores or carries the folder can't change an item or a target in it."""
    folder = tmp_path_factory.mktemp("changed")
    (folder / SEALED).write_bytes(BUNDLE[:place] + bytes([BUNDLE[place] ^ change]) + BUNDLE[place + 1 :])
    with pytest.raises((WrongKeyError, DataError)):
        unseal(folder, SECRET)


@pytest.mark.parametrize("length", [0, 1, 100, len(BUNDLE) - 1])
def test_a_bundle_that_is_cut_off_is_noticed(tmp_path: Path, length: int) -> None:
    """A benchmark with fewer items is another benchmark."""
    (tmp_path / SEALED).write_bytes(BUNDLE[:length])
    with pytest.raises((WrongKeyError, DataError)):
        unseal(tmp_path, SECRET)


@pytest.mark.parametrize("plain", [b"", b'{"format":1,"canary":"x"}\n["half', b'{"format":1,"canary":"x"}\n'])
def test_an_empty_or_half_written_bundle_is_noticed(tmp_path: Path, plain: bytes) -> None:
    """Sealed rightly to this key, by a program that broke off."""
    (tmp_path / SEALED).write_bytes(pyrage.encrypt(plain, [pyrage.x25519.Recipient.from_str(RECIPIENT)]))
    with pytest.raises(DataError):
        unseal(tmp_path, SECRET)


def test_what_cannot_be_sealed(tmp_path: Path) -> None:
    """Without a canary leaked data can't be found; generated items have no file to be sealed."""
    with pytest.raises(CardError, match="canary"):
        sealed(RECIPIENT, canary=None)
    with pytest.raises(GeneratedError):
        sealed(RECIPIENT, type("Generated", (Quiz,), {"generated": True}))
    with pytest.raises(DataError, match="cut off"):
        receive(io.BytesIO(b"short"), tmp_path, {"test.jsonl": 6}, tmp_path / "mirror")


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[], Path]:
    """The folder of a sealed benchmark, as an image holds it."""

    def make() -> Path:
        bundle, said = sealed(RECIPIENT)
        (tmp_path / SEALED).write_bytes(bundle)
        (tmp_path / "benchmark.py").write_text(
            "from dep_mcp.scoring import ExactMatch\nfrom dep_mcp.server import Benchmark\n"
            "class Quiz(Benchmark):\n    scorer = ExactMatch()\n"
        )
        card = DatasetCard.model_validate(CARD | {"canary": CANARY, "sealed": said})
        (tmp_path / "dataset_card.yaml").write_text(card.model_dump_json())
        return tmp_path

    return make


def test_a_session_over_it_says_that_it_is_sealed(folder: Callable[[], Path]) -> None:
    """Before the key and after; the receipt says so too, and the session keeps no key."""
    session = load_session(folder())
    before = session.describe()
    assert (before.sealed, before.tasks, str(before.canary)) == (True, ("a", "b"), CANARY)
    opening = Open(evaluation_id=new_evaluation_id(), seed=new_seed(), task="a", data_key=SECRET)
    assert session.open(opening).items == 2
    assert session.describe() == before
    assert session.open(opening).items == 2, "a repeated open is the same"
    assert SECRET not in repr(vars(session))
    assert SECRET not in repr(opening)
