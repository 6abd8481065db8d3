"""Calls a Python function: `-m callable:path/to/file.py:function`, or `callable:package.module:function`.

It takes `(messages, generation)`, a list of `{"role", "content"}` and a dictionary of settings, and returns the text,
or a dictionary as a command prints it (see the adapter `command`). A coroutine is awaited; any other function runs in a
thread, several at once. The function is yours and runs in this process: benchmarks never do.
"""

import asyncio
import importlib
import importlib.util
import inspect
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dep_mcp.adapters.outcome import outcome
from dep_mcp.adapters.said import completion, request
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard
from dep_mcp.protocol.errors import ModelCallError, UsageError


class Adapter:
    """One function.

    Args:
        card: Its `model` is `file.py:function` or `module:function`.
        api_key: Not used.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        del api_key
        self._where, _, self._name = card.model.rpartition(":")
        self._function: Any = None

    async def __aenter__(self) -> Self:
        """Nothing to open: `check` imports the function."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    async def check(self) -> None:
        """Import the function.

        Raises:
            UsageError: It can't be imported; says why.
        """
        try:
            self._function = getattr(_module(self._where), self._name)
        except Exception as error:
            msg = f"callable:{self._where}:{self._name} can't be imported ({type(error).__name__}: {error})"
            raise UsageError(msg) from error
        if not callable(self._function):
            msg = f"callable:{self._where}:{self._name} is no function"
            raise UsageError(msg)

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """Call the function once. A thread can't be killed: one that goes on after its deadline goes on for nothing.

        Raises:
            ModelCallError: As the function raised it; 408 at the deadline; 500 for any other exception, with its class.
        """
        if self._function is None:
            msg = "the adapter wasn't checked"
            raise RuntimeError(msg)
        begin, asked = time.monotonic(), request(item, generation, epoch)
        given = (asked["messages"], asked["generation"])
        try:
            async with asyncio.timeout(timeout_s):
                if inspect.iscoroutinefunction(self._function):
                    said = await self._function(*given)
                else:
                    said = await asyncio.to_thread(self._function, *given)
        except TimeoutError:
            msg = f"the function didn't answer within {timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        except ModelCallError:
            raise
        except Exception as error:
            msg = f"{type(error).__name__}: {error}"
            raise outcome(msg, 500, item=item, api_key=None) from error
        return completion(said, item, time.monotonic() - begin)


def _module(where: str) -> object:
    if not where.endswith(".py"):
        return importlib.import_module(where)
    spec = importlib.util.spec_from_file_location(Path(where).stem, where)
    if spec is None or spec.loader is None:  # pragma: no cover (a .py path always has a loader)
        raise ImportError(where)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
