"""Encrypts a benchmark's items and targets, and decrypts them into memory: age (age-encryption.org/v1) over JSON lines.

The first line names the format and the canary; each further one is a row of the index. Neither a key nor a plain
row is ever written to a file, and what the library says of a key that doesn't fit isn't repeated.
"""

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from dep_mcp.protocol import DataKey, Planting, Recipient, Sealed
from dep_mcp.protocol.errors import CardError, DataError, GeneratedError, WrongKeyError
from dep_mcp.server.benchmark import Benchmark, Draw
from dep_mcp.server.bundle import SEALED, Bundle, Index

_FORMAT = 1
_LINE_BYTES = 3 << 16


def seal(benchmark: Benchmark, recipient: Recipient, out: IO[bytes]) -> Sealed:
    """Write the encrypted bundle of a benchmark's items as lines of base64.

    Raises:
        CardError: Its card has no canary.
        GeneratedError: It generates its items.
        DataError: They can't be indexed.
    """
    import pyrage

    if benchmark.generated:
        msg = "its items are generated for each evaluation: no target lies in its image, so there is nothing to seal"
        raise GeneratedError(msg)
    if benchmark.card.canary is None:
        msg = "the card has no canary, by which data that leaked can be searched for"
        raise CardError(msg)
    bundle = Bundle.build(benchmark.items(Draw()))
    planting: Planting | None = getattr(benchmark, "planting", None)
    header: dict[str, object] = {"format": _FORMAT, "canary": str(benchmark.card.canary)}
    header |= {"planting": planting.model_dump()} if planting else {}
    lines = _Base64Lines(out)
    pyrage.encrypt_io(_Lines(_plain(bundle, header)), lines, [pyrage.x25519.Recipient.from_str(recipient)])
    return Sealed(recipient=recipient, sha256=lines.finished(), items=len(bundle.subtasks), tasks=tuple(bundle.tasks()))


def unseal(folder: Path, key: DataKey | None) -> Bundle:
    """Decrypt the folder's bundle into memory.

    Raises:
        WrongKeyError: No key, or another one's; or the bundle was damaged.
    """
    import pyrage

    if key is None:
        msg = "this benchmark is sealed: whoever opens it gives its data key"
        raise WrongKeyError(msg)
    rows = _Rows()
    try:
        with (folder / SEALED).open("rb") as file:
            pyrage.decrypt_io(file, rows, [pyrage.x25519.Identity.from_str(key)])
    except (pyrage.DecryptError, pyrage.IdentityError, OSError):  # an OSError where a chunk isn't authentic
        msg = "the data key isn't the one that this benchmark was sealed with, or its bundle is damaged"
        raise WrongKeyError(msg) from None
    return rows.finished()


def _plain(bundle: Bundle, header: Mapping[str, object]) -> Iterator[bytes]:
    yield json.dumps(header).encode() + b"\n"
    for row in bundle.whole_rows():
        yield json.dumps(row).encode() + b"\n"


class _Lines:
    """What the library reads from."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while size < 0 or len(self._rest) < size:
            line = next(self._lines, None)
            if line is None:
                break
            self._rest += line
        size = len(self._rest) if size < 0 else size
        found, self._rest = self._rest[:size], self._rest[size:]
        return found


class _Base64Lines:
    """What the library writes to, on the way out of the container."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._rest = bytearray()
        self._sha256 = hashlib.sha256()

    def write(self, data: bytes) -> int:
        self._sha256.update(data)
        self._rest += data
        while len(self._rest) >= _LINE_BYTES:
            self._line(_LINE_BYTES)
        return len(data)

    def _line(self, size: int) -> None:
        self._out.write(base64.b64encode(self._rest[:size]) + b"\n")
        del self._rest[:size]

    def flush(self) -> None:
        self._out.flush()

    def finished(self) -> str:
        self._line(len(self._rest))
        self.flush()
        return self._sha256.hexdigest()


class _Rows:
    """What the library writes the plain text to: it goes into the index line by line, so that it is there but once."""

    def __init__(self) -> None:
        self._index: Index | None = None
        self._rest = b""

    def write(self, data: bytes) -> int:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if self._index is None:
                self._index = Index(header=line.decode())
            else:
                self._index.add(*json.loads(line))
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def finished(self) -> Bundle:
        if self._index is None or self._rest:
            msg = "the encrypted bundle is cut off"
            raise DataError(msg)
        return self._index.finished()


def receive(source: IO[bytes], folder: Path, files: dict[str, int], into: Path) -> None:
    """Take data files from the input into memory (`into` lies on a tmpfs), beside links to the benchmark's own files.

    Raises:
        DataError: The input ended early.
    """
    (into / "data").mkdir(parents=True)
    for path in folder.iterdir():
        if path.name != "data":
            (into / path.name).symlink_to(path)
    for name, size in files.items():
        left = size
        with (into / "data" / name).open("wb") as file:
            while left > 0:
                chunk = source.read(min(left, 1 << 20))
                if not chunk:
                    msg = f"{name} is cut off"
                    raise DataError(msg)
                file.write(chunk)
                left -= len(chunk)


def kept_output() -> IO[bytes]:
    """Keep the way out for this room: what an author's code prints while it sees the data goes nowhere."""
    out = os.fdopen(os.dup(1), "wb")
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    return out
