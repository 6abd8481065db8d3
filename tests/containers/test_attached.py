"""An attached connection without an engine: a socket pair, with the test at the other end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from dep_mcp.containers.attached import BUFFER_BYTES, AttachedContainer
from dep_mcp.containers.frames import STDERR, STDOUT
from dep_mcp.containers.wire import Wire
from dep_mcp.protocol.errors import ContainerLostError


@dataclass
class Ends:
    """Both ends of an attach."""

    container: AttachedContainer
    far: socket.socket
    exited: "asyncio.Future[int | None]"

    async def send(self, payload: bytes, stream: int = STDOUT) -> None:
        frame = bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload
        await asyncio.get_running_loop().sock_sendall(self.far, frame)

    def die(self, status: int | None) -> None:
        self.exited.set_result(status)
        self.far.close()


@pytest.fixture
async def ends() -> AsyncIterator[Ends]:
    near, far = socket.socketpair()
    far.setblocking(False)
    exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
    container = AttachedContainer("c" * 64, Wire(near), exited)
    yield Ends(container, far, exited)
    await container.hang_up(0.1)
    far.close()


async def test_lines_come_without_their_newline(ends: Ends) -> None:
    """And errors don't mix with them."""
    await ends.send(b"one\ntw")
    await ends.send(b"noise\n", STDERR)
    await ends.send(b"o\nhalf")
    ends.die(0)

    assert [line async for line in ends.container.lines()] == [b"one", b"two"]
    assert ends.container.stderr_tail() == "noise\n"


async def test_unread_lines_stop_the_sender(ends: Ends) -> None:
    """Memory is bounded by the buffer, not by what a container sends."""
    line = b"x" * 65_535 + b"\n"
    sent = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while sent < 64 * BUFFER_BYTES:
                await ends.send(line)
                sent += len(line)

    assert BUFFER_BYTES < sent < 8 * BUFFER_BYTES
    assert await anext(ends.container.lines()) == line[:-1]


async def test_unread_empty_lines_stop_the_sender_too(ends: Ends) -> None:
    """A line without a byte in it takes memory all the same."""
    lines = b"\n" * 65_536
    sent = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(0.5):
            while sent < 64 * BUFFER_BYTES:
                await ends.send(lines)
                sent += len(lines)

    assert sent < 2 * BUFFER_BYTES
    assert await anext(ends.container.lines()) == b""


async def test_errors_are_drained_without_a_reader(ends: Ends) -> None:
    """A chatty library must not stop its server."""
    for _ in range(1000):
        await ends.send(b"e" * 10_000, STDERR)
    ends.die(1)

    assert [line async for line in ends.container.lines()] == []
    assert ends.container.stderr_tail() == "e" * 8192


async def test_a_write_after_the_end_is_a_loss(ends: Ends) -> None:
    """With the status, which says whether it crashed or was killed."""
    ends.die(137)
    assert [line async for line in ends.container.lines()] == []

    with pytest.raises(ContainerLostError, match=r"137.*memory"):
        await ends.container.write(b"x\n")


async def test_writes_do_not_mix_and_a_cancelled_one_goes_out_whole(ends: Ends) -> None:
    """Half a message would spoil the next one for good."""
    loop, size = asyncio.get_running_loop(), 4 << 20
    first = asyncio.create_task(ends.container.write(b"a" * size))
    second = asyncio.create_task(ends.container.write(b"b" * size))
    await asyncio.sleep(0.01)
    first.cancel()
    got = bytearray()
    while len(got) < 2 * size:
        got += await loop.sock_recv(ends.far, 1 << 20)
    await second

    assert first.cancelled()
    assert got == b"a" * size + b"b" * size


async def test_a_write_that_waits_ends_with_the_connection(ends: Ends) -> None:
    """As when the block is left while a message is on its way."""
    writing = asyncio.create_task(ends.container.write(b"x" * (8 << 20)))
    await asyncio.sleep(0.01)
    ends.exited.set_result(0)
    await ends.container.hang_up(0.1)

    with pytest.raises(ContainerLostError):
        await writing


async def test_what_is_no_frame_ends_in_a_loss(ends: Ends) -> None:
    """An engine that multiplexes otherwise must not be guessed at."""
    await asyncio.get_running_loop().sock_sendall(ends.far, b"HTTP/1.1 500 oops")

    with pytest.raises(ContainerLostError, match="can't be read"):
        [line async for line in ends.container.lines()]


async def test_a_running_container_has_no_status(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """The question is answered within seconds either way."""
    monkeypatch.setattr("dep_mcp.containers.attached.EXIT_WAIT_S", 0.01)

    assert await ends.container.exit_status() is None


async def test_a_connection_that_outlives_its_container_is_ended(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine may not close it while it is blocked on input that nobody reads."""
    monkeypatch.setattr("dep_mcp.containers.attached.QUIET_S", 0.1)
    writing = asyncio.create_task(ends.container.write(b"x" * (8 << 20)))
    await ends.send(b"last\n")
    ends.exited.set_result(9)

    async with asyncio.timeout(10):
        assert [line async for line in ends.container.lines()] == [b"last"]
        with pytest.raises(ContainerLostError, match="status 9"):
            await writing


async def test_output_of_an_ended_container_waits_for_its_reader(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended, but what it said is still on its way and must not be cut off."""
    monkeypatch.setattr("dep_mcp.containers.attached.QUIET_S", 0.05)
    line = b"x" * 99_999
    sending = asyncio.create_task(ends.send((line + b"\n") * 100))
    ends.exited.set_result(0)
    await asyncio.sleep(0.2)

    assert [each async for each in ends.container.lines()] == [line] * 100
    await sending
