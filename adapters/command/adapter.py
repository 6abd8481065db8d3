"""Runs a command for each call: `-m command:"./my-model --flag"`.

The request comes to its standard input as one JSON object: `item_id`, `messages`, `options`, `generation`, `epoch`.
What it prints is the answer, to the last blank; or it prints one JSON object with `text`, or with `log_likelihoods`
and `token_counts` for an item with options, and maybe `finish_reason`, `usage`, `reasoning`, `model`, `cost_usd`.
A model whose answers themselves are such objects wraps them in one. It has no shell, and the toolkit's environment.

Exit 0 is an answer. Exit 75 (`EX_TEMPFAIL` of sysexits.h: "try again later") is 429: it waits, is sent again, lowers
the number of commands that run at once, and uses up no attempt. Any other exit is 500.
"""

import asyncio
import json
import os
import shlex
import shutil
import signal
from collections import deque
from contextlib import suppress
from typing import Final

from dep_mcp.adapters import own_reply
from dep_mcp.adapters.base import BaseAdapter
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard
from dep_mcp.protocol.errors import ModelCallError, UsageError

MOST_BYTES: Final = 16 * 1024 * 1024
"""Of standard output; a command that prints more is stopped."""
_BURIED_S: Final = 5.0
_CHUNK: Final = 64 * 1024
_SAID: Final = 250
"""Characters of standard error that are told, its last ones."""


class Adapter(BaseAdapter):
    """One command.

    Args:
        card: Its `model` is the command line, split as a shell would.
        api_key: Not used: the command has the environment.

    Raises:
        UsageError: It can't be split.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        super().__init__(card, api_key=api_key)
        try:
            self._words = shlex.split(card.model)
        except ValueError as error:
            msg = f"{card.name} is no command line: {error}"
            raise UsageError(msg) from error
        if not self._words:
            msg = f"{card.name} names no command"
            raise UsageError(msg)

    async def check(self) -> None:
        """Is the program there?

        Raises:
            ModelCallError: 404: it isn't, or can't be executed.
        """
        if shutil.which(self._words[0]) is None:
            raise self._missing()

    async def reply(self, item: Item, generation: Generation, epoch: int) -> Completion:
        """Run the command once; when its time is over or nobody waits any more, its whole process group is killed.

        Raises:
            ModelCallError: 429 for exit 75; 500 for another exit; 502 for a reply that is none; 422 for one that
                doesn't fit the item; 404 or 503 when it can't be started.
        """
        asked = own_reply.request(item, generation, epoch)
        return own_reply.completion(_said(await self._run(json.dumps(asked).encode() + b"\n")), item)

    async def _run(self, asked: bytes) -> bytes:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,  # a group to kill; and Ctrl-C is the runner's: calls in flight end first
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            raise self._missing() from None
        except OSError as error:
            msg = f"the command can't be started: {error.strerror}"
            raise ModelCallError(msg, 503) from error
        try:
            return await _ended(process, asked)
        except BaseException:
            await asyncio.shield(_bury(process))
            raise

    def _missing(self) -> ModelCallError:
        msg = f"no program {self._words[0]}: give its path, or make it executable"
        return ModelCallError(msg, 404)


async def _bury(process: asyncio.subprocess.Process) -> None:
    """Kill its group; its end is seen only once a pipe that was full is read on."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):  # a pipe that a process outside the group holds doesn't end
        async with asyncio.timeout(_BURIED_S):
            await process.communicate()


async def _ended(process: asyncio.subprocess.Process, asked: bytes) -> bytes:
    """What it printed.

    Raises:
        ModelCallError: It failed, or printed too much.
    """
    if process.stdout is None or process.stderr is None:  # pragma: no cover (asked for above)
        raise AssertionError
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_tell(process, asked))
            complaint = tasks.create_task(_last(process.stderr))
            printed = tasks.create_task(_all(process.stdout))
    except* ModelCallError as group:
        raise group.exceptions[0] from None
    code = await process.wait()
    if code:
        how = f"exit {code}" if code > 0 else f"signal {-code}"
        msg = f"the command ended with {how}: {complaint.result() or 'it said nothing'}"
        raise ModelCallError(msg, 429 if code == os.EX_TEMPFAIL else 500)
    return printed.result()


async def _tell(process: asyncio.subprocess.Process, asked: bytes) -> None:
    if process.stdin is None:  # pragma: no cover (asked for above)
        raise AssertionError
    with suppress(ConnectionError):  # it needn't read
        process.stdin.write(asked)
        await process.stdin.drain()
    process.stdin.close()


async def _all(stream: asyncio.StreamReader) -> bytes:
    parts, size = [], 0
    while part := await stream.read(_CHUNK):
        size += len(part)
        if size > MOST_BYTES:
            msg = f"the command printed more than {MOST_BYTES} bytes"
            raise ModelCallError(msg, 502)
        parts.append(part)
    return b"".join(parts)


async def _last(stream: asyncio.StreamReader) -> str:
    parts: deque[bytes] = deque(maxlen=2)
    while part := await stream.read(_CHUNK):
        parts.append(part)
    return " ".join(b"".join(parts)[-8 * _SAID :].decode(errors="replace").split())[-_SAID:]


def _said(printed: bytes) -> object:
    """The object that was printed, if it is a reply, else the text."""
    try:
        text = printed.decode()
    except UnicodeDecodeError:
        msg = "the command printed something that isn't UTF-8"
        raise ModelCallError(msg, 502) from None
    if not text.lstrip().startswith("{"):
        return text
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return said if any(kind in said for kind in own_reply.KINDS) else text
