"""Splitting an attached stream, whatever the sizes in which it arrives."""

import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.containers.frames import (
    STDERR,
    STDOUT,
    BadFrameError,
    FrameParser,
    LineSplitter,
    LineTooLongError,
    Tail,
)

FRAMES = st.lists(st.tuples(st.sampled_from([0, STDOUT, STDERR, 3]), st.binary(max_size=40)), max_size=20)


def a_frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(frames=FRAMES, size=st.integers(1, 50))
def test_frames_survive_any_chunking(frames: list[tuple[int, bytes]], size: int) -> None:
    """The engine and the network cut the stream where they like; no byte may change its stream or order."""
    parser = FrameParser()
    wire = b"".join(a_frame(*frame) for frame in frames)

    got = [each for piece in pieces(wire, size) for each in parser.feed(piece)]

    for stream in range(4):
        sent = b"".join(payload for of, payload in frames if of == stream)
        assert b"".join(payload for of, payload in got if of == stream) == sent


@given(text=st.binary(max_size=200), size=st.integers(1, 50))
def test_lines_survive_any_chunking(text: bytes, size: int) -> None:
    """Lines are what was between newlines; what never got its newline is no line."""
    splitter = LineSplitter(limit_bytes=1000)

    got = [line for piece in pieces(text, size) for line in splitter.feed(piece)]

    assert got == text.split(b"\n")[:-1]


def test_a_large_line_costs_no_more_a_byte() -> None:
    """A page of items is one line of megabytes; joining it again at each piece would be quadratic."""
    splitter = LineSplitter(limit_bytes=1 << 30)
    piece = b"x" * 4096
    began = time.perf_counter()

    lines = [line for _ in range(16_384) for line in splitter.feed(piece)] + splitter.feed(b"\n")

    assert [len(line) for line in lines] == [64 << 20]
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("header", [b"HTTP/1.1", b"\x04\0\0\0\0\0\0\1", b"\x01\0\0\1\0\0\0\1"])
def test_what_is_no_frame_is_refused(header: bytes) -> None:
    """Guessing on would give the client garbage as messages."""
    with pytest.raises(BadFrameError):
        list(FrameParser().feed(header))


def test_an_endless_line_is_refused() -> None:
    """A container that never sends a newline must not fill the host's memory."""
    splitter = LineSplitter(limit_bytes=10)
    splitter.feed(b"12345")

    with pytest.raises(LineTooLongError):
        splitter.feed(b"678901")


@pytest.mark.parametrize("piece", [b"12345678901\n", b"1\n12345678901", b"1\n12345678901\n2\n"])
def test_a_line_over_the_limit_is_refused_wherever_it_lies(piece: bytes) -> None:
    """Where the pieces are cut must not decide what is a line."""
    with pytest.raises(LineTooLongError):
        LineSplitter(limit_bytes=10).feed(piece)


def test_a_line_in_small_pieces_takes_no_more_than_its_bytes() -> None:
    """A program that writes two bytes at a time would otherwise take thirty times as much of the host's memory."""
    splitter = LineSplitter(limit_bytes=1 << 20)
    tracemalloc.start()
    try:
        for number in range(1 << 18):
            splitter.feed(bytes((97 + number % 7, 98)))
        held, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert held < 1 << 20


@given(parts=st.lists(st.binary(max_size=30)))
def test_a_tail_is_the_end(parts: list[bytes]) -> None:
    """The last words say why a container died; the rest isn't kept."""
    tail = Tail(limit_bytes=20)
    for part in parts:
        tail.add(part)

    assert tail.text() == b"".join(parts)[-20:].decode(errors="replace")
