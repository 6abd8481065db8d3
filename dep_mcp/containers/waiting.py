"""Waiting for blocking calls: each in a thread of its own, and clean-up that cancellation can't cut short."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")


def in_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """Run a blocking call in a daemon thread of its own.

    Not `asyncio.to_thread`: its pool has CPUs + 4 threads, which a wait per container would fill, and the
    interpreter joins them at exit, so one call to a hung engine would keep the process from ending.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # `None` only where T allows it
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = call()
        except BaseException as exc:  # noqa: BLE001  # handed to whoever awaits
            error = exc
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(deliver, result, error)

    Thread(target=run, name="dep-mcp-engine", daemon=True).start()
    return future


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not be cut short; a cancellation meanwhile is raised once it is done.

    The work itself bounds every wait.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        task.exception()  # seen: the cancellation is what the caller must hear of
    raise cancelled  # the same object: anyio tells its own cancellations by it
