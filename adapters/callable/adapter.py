"""Calls a Python function: `-m callable:path/to/file.py:function` or `-m callable:package.module:function`.

    def answer(messages: list[dict], generation: dict) -> str: ...

It may be async; if it isn't, each call has a thread. It gives back text, or a dict with `text`, or with
`log_likelihoods` and `token_counts`, and maybe `finish_reason`, `usage`, `reasoning`, `model`, `cost_usd`. For an item
with options it is called with a third argument, `options=[...]`. What it raises is 500; a `ModelCallError` of
`dep_mcp.protocol.errors` has the status it says, and a `TimeoutError` is 408.
"""

import asyncio
import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import Any

from dep_mcp.adapters import own_reply
from dep_mcp.adapters.base import BaseAdapter
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard
from dep_mcp.protocol.errors import ModelCallError

Function = Callable[..., Any]


class Adapter(BaseAdapter):
    """One function.

    Args:
        card: Its `model` is `path/to/file.py:function` or `package.module:function`.
        api_key: Not used: the function has the environment.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        super().__init__(card, api_key=api_key)
        self._where, _, self._name = card.model.rpartition(":")
        self._function: Function | None = None

    async def check(self) -> None:
        """Import the function; modules that load a model do it now.

        Raises:
            ModelCallError: 404: there is none, or importing it failed.
        """
        await asyncio.to_thread(self._load)

    def _load(self) -> Function:
        if self._function is None:
            found = getattr(module := _module(self._where), self._name, None)
            if not callable(found):
                names = [name for name, value in vars(module).items() if inspect.isfunction(value)]
                near = ", ".join(get_close_matches(self._name, names, 3, 0.3) or names[:5]) or "it has none"
                what = "has no function" if found is None else "has something that can't be called as"
                msg = f"{self._where} {what} {self._name!r}; functions: {near}"
                raise ModelCallError(msg, 404)
            self._function = found
        return self._function

    async def reply(self, item: Item, generation: Generation, epoch: int) -> Completion:
        """Call the function once. One in a thread goes on when its time is over: nothing can end a thread.

        Raises:
            ModelCallError: 500 when it raises; 502 for a reply that is none; 422 for one that doesn't fit.
        """
        del epoch
        function = self._function or self._load()
        arguments = [message.model_dump() for message in item.messages], generation.sent()
        options = {"options": list(item.options)} if item.options else {}
        _fits(function, options)
        return own_reply.completion(await _called(function, arguments, options), item)


def _fits(function: Function, options: dict[str, Any]) -> None:
    try:
        inspect.signature(function).bind([], {}, **options)
    except TypeError as error:
        msg = f"the function can't be called with (messages, generation{', options=' if options else ''}): {error}"
        raise ModelCallError(msg, 422) from None
    except ValueError:  # one without a signature, written in C
        return


async def _called(function: Function, arguments: tuple[Any, ...], options: dict[str, Any]) -> object:
    try:
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
            return await function(*arguments, **options)
        said = await _in_thread(lambda: function(*arguments, **options))
        return await said if inspect.isawaitable(said) else said
    except (ModelCallError, TimeoutError):
        raise
    except (Exception, SystemExit) as error:
        msg = f"the function raised {type(error).__name__}: {error}"
        raise ModelCallError(msg, 500) from error


async def _in_thread(work: Callable[[], object]) -> object:
    """Do it in a thread. A thread of its own: pools are joined at exit, and one that hangs would hold that."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

    def tell(result: object, error: BaseException | None) -> None:
        if not ended.done():
            ended.set_result((result, error))

    def run() -> None:
        result, raised = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 (raised where it is waited for)
            raised = error
        with suppress(RuntimeError):  # the loop has closed meanwhile
            loop.call_soon_threadsafe(tell, result, raised)

    threading.Thread(target=run, daemon=True, name="dep-mcp-model").start()
    result, error = await ended
    if error is not None:
        raise error
    return result


def _module(where: str) -> ModuleType:
    """The module, with its neighbours importable as `python FILE` or `python -m MODULE` would have them.

    Raises:
        ModelCallError: 404, with what is wrong.
    """
    path = Path(where)
    is_file = path.suffix == ".py"
    if is_file and not path.is_file():
        msg = f"no file {where}"
        raise ModelCallError(msg, 404)
    folder = str(path.resolve().parent if is_file else Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)  # last: it must not stand in for our own libraries
    try:
        return _from_file(path.resolve()) if is_file else importlib.import_module(where)
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
        at = f" ({frames[-1].filename}, line {frames[-1].lineno})" if len(frames) > 1 else ""
        msg = f"{where} can't be imported: {type(error).__name__}: {error}{at}"
        raise ModelCallError(msg, 404) from error


def _from_file(path: Path) -> ModuleType:
    name = f"dep_mcp_model_{hashlib.sha256(str(path).encode()).hexdigest()[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:  # pragma: no cover (a .py path always has a loader)
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses and pickle look there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
