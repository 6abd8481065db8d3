"""Runs any command for each call: `-m "command:./my-model --flag"`. The request comes on its standard input.

The request is one JSON object: `item_id`, `messages`, `options`, `epoch`, and the settings of generation. The reply on
standard output is a JSON object with `text` (and, as known, `finish_reason`, `reasoning`, `usage`), or with
`log_likelihoods` and `token_counts` where the item has options; anything else is the answer's text, as it is.
"""

import asyncio
import os
import shlex
import shutil
import signal
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from pydantic_core import to_json

from dep_mcp.adapters.outcome import outcome
from dep_mcp.adapters.said import completion, request
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard
from dep_mcp.protocol.errors import ModelCallError, UsageError

EX_TEMPFAIL = 75
"""The exit status of `sysexits.h` for "try again later": the call counts as refused for a rate."""


class Adapter:
    """One command.

    Args:
        card: Its `model` is the command line; no shell reads it.
        api_key: Not used: the command has this process's environment.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        del api_key
        self._arguments = shlex.split(card.model)

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close: each call ends its own process."""

    async def check(self) -> None:
        """Is the program there?

        Raises:
            UsageError: It isn't, or can't be run.
        """
        if not self._arguments or shutil.which(self._arguments[0]) is None:
            msg = f"command:{' '.join(self._arguments)}: no such program, or it can't be run"
            raise UsageError(msg)

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """Run the command once; at the deadline it is killed with all that it started.

        Raises:
            ModelCallError: 408 at the deadline; 429 for exit status 75; 500 for any other, with the end of its standard
                error; 502 for a reply that can't be submitted.
        """
        begin = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # so that it is killed with its children, and Ctrl-C is the runner's
        )
        try:
            async with asyncio.timeout(timeout_s):
                said, told = await process.communicate(to_json(request(item, generation, epoch)))
        except TimeoutError:
            msg = f"the command didn't end within {timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if process.returncode:
            words = told.decode(errors="replace").strip()[-600:] or "it said nothing"
            status = 429 if process.returncode == EX_TEMPFAIL else 500
            msg = f"exit status {process.returncode}: {words}"
            raise outcome(msg, status, item=item, api_key=None)
        return completion(said.decode(errors="replace"), item, time.monotonic() - begin)
