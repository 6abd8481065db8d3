"""A running container behind its attached connection: lines out, bytes in, and how it ended."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator

from dep_mcp.containers.frames import (
    STDOUT,
    BadFrameError,
    FrameParser,
    LineSplitter,
    LineTooLongError,
    Tail,
)
from dep_mcp.containers.wire import Wire
from dep_mcp.protocol.errors import ContainerLostError

BUFFER_BYTES = 1 << 20
"""Of whole lines that nobody has taken yet; beyond it the container waits (its pipe fills)."""

PER_LINE_BYTES = 48
"""What a line takes besides its text, so that empty lines fill the buffer too."""

LINE_BYTES = 64 << 20
EXIT_WAIT_S = 5.0
QUIET_S = 5.0
"""How long an exited container's connection may be silent before it counts as ended."""

KILLED = 137

_log = logging.getLogger(__name__)


class _Lines:
    """Lines between the pump and whoever reads them, bounded in bytes."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._change = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def full(self) -> bool:
        return not self._room.is_set()

    async def room(self) -> None:
        await self._room.wait()

    def add(self, lines: list[bytes]) -> None:
        if self._ended or not lines:
            return
        self._lines.extend(lines)
        self._size += sum(map(len, lines)) + PER_LINE_BYTES * len(lines)
        if self._size > BUFFER_BYTES:
            self._room.clear()
        self._change.set()

    def end(self) -> None:
        """Take no more lines; what is there can still be read."""
        self._ended = True
        self._change.set()
        self._room.set()

    async def take(self) -> bytes | None:
        while not self._lines:
            if self._ended:
                return None
            self._change.clear()
            await self._change.wait()
        line = self._lines.popleft()
        self._size -= len(line) + PER_LINE_BYTES
        if self._size <= BUFFER_BYTES:
            self._room.set()
        return line


class AttachedContainer:
    """Implements the port's `Container`.

    Output and errors share one connection. A task reads it all the time, so errors are drained even while
    nobody reads lines; only a full buffer of lines makes it, and then the container, wait.

    Args:
        container_id: The engine's id.
        wire: Its attached connection; owned from here on.
        exited: Its exit status once it has ended; `None` if the engine couldn't say.
        image: Digest of its image, as inspected.
        stderr_bytes: How much of the end of its standard error is kept.
    """

    def __init__(
        self,
        container_id: str,
        wire: Wire,
        exited: "asyncio.Future[int | None]",
        *,
        image: str = "",
        stderr_bytes: int = 8 * 1024,
    ) -> None:
        self.id = container_id
        self.image = image
        self._wire = wire
        self._exited = exited
        self._lines = _Lines()
        self._tail = Tail(limit_bytes=stderr_bytes)
        self._fault: ContainerLostError | None = None
        self._turn = asyncio.Lock()
        self._sending: set[asyncio.Task[bool]] = set()
        self._received = 0
        self._pump = asyncio.create_task(self._read_all())
        self._watch = asyncio.create_task(self._end_with_container())

    async def lines(self) -> AsyncGenerator[bytes]:
        """Whole lines of its standard output without their newline; ends when the container is gone.

        Raises:
            ContainerLostError: It sent what can't be read, such as a line over 64 MiB.
        """
        while (line := await self._lines.take()) is not None:
            yield line
        if self._fault is not None:
            raise self._fault

    async def write(self, data: bytes) -> None:
        """Write to its standard input; waits while the container doesn't read.

        Writes don't mix, and a cancelled one still goes out whole: half a message would spoil the next.

        Raises:
            ContainerLostError: The container is gone.
        """
        if self._pump.done():
            raise await self._lost()
        sending = asyncio.create_task(self._send(data))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)
        await asyncio.wait([sending])
        if sending.cancelled() or not sending.result():
            raise await self._lost()

    def stderr_tail(self) -> str:
        """The end of its standard error, for the message when it dies."""
        return self._tail.text()

    async def exit_status(self) -> int | None:
        """Its exit status once it has ended, waited for at most 5 s; `None` if it still runs."""
        await asyncio.wait([self._exited], timeout=EXIT_WAIT_S)
        return self._exited.result() if self._exited.done() and not self._exited.cancelled() else None

    async def hang_up(self, grace_s: float) -> None:
        """End its input, give it time to end by itself, then close the connection; never raises."""
        self._watch.cancel()
        self._lines.end()  # nobody reads any more, so nothing may wait for a reader
        self._stop_sending()
        if not self._pump.done() and self._wire.half_close():
            await asyncio.wait([self._pump], timeout=grace_s)
        self._pump.cancel()
        await asyncio.wait([self._pump, self._watch, *self._sending])
        self._wire.close()

    async def _send(self, data: bytes) -> bool:
        async with self._turn:
            try:
                await self._wire.send(data)
            except OSError:
                return False
        return True

    def _stop_sending(self) -> None:
        for task in tuple(self._sending):
            task.cancel()

    async def _end_with_container(self) -> None:
        """End the connection of a container that has ended, should the engine not do it.

        Engine 20.10 keeps it open while it is blocked on writing to a program that never read its input.
        Output that is still arriving, or waits for a reader, is not cut off.
        """
        await asyncio.wait([self._exited])
        if self._exited.cancelled() or self._exited.result() is None:
            return
        quiet = False
        while not quiet:
            before, waiting = self._received, self._lines.full()
            await asyncio.sleep(QUIET_S)
            quiet = not waiting and not self._lines.full() and self._received == before
        self._pump.cancel()

    async def _lost(self) -> ContainerLostError:
        if self._fault is not None:
            return self._fault
        status = await self.exit_status()
        how = "its connection broke" if status is None else f"it ended with status {status}"
        why = " (killed, most often for want of memory)" if status == KILLED else ""
        return ContainerLostError(f"container {self.id[:12]} is gone: {how}{why}; start another and replay")

    async def _read_all(self) -> None:
        frames, splitter = FrameParser(), LineSplitter(limit_bytes=LINE_BYTES)
        try:
            while data := await self._wire.receive():
                self._received += len(data)
                for stream, piece in frames.feed(data):
                    if stream == STDOUT:
                        self._lines.add(splitter.feed(piece))
                    else:
                        self._tail.add(piece)
                await self._lines.room()
        except OSError as exc:
            _log.debug("connection of container %s broke: %s", self.id, exc)
        except (BadFrameError, LineTooLongError) as exc:
            self._fault = ContainerLostError(f"container {self.id[:12]} sent what can't be read: {exc}")
        finally:
            self._lines.end()
            self._stop_sending()
