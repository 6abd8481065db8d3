"""The worker processes as the runner's process sees them: started, given calls, replaced when they die."""

import asyncio
import atexit
import json
import os
import socket
import subprocess
import sys

from dep_mcp.adapters.litellm.wire import Reply
from dep_mcp.protocol.errors import ModelCallError

_END_S = 2.0


class _Server:
    """The process that has imported the library and forks workers; one for all adapters of this process."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                [sys.executable, "-m", "dep_mcp.adapters.litellm.worker", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C in the terminal is the runner's: calls in flight end first
            )
        atexit.register(self.close)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def fork(self) -> socket.socket:
        """Ask for a worker; what is sent over the socket waits until there is one."""
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"w"], [theirs.fileno()])
        return ours

    def close(self) -> None:
        """End it; it ends by itself with its control socket, after its last worker."""
        self._control.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


_server: _Server | None = None


def _fork() -> socket.socket:
    global _server  # noqa: PLW0603 (four CPU seconds, once for a process)
    if _server is None or not _server.alive:
        if _server is not None:
            _server.close()
        _server = _Server()
    return _server.fork()


class Worker(asyncio.Protocol):
    """One worker process, at the other end of a socket."""

    def __init__(self) -> None:
        self.waiting: dict[int, asyncio.Future[Reply]] = {}
        self.lost = False
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._number = 0
        self._broken = ""

    @classmethod
    async def start(cls) -> "Worker":
        """Start one."""
        _, worker = await asyncio.get_running_loop().create_connection(cls, sock=_fork())
        return worker

    async def ask(self, request: bytes) -> Reply:
        """Send a request and wait for its end; a cancelled wait cancels the call.

        Raises:
            ModelCallError: 500: the worker died; the call may be sent again.
        """
        if self._transport is None or self.lost:  # pragma: no cover (the adapter replaces those it finds lost)
            raise self._gone()
        self._number += 1
        number = self._number
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.waiting[number] = reply
        self._transport.write(b"%d %b\n" % (number, request))
        try:
            return await reply
        except asyncio.CancelledError:
            if not self.lost:
                self._transport.write(b"%d cancel\n" % number)
            raise
        finally:
            self.waiting.pop(number, None)

    def close(self) -> None:
        """End the worker."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        first, *others = data.split(b"\n")
        self._parts.append(first)
        if not others:
            return
        for line in (b"".join(self._parts), *others[:-1]):
            self._heard(line)
        self._parts = [others[-1]]

    def _heard(self, line: bytes) -> None:
        if line.startswith(b'{"broken"'):
            self._broken = json.loads(line)["broken"]
            return
        reply = Reply.model_validate_json(line)
        waiting = self.waiting.get(reply.id)
        if waiting is not None and not waiting.done():
            waiting.set_result(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lost = True
        for waiting in self.waiting.values():
            if not waiting.done():
                waiting.set_exception(self._gone())

    def _gone(self) -> ModelCallError:
        if self._broken:
            return ModelCallError(self._broken, 404)
        return ModelCallError("the process that calls the library died: another one takes its place", 500)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
