"""The decoder of an attached container's stream, from bytes to replies, against one that reads all at once."""

import json
from collections.abc import Callable, Iterator
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client

from dep_mcp.client import OperatorClient, line_transport
from dep_mcp.client.transports import parsed_reply
from dep_mcp.containers import ContainerSpec
from dep_mcp.containers.frames import (
    STDERR,
    STDOUT,
    BadFrameError,
    FrameParser,
    LineSplitter,
    LineTooLongError,
    Tail,
)
from dep_mcp.protocol import Open, Submission, TextAnswer, new_evaluation_id
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import SealedItem
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeContainer, FakeRuntime
from tests.conftest import SEED, SOAK
from tests.fuzz.mutation import memory, spoiled

INPUTS = 500_000 if SOAK else 50_000
"""For each of two eras of the protocol."""
LIMIT = 2048
"""Longest line here, so that many inputs pass it."""
GROWTH = 64 << 20

Decoded = tuple[list[bytes], str, str]
"""Lines, the tail of what isn't output, and the error that ended it."""


def framed(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def decoded(chunks: Iterator[bytes]) -> Decoded:
    """What the product makes of a stream that comes in these chunks."""
    frames, splitter, tail = FrameParser(), LineSplitter(limit_bytes=LIMIT), Tail(limit_bytes=100)
    lines: list[bytes] = []
    try:
        for chunk in chunks:
            for stream, piece in frames.feed(chunk):
                if stream == STDOUT:
                    lines += splitter.feed(piece)
                else:
                    tail.add(piece)
    except (BadFrameError, LineTooLongError) as error:
        return lines, tail.text(), type(error).__name__
    return lines, tail.text(), ""


def expected(wire: bytes) -> Decoded:
    """What a stream says, by a reader that has all of it: frame after frame, then line after line."""
    out, rest, at, error = b"", b"", 0, ""
    while not error and len(wire) - at >= 8:
        size = int.from_bytes(wire[at + 4 : at + 8], "big")
        if wire[at] > 3 or wire[at + 1 : at + 4] != b"\0\0\0":
            error = "BadFrameError"
        elif wire[at] == STDOUT:
            out += wire[at + 8 : at + 8 + size]
        else:
            rest += wire[at + 8 : at + 8 + size]
        at += 8 + size
    lines = out.split(b"\n")
    if any(len(line) > LIMIT for line in lines):
        error = "LineTooLongError"
    return lines[:-1], rest[-100:].decode(errors="replace"), error


def chunks(wire: bytes, rng: Random) -> Iterator[bytes]:
    """As the network cuts it."""
    most = rng.choice((1, 7, 8, 9, 64, 1024, 1 << 20)) if len(wire) < 300 else rng.choice((64, 1024, 1 << 20))
    at = 0
    while at < len(wire):
        size = rng.randrange(1, most + 1)
        yield wire[at : at + size]
        at += size


def rightly_parsed(line: bytes, messages: list[bytes]) -> bool:
    """Whether a line that is a reply was taken for the reply that it is, and another one for none."""
    reply = parsed_reply(line)
    if reply is None:
        return not (line.startswith(b'{"jsonrpc"') and line + b"\n" in messages)
    said = json.loads(line)
    return bool(said["id"] == reply.id and ("error" in said or "result" in said))


def disagreement(seed: int, messages: list[bytes], decode: Callable[[Iterator[bytes]], Decoded]) -> str:
    """What is wrong about how the input of a seed is decoded; empty if nothing is."""
    rng = Random(seed)
    wire = b"".join(
        framed(rng.choice((STDOUT, STDOUT, STDOUT, STDERR)), rng.choice(messages))
        for _ in range(rng.choice((1, 1, 2, 4)))
    )
    wire = spoiled(wire, rng.choice(messages), rng)
    try:
        lines, tail, error = decode(chunks(wire, rng))
        wrong = [line for line in lines if not rightly_parsed(line, messages)]
        if wrong:
            return f"seed {seed}: wrongly parsed {wrong}"
    except Exception as crash:  # noqa: BLE001 (told)
        return f"seed {seed}: {type(crash).__name__}: {crash}; input {wire!r}"
    well = expected(wire)
    agrees = (lines, tail, error) == well
    if error == well[2] == "LineTooLongError":  # how many of the lines before it got through is up to the chunks
        agrees = lines == well[0][: len(lines)] and all(len(line) <= LIMIT for line in lines)
    return "" if agrees else f"seed {seed}: {(lines, tail, error)} instead of {well}; input {wire!r}"


@pytest.fixture(params=["2026-07-28", "legacy"])
async def messages(request: pytest.FixtureRequest, make_session: Callable[..., SealedSession]) -> list[bytes]:
    """Lines that real sessions sent, and what stands on a standard error."""
    opening = Open(evaluation_id=new_evaluation_id(), seed=SEED)
    session = make_session([SealedItem(f"i-{n}", f"Größe {n}?", "t") for n in range(5)], ExactMatch())
    async with FakeRuntime(lambda: session).start(ContainerSpec(image="none", labels={})) as container:
        async with Client(line_transport(container), mode=request.param, cache=None) as client:
            operator = OperatorClient(client)
            await client.list_tools()
            await operator.open(opening)
            subject = operator.subject(opening.evaluation_id)
            await subject.get_items()
            await subject.submit(tuple(Submission(item_id=f"i-{n}", answer=TextAnswer(text="x")) for n in range(5)))
            await subject.score()
        assert isinstance(container, FakeContainer)
        lines = [line + b"\n" for line in container.left if len(line) < LIMIT]
    assert len(lines) >= 3
    return [*lines, b"Traceback (most recent call last):\n", b"\n", b"x", b""]


def test_spoiled_streams_are_decoded_as_one_that_reads_all_at_once_does(messages: list[bytes]) -> None:
    """Frames of any size, cut anywhere, with broken headers, endless lines, and text that is none."""
    before, wrong = memory(), []
    for seed in range(INPUTS):
        wrong += filter(None, [disagreement(seed, messages, decoded)])
        assert len(wrong) < 5, "\n".join(wrong)

    assert wrong == []
    assert memory() - before < GROWTH


def test_the_comparison_finds_a_decoder_that_loses_a_byte(messages: list[bytes]) -> None:
    """One that forgets what a chunk cuts off, and one that takes the length for what it isn't."""

    def forgetful(stream: Iterator[bytes]) -> Decoded:
        return decoded(chunk for chunk in stream if len(chunk) != 3)

    def trusting(stream: Iterator[bytes]) -> Decoded:
        return decoded(chunk.replace(b"\x04", b"\x01") for chunk in stream)

    for broken in (forgetful, trusting):
        assert any(disagreement(seed, messages, broken) for seed in range(5000))


@given(
    wire=st.lists(
        st.one_of(st.binary(max_size=60), st.builds(framed, st.integers(0, 4), st.binary(max_size=60))), max_size=20
    )
)
def test_any_bytes_are_decoded_as_one_that_reads_all_at_once_does(wire: list[bytes]) -> None:
    """What no recorded message leads to."""
    assert decoded(iter(wire)) == expected(b"".join(wire))
