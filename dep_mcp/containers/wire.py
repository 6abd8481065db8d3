"""The raw connection of an attach, made non-blocking for asyncio."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

RECEIVE_BYTES = 256 * 1024


class Held(Protocol):
    """What the SDK returns for an attach: a socket, or a file around one."""

    def close(self) -> None:
        """Close it."""


class Wire:
    """Sends to and receives from an attached container.

    Args:
        held: As the SDK returned it; kept, since the connection closes with it.
    """

    def __init__(self, held: Held) -> None:
        self._held = held
        inner = getattr(held, "_sock", held)
        assert isinstance(inner, socket.socket)  # noqa: S101  # narrows a type
        self._socket = inner
        self._socket.setblocking(False)

    async def receive(self) -> bytes:
        """Wait for bytes; none when the other side has ended."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return await asyncio.get_running_loop().sock_recv(self._socket, RECEIVE_BYTES)
        while True:  # asyncio refuses TLS sockets
            try:
                return self._socket.recv(RECEIVE_BYTES)
            except ssl.SSLWantReadError:
                await self._readable()

    async def send(self, data: bytes) -> None:
        """Send all of it; waits while the other side doesn't read."""
        if not isinstance(self._socket, ssl.SSLSocket):
            await asyncio.get_running_loop().sock_sendall(self._socket, data)
            return
        left = memoryview(data)
        while left:
            try:
                left = left[self._socket.send(left) :]
            except ssl.SSLWantWriteError:
                await self._writable()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        await self._ready(loop.add_reader, loop.remove_reader)

    async def _writable(self) -> None:
        loop = asyncio.get_running_loop()
        await self._ready(loop.add_writer, loop.remove_writer)

    async def _ready(self, add: Callable[..., None], remove: Callable[[socket.socket], bool]) -> None:
        ready = asyncio.Event()
        add(self._socket, ready.set)
        try:
            await ready.wait()
        finally:
            remove(self._socket)

    def half_close(self) -> bool:
        """End the container's input and go on reading; `False` if this connection can't."""
        if isinstance(self._socket, ssl.SSLSocket):  # Python's TLS can't close one direction
            return False
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        # the HTTP response first: it would be flushed after its socket when it is collected
        for one in (getattr(self._held, "_response", None), self._held, self._socket):
            if one is not None:
                one.close()
