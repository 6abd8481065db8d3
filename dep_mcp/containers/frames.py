"""Split what an attached container sends: frames of two streams, then lines. Pure; no I/O.

Both work on pieces as they come and touch each byte a constant number of times, so that a line of many
megabytes costs no more per byte than a short one.
"""

from collections.abc import Iterator

STDOUT, STDERR = 1, 2
HEADER_BYTES = 8
HIGHEST_STREAM = 3
"""Stream 3 carries the engine's own errors."""


class BadFrameError(ValueError):
    """The bytes aren't frames of the engine's attach protocol."""


class LineTooLongError(ValueError):
    """A line grew past the limit."""


class FrameParser:
    """Splits `[stream, 0, 0, 0, length (4 bytes, big endian)] payload` frames, fed in pieces of any size."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream = 0
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, piece of payload), in order; a payload may come in several pieces.

        Raises:
            BadFrameError: A header names no known stream.
        """
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                yield self._stream, piece
            else:
                needed = HEADER_BYTES - len(self._header)
                self._header += data[at : at + needed]
                at += needed
                self._read_header()

    def _read_header(self) -> None:
        if len(self._header) < HEADER_BYTES:
            return
        if self._header[0] > HIGHEST_STREAM or any(self._header[1:4]):
            message = f"not a frame header: {self._header.hex()}"
            raise BadFrameError(message)
        self._stream = self._header[0]
        self._left = int.from_bytes(self._header[4:], "big")
        self._header.clear()


class LineSplitter:
    """Joins pieces into whole lines, without their newline; what never got a newline is never a line.

    Args:
        limit_bytes: Longest line; a container that never sends a newline must not fill the host's memory.
    """

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._line = bytearray()  # not a list of pieces: of two bytes each, they would take thirty times the memory

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that this piece completes.

        Raises:
            LineTooLongError: One of them, or the line in progress, exceeds the limit.
        """
        first, *others = piece.split(b"\n")
        self._line += first
        lines = []
        if others:
            lines = [bytes(self._line), *others[:-1]]
            self._line = bytearray(others[-1])
        if len(self._line) > self._limit or any(len(line) > self._limit for line in lines):
            message = f"a line of more than {self._limit} bytes"
            raise LineTooLongError(message)
        return lines


class Tail:
    """The last bytes of a stream."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bytes = bytearray()

    def add(self, piece: bytes) -> None:
        """Append, forgetting what no longer fits."""
        self._bytes += piece[-self._limit :]
        del self._bytes[: -self._limit]

    def text(self) -> str:
        """As text; bytes that aren't UTF-8 are shown as �."""
        return self._bytes.decode(errors="replace")
