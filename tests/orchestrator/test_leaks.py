"""The search for canaries: every form that a careless program gives them, and no other text."""

import base64
import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import pytest

from dep_mcp.orchestrator.leaks import Search
from dep_mcp.protocol import canary, canary_ends

SEED = "5eed" * 16
CANARY = canary(SEED, 17)
HALF = CANARY[: len(CANARY) // 2]


def packed_zip(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gold.txt", data)
    return out.getvalue()


def packed_tar(data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo("layer/gold.gz")
        content = gzip.compress(data)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


FORMS: dict[str, Callable[[str], bytes]] = {
    "plain": str.encode,
    "in JSON": lambda text: b'{"detail":"expected ' + text.encode() + b'"}',
    "the first half": lambda _text: HALF.encode(),
    "the second half": lambda text: text[len(HALF) :].encode(),
    "reversed": lambda text: text[::-1].encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "UTF-32": lambda text: text.encode("utf-32-le"),
    "spaced": lambda text: " ".join(text).encode(),
    "a list of characters": lambda text: repr(list(text)).encode(),
    "hexadecimal": lambda text: text.encode().hex().encode(),
    "HEXADECIMAL": lambda text: text.encode().hex().upper().encode(),
    **{
        f"base64, {shift} bytes on": lambda text, shift=shift: b"log: " + base64.b64encode(b"x" * shift + text.encode())  # type: ignore[misc]
        for shift in range(3)
    },
    "base64 glued to a word": lambda text: b"token" + base64.urlsafe_b64encode(text.encode()),
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())),
    "gzip": lambda text: gzip.compress(text.encode()),
    "gzip in base64": lambda text: b"log: " + base64.b64encode(gzip.compress(text.encode())) + b"\n",
    "zlib in hexadecimal": lambda text: zlib.compress(text.encode()).hex().encode(),
    "bzip2": lambda text: bz2.compress(text.encode()),
    "xz": lambda text: lzma.compress(text.encode()),
    "zip": lambda text: packed_zip(text.encode()),
    "gzip in a layer": lambda text: packed_tar(text.encode()),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_canary_is_found_in_this_form(form: str) -> None:
    """A program that leaks seldom does it in plain text."""
    found = list(Search(*canary_ends(SEED)).leaks("there", FORMS[form](CANARY)))
    assert found
    assert found[0].where.startswith("there")


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_found_where_there_is_none(form: str) -> None:
    """A find is a failure, so the search must not cry wolf at another seed's."""
    other = canary("other", 17) if form != "the first half" else ""
    content = FORMS[form](other) if other else canary("other", 1)[:15].encode()
    assert not list(Search(*canary_ends(SEED)).leaks("there", content))


def test_broken_archives_are_searched_as_they_are() -> None:
    """What left may be cut off anywhere; the search goes on."""
    search = Search(*canary_ends(SEED))
    for magic in (b"\x1f\x8b", b"\x78\x9c", b"BZh9", b"\xfd7zXZ\0", b"PK\3\4"):
        assert not list(search.leaks("there", magic + os.urandom(100)))
        assert list(search.leaks("there", magic + CANARY.encode()))
    assert list(search.leaks("there", gzip.compress(os.urandom(9000) + CANARY.encode() + os.urandom(9000))[:-20]))


def test_a_find_shows_where_it_is() -> None:
    """Whoever mends it has to find the place."""
    (leak, *_) = Search(CANARY[:12]).leaks("stderr", b"the target is " + CANARY.encode())
    assert (leak.where, leak.form) == ("stderr", "plain")
    assert "the target is" in leak.near


def test_canaries_differ_in_the_middle_only() -> None:
    """One search finds all; which item leaked stands between the ends."""
    assert len({canary(SEED, number) for number in range(1000)}) == 1000
    head, tail = canary_ends(SEED)
    assert all(canary(SEED, number).startswith(head) for number in (0, 999_999))
    assert all(canary(SEED, number).endswith(tail) for number in (0, 999_999))
    assert int(canary(SEED, 5)) > 10**29
