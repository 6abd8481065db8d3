"""Spoils recorded messages, in bulk and from a seed: hypothesis would take hours for a million."""

import json
import resource
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "0", "x" * 257, "\0", "\r", "\u2028", "\U0010ffff", "../../etc/passwd", "file:///proc/self/environ", "%s%n",
    "${jndi:x}", "ev_" + "0" * 36, "i-0", [], {}, [[]], {"": {}}, [None] * 101, {"kind": "text"},
)  # fmt: skip
RAW = {
    '"@deep list@"': "[" * 5000 + "]" * 5000,
    '"@deep object@"': '{"a":' * 3000 + "1" + "}" * 3000,
    '"@long number@"': "9" * 5000,
    '"@long fraction@"': "0." + "3" * 5000,
    '"@huge@"': "1e999",
    '"@half a pair@"': '"\\ud800"',
    '"@twice@"': '{"a":1,"a":2}',
    '"@long text@"': '"' + "é" * 20_000 + '"',
}
"""What `json.dumps` doesn't write."""
TOKENS = (
    b"\n", b"\r", b"\0", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\xff", b"\xc3", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"\xf4\x90\x80\x80", b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"-", b"9" * 400,
    b"[" * 300, b'{"a":' * 300, b'"id":1,', b'"method":"ping",', b'"result":{},', b'"error":{},', b"x" * 3000,
    b"\x01\0\0\0\0\0\0\x05", b"\x02\0\0\0\xff\xff\xff\xff", b"\x03\0\0\0\0\0\0\0", b"\x04\0\0\0\0\0\0\x01",
    b"HTTP/1.1 500 ", b"\x01\0\0\x01", b"\n" * 500,
)  # fmt: skip


def spoiled(data: bytes, other: bytes, rng: Random) -> bytes:
    """A message with one to four changes to its bytes; some take a piece of another message."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        until = min(len(data), at + rng.choice((1, 1, 4, 40)))
        match rng.randrange(7):
            case 0:
                data = data[:at] + bytes([rng.randrange(256)]) + data[until:]
            case 1:
                data = data[:at] + data[until:]
            case 2:
                data = data[:until] + data[at:]
            case 3:
                data = data[:at] + rng.choice(TOKENS) + data[until:]
            case 4:
                data = data[:at] + rng.choice(TOKENS) + data[at:]
            case 5:
                data = data[:at]
            case _:
                data = data[:at] + other[rng.randrange(len(other) + 1) :]
    return data


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with each key or index in it."""
    keys: Sequence[Any] = ()
    if isinstance(value, dict):
        keys = tuple(value)
    elif isinstance(value, list):
        keys = range(len(value))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def bent(value: Any, rng: Random) -> str:
    """JSON with one to three changes to what it says, still well-formed for the most part."""
    value = deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            break
        holder, key = rng.choice(places)
        match rng.randrange(8):
            case 0 | 1 | 2:
                holder[key] = deepcopy(rng.choice(ODD))
            case 3:
                holder[key] = json.loads(rng.choice(list(RAW)))
            case 4:
                del holder[key]
            case 5 if isinstance(holder, dict):
                holder[rng.choice(("", "target", "score", "id", "__class__", "a" * 300))] = deepcopy(rng.choice(ODD))
            case 6 if isinstance(holder, dict):
                holder[str(key)[:-1] + rng.choice("\0é_")] = holder.pop(key)
            case _:
                other, from_ = rng.choice(places)
                holder[key] = deepcopy(other.get(from_) if isinstance(other, dict) else other)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    for mark, raw in RAW.items():
        text = text.replace(mark, raw)
    return text


def memory(pid: int | str = "self") -> int:
    """Bytes of memory that a process holds now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
