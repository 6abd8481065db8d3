"""A connection of the faulty provider: HTTP/1.1 by hand, since an HTTP framework costs more than a client under test.

It understands just what clients of chat endpoints send: requests with a `Content-Length`, kept alive, one after
another.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Final, NamedTuple

from dep_mcp.testing._faulty_behaviour import Reply
from dep_mcp.testing._faulty_server import Provider

_HEADS_KEPT: Final = 1000


class Head(NamedTuple):
    """The head of a request, parsed."""

    method: str
    path: str
    headers: dict[str, str]
    length: int


class Heads:
    """Heads by their bytes: those of one client hardly differ, so that they need parsing once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def of(self, raw: bytes) -> Head:
        """The parsed head."""
        head = self._known.get(raw)
        if head is None:
            if len(self._known) >= _HEADS_KEPT:
                self._known.clear()
            self._known[raw] = head = _parsed(raw)
        return head


def _parsed(raw: bytes) -> Head:
    request_line, *lines = raw.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    method, target, _ = request_line.split(" ", 2)
    return Head(method, target.partition("?")[0], headers, int(headers.get("content-length", 0)))


class Delays:
    """Replies that wait, behind one timer of the loop: its own heap would compare timers in Python.

    Args:
        loop: Whose timer.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Connection, Reply, bytes | None]] = []
        self._numbers = count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: "Connection", reply: Reply, digest: bytes | None) -> None:
        """Send a reply after its delay."""
        at = self._loop.time() + reply.delay_s
        heapq.heappush(self._heap, (at, next(self._numbers), connection, reply, digest))
        if self._timer is None or at < self._timer.when():
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._due) if self._heap else None

    def _due(self) -> None:
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            _, _, connection, reply, digest = heapq.heappop(self._heap)
            connection.send(reply, digest)
        self._arm()


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        provider: Shared, as are the next.
        heads: Known heads.
        delays: Of replies.
    """

    def __init__(self, provider: Provider, heads: Heads, delays: Delays) -> None:
        self._provider = provider
        self._heads = heads
        self._delays = delays
        self._buffer = b""
        self._busy = False
        self._flying = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left: what it waited for is dropped."""
        del exc
        self._transport = None
        self._landed()

    def data_received(self, data: bytes) -> None:
        """Collect until a request is whole."""
        self._buffer = self._buffer + data if self._buffer else data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or self._transport is None:
            return
        head = self._heads.of(buffer[:end])
        stop = end + 4 + head.length
        if len(buffer) < stop:
            return
        self._buffer = buffer[stop:]
        self._busy = True
        reply, digest = self._provider.reply_to(head.method, head.path, head.headers, buffer[end + 4 : stop])
        self._flying = digest is not None
        if reply.fault == "hang":
            self._count(digest, reply)
        elif reply.delay_s > 0:
            self._delays.add(self, reply, digest)
        else:
            self.send(reply, digest)

    def _count(self, digest: bytes | None, reply: Reply) -> None:
        if digest is not None:
            self._provider.sent(digest, reply)

    def _landed(self) -> None:
        if self._flying:
            self._provider.in_flight -= 1
            self._flying = False

    def send(self, reply: Reply, digest: bytes | None) -> None:
        """Send a reply whose time has come, unless the client left."""
        if self._transport is None or self._transport.is_closing():
            return
        self._count(digest, reply)
        if reply.fault in _BROKEN:
            self._send_broken(self._transport, reply)
        else:
            self._transport.write(_head(reply) + reply.body)
            self._done()

    def _send_broken(self, transport: asyncio.Transport, reply: Reply) -> None:
        if reply.fault == "cut":
            transport.abort()
        elif reply.fault == "cut_body":
            transport.write(_head(reply) + reply.body[: len(reply.body) // 2])
            transport.close()
        else:
            transport.write(_head(reply))
            self._trickle(reply.body, max(1, len(reply.body) // 10))

    def _trickle(self, body: bytes, step: int) -> None:
        if self._transport is None:
            return
        self._transport.write(body[:step])
        if body[step:]:
            pause_s = self._provider.behaviour.slow_body_s / 10
            asyncio.get_running_loop().call_later(pause_s, self._trickle, body[step:], step)
        else:
            self._done()

    def _done(self) -> None:
        self._landed()
        self._busy = False
        if self._buffer:
            self._next()


_BROKEN: Final = frozenset({"cut", "cut_body", "slow_body"})


def _head(reply: Reply) -> bytes:
    extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items()) if reply.headers else ""
    return (
        f"HTTP/1.1 {reply.status} Status\r\ncontent-type: {reply.kind}\r\n"
        f"content-length: {len(reply.body)}\r\n{extra}\r\n"
    ).encode("latin-1")


def connections(provider: Provider, loop: asyncio.AbstractEventLoop) -> Callable[[], Connection]:
    """A factory of connections for the loop's server."""
    heads, delays = Heads(), Delays(loop)
    return lambda: Connection(provider, heads, delays)
