"""Searches bytes for canaries, as they are and in the forms that a careless program would put them in. Pure.

What a program encodes with intent (encryption, the order of items, the time of a reply) no search can find.
"""

import binascii
import bz2
import io
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

_DEPTH = 4
_MOST_BYTES = 256 << 20
"""Of what is unpacked from one piece: a small archive may unpack to anything."""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}")
_HEX = re.compile(rb"(?:[0-9a-f]{2}){12,}|(?:[0-9A-F]{2}){12,}")


class _Unpacker(Protocol):
    """What unpacks a cut-off stream as far as it goes."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


@dataclass(frozen=True)
class Leak:
    """A canary, or a part of one, that was found.

    Attributes:
        where: What held it.
        form: How it was written there.
        near: The text around it, to find the place by.
    """

    where: str
    form: str
    near: str


class Search:
    """Looks for words in all their forms.

    Args:
        words: Texts of at least 12 characters.
    """

    def __init__(self, *words: str) -> None:
        self._forms = [(form, needle) for word in words for form, needle in _forms(word)]

    def leaks(self, where: str, data: bytes, *, decode: bool = True) -> Iterator[Leak]:
        """Find words in bytes, and in what is packed or encoded in them; one leak for each form.

        Args:
            where: What to call the bytes.
            data: Of any kind.
            decode: Look into base64 and hexadecimal too, not into archives only.
        """
        seen = set()
        for path, piece in _pieces(where, data, _DEPTH, decode=decode):
            for form, needle in self._forms:
                place = piece.find(needle)
                if place >= 0 and (path, form) not in seen:
                    seen.add((path, form))
                    yield Leak(path, form, repr(piece[max(0, place - 40) : place + len(needle) + 40])[2:-1])


def _forms(word: str) -> Iterator[tuple[str, bytes]]:
    plain = word.encode()
    yield "plain", plain
    yield "reversed", plain[::-1]
    yield "UTF-16", word.encode("utf-16-le")
    yield "UTF-32", word.encode("utf-32-le")
    for separator in (" ", ",", "-", "_", "\n", ", ", "','", "', '", '", "'):
        yield "spaced", separator.join(word).encode()


def _pieces(where: str, data: bytes, depth: int, *, decode: bool) -> Iterator[tuple[str, bytes]]:
    """The bytes, or of an archive what is in it; and whatever can be unpacked or decoded from them."""
    members = list(_members(data)) if depth else []
    for name, member in members:
        yield from _pieces(f"{where} ({name})", member, depth - 1, decode=decode)
    if members:
        return
    yield where, data
    if depth == 0:
        return
    for name, unpacked in _unpacked(data):
        yield from _pieces(f"{where} ({name})", unpacked, depth - 1, decode=decode)
    for name, pattern, decoded in _CODES if decode else ():
        for match in pattern.finditer(data):
            for piece in decoded(match[0]):
                yield from _pieces(f"{where} ({name})", piece, depth - 1, decode=True)


def _base64(text: bytes) -> Iterator[bytes]:
    """At all four alignments: the text before it may be of the same letters."""
    for start in range(4):
        part = text[start:].rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        part = part[: len(part) - (len(part) % 4 == 1)]
        yield binascii.a2b_base64(part + b"=" * (-len(part) % 4))


def _hex(text: bytes) -> Iterator[bytes]:
    yield binascii.unhexlify(text)


_CODES: tuple[tuple[str, re.Pattern[bytes], Callable[[bytes], Iterator[bytes]]], ...] = (
    ("base64", _BASE64, _base64),
    ("hexadecimal", _HEX, _hex),
)
_PACKERS: Mapping[bytes, tuple[str, Callable[[], _Unpacker]]] = {
    b"\x1f\x8b": ("gzip", lambda: zlib.decompressobj(31)),
    b"\x78": ("zlib", zlib.decompressobj),
    b"BZh": ("bzip2", bz2.BZ2Decompressor),
    b"\xfd7zXZ": ("xz", lzma.LZMADecompressor),
}


def _unpacked(data: bytes) -> Iterator[tuple[str, bytes]]:
    for magic, (name, opened) in _PACKERS.items():
        if data.startswith(magic):
            with suppress(OSError, EOFError, ValueError, zlib.error, lzma.LZMAError):
                yield name, opened().decompress(data, _MOST_BYTES)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive; nothing where it is none, or a broken one: then it is searched as it is."""
    try:
        if data.startswith(b"PK\3\4"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                found = [
                    (entry.filename, archive.read(entry)) for entry in archive.infolist() if _fits(entry.file_size)
                ]
        elif data[257:262] == b"ustar":
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                found = [(member.name, _content(tar, member)) for member in tar]
        else:
            return
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError, zipfile.BadZipFile, RuntimeError):
        return
    yield "names", "\n".join(name for name, _ in found).encode()
    yield from found


def _fits(size: int) -> bool:
    return size <= _MOST_BYTES


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member) if member.isfile() else None
    return member.linkname.encode() if file is None else file.read()
