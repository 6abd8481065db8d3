"""Imports LiteLLM once, then forks a worker for each socket that the runner's process hands over.

`python -m dep_mcp.adapters.litellm.worker CONTROL` ends with the other side of its control socket, a worker with
the other side of its own, however that comes about.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from types import ModuleType

from pydantic import TypeAdapter

from dep_mcp.adapters.litellm.calling import check, complete, load
from dep_mcp.adapters.litellm.wire import LINE_BYTES, Call, Check, Failure, Reply
from dep_mcp.models import Completion
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError

_REQUEST: TypeAdapter[Call | Check] = TypeAdapter(Call | Check)


class Worker:
    """Answers the requests that come over one socket.

    Args:
        library: LiteLLM.
        connection: The socket.
    """

    def __init__(self, library: ModuleType, connection: socket.socket) -> None:
        self._library = library
        self._connection = connection
        self._running: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve until the other side is gone."""
        reader, self._writer = await asyncio.open_connection(sock=self._connection, limit=LINE_BYTES)
        while line := await reader.readline():
            number, _, request = line.partition(b" ")
            if request == b"cancel\n":
                if (task := self._running.get(int(number))) is not None:
                    task.cancel()
                continue
            self._running[int(number)] = asyncio.create_task(self._answer(int(number), request))

    async def _answer(self, number: int, line: bytes) -> None:
        try:
            reply = Reply(id=number, completion=await self._done(_REQUEST.validate_json(line)))
        except ModelCallError as error:
            failure = Failure(status=error.status, detail=error.detail, retry_after_s=error.retry_after_s)
            reply = Reply(id=number, failure=failure)
        except UnknownNameError as error:
            reply = Reply(id=number, failure=Failure(status=404, detail=error.detail, unknown=True))
        except Exception as error:  # noqa: BLE001 (told to whoever waits for it)
            detail = f"the adapter failed with {type(error).__name__}"
            reply = Reply(id=number, failure=Failure(status=500, detail=detail))
        finally:
            del self._running[number]
        self._writer.write(reply.model_dump_json(exclude_none=True).encode() + b"\n")

    async def _done(self, request: Call | Check) -> Completion | None:
        if isinstance(request, Check):
            check(self._library, request)
            return None
        return await complete(self._library, request)


def _serve(library: ModuleType, connection: socket.socket) -> None:
    gc.set_threshold(50_000, 20, 100)  # the library makes much that is no garbage
    asyncio.run(Worker(library, connection).run())


def _reap(options: int) -> None:
    """Take leave of workers that ended (or, without options, of all: they end with their sockets)."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def main(control: socket.socket) -> None:
    """Fork workers until the control socket closes."""
    library, fault = None, ""
    try:
        library = load()
    except Exception as error:  # noqa: BLE001 (an import runs anything; told to whoever asks for a worker)
        fault = f"LiteLLM can't be imported ({type(error).__name__}: {error}): install dep-mcp anew"
    gc.collect()
    gc.freeze()  # pages that the collector never writes to stay shared by all workers
    signal.signal(signal.SIGCHLD, lambda _number, _frame: _reap(os.WNOHANG))
    while True:
        asked, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not asked:
            _reap(0)
            return
        connection = socket.socket(fileno=descriptors[0])
        if library is None:
            connection.sendall(json.dumps({"broken": fault}).encode() + b"\n")
        elif os.fork() == 0:
            control.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                _serve(library, connection)
            finally:
                os._exit(0)  # no more of the library: it would wait for its own logging
        connection.close()


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
