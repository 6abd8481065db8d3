"""An OpenAI-compatible provider that misbehaves on request, as a process of its own.

From a shell: `python -m dep_mcp.testing --behaviour '{"faults": {"503": 0.1}}'` prints one JSON
line with its port and serves until its standard input closes or it is signalled. From a test:

    async with faulty_provider(faults={"429": 0.2}, retry_after_s=0.1) as provider:
        ...  # call provider.api_base
        assert (await provider.counters())["answered_twice"] == 0

A request costs it some 25 µs of CPU under full load, twice that where replies wait one by one; `counters` tells.
It answers `/v1/chat/completions`, `/v1/completions`, `/v1/models`, and what llama.cpp has besides: `/tokenize`,
`/apply-template`, and log-likelihoods of tokens that a grammar forces. `/counters` and `/behaviour` are for the test.
"""

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from dep_mcp.testing._faulty_behaviour import FAULTS, Behaviour
from dep_mcp.testing._faulty_connection import connections
from dep_mcp.testing._faulty_replies import prompt_sha
from dep_mcp.testing._faulty_server import Provider

__all__ = ["FAULTS", "Behaviour", "FaultyProvider", "faulty_provider", "prompt_sha"]

_START_S = 30.0
_BACKLOG = 4096


class FaultyProvider:
    """A running faulty provider.

    Args:
        port: On 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.api_base = f"http://127.0.0.1:{port}/v1"

    async def counters(self) -> dict[str, Any]:
        """Counts of calls of the model.

        They are `requests`, `unique` bodies, `answered` bodies, `answered_twice`, `sent_twice`, `statuses`,
        `in_flight`, `max_in_flight`, `first_at` and `last_at` in seconds since 1970, `by` (answers by the texts of
        `count_by`), and `cpu_s`, the provider's own CPU time since it started.
        """
        return await self._ask("GET", "/counters", b"")

    async def behave(self, **behaviour: object) -> None:
        """Change the behaviour; what isn't named stays.

        Raises:
            ValueError: No such behaviour.
        """
        reply = await self._ask("POST", "/behaviour", json.dumps(behaviour, default=str).encode())
        if "error" in reply:
            raise ValueError(reply["error"])

    async def _ask(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        async with asyncio.timeout(_START_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            try:
                writer.write(f"{method} {path} HTTP/1.1\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                reply: dict[str, Any] = json.loads(await reader.readexactly(length))
            finally:
                writer.close()
                await writer.wait_closed()
        return reply


@asynccontextmanager
async def faulty_provider(**behaviour: object) -> AsyncGenerator[FaultyProvider]:
    """Run a faulty provider while the block does.

    Args:
        **behaviour: Fields of `Behaviour`.

    Raises:
        ValidationError: No such behaviour.
        TimeoutError: It did not start within 30 s.
    """
    settings = Behaviour.model_validate(behaviour).model_dump_json()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "dep_mcp.testing", "--behaviour", settings,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        if process.stdout is None:  # pragma: no cover (asked for above)
            raise AssertionError
        async with asyncio.timeout(_START_S):
            line = await process.stdout.readline()
        yield FaultyProvider(json.loads(line)["port"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()  # closes the pipes too


async def _serve(behaviour: Behaviour, port: int) -> None:
    provider, loop, ended = Provider(behaviour), asyncio.get_running_loop(), asyncio.Event()
    server = await loop.create_server(connections(provider, loop), "127.0.0.1", port, backlog=_BACKLOG)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    _print({"port": server.sockets[0].getsockname()[1]})
    if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
        # Dies with whoever holds the other end, even if that one was killed.
        loop.add_reader(sys.stdin.fileno(), _read_until_end, ended)
    await ended.wait()
    server.close()


def _read_until_end(ended: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        ended.set()


def _print(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until standard input closes or a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m dep_mcp.testing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which is printed")
    parser.add_argument("--behaviour", default="{}", help="JSON object with fields of Behaviour")
    options = parser.parse_args(arguments)
    asyncio.run(_serve(Behaviour.model_validate_json(options.behaviour), options.port))
