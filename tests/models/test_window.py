"""Adaptive concurrency: grows by one place per window of answers, cut once per congestion."""

import asyncio

import pytest

from dep_mcp.models import Window
from dep_mcp.models.window import Permit


async def sent(window: Window) -> Permit:
    async with window.permit() as permit:
        return permit


@pytest.mark.parametrize(("most", "start"), [(1, 1), (8, 8), (10, 10), (500, 10)])
def test_it_begins_small(most: int, start: int) -> None:
    """Nobody knows yet what the provider bears."""
    assert Window(most).size == start


def test_it_grows_by_one_place_per_window_of_answers_and_never_beyond_the_most() -> None:
    """Additive: ten answers in a window of ten make eleven."""
    window = Window(13)
    for _ in range(11):
        window.succeeded()
    assert window.size == 11
    for _ in range(1000):
        window.succeeded()
    assert window.size == 13


async def test_a_refusal_cuts_it_once_per_congestion() -> None:
    """Ten calls sent at the old pace are refused together: that is one event and not ten."""
    window = Window(10)
    permits = [await sent(window) for _ in range(10)]
    for permit in permits:
        window.limited(permit)
    assert (window.size, window.rate_limited) == (7, 10)
    window.limited(await sent(window))
    assert window.size == 4


async def test_it_never_shuts() -> None:
    """One call at a time finds out when the provider has recovered."""
    window = Window(10)
    for _ in range(50):
        window.limited(await sent(window))
    assert window.size == 1
    for _ in range(30):
        window.succeeded()
    assert window.size > 5


async def test_no_more_calls_are_in_flight_than_its_size() -> None:
    """The others wait for a place, and get it."""
    window, most, done = Window(3), 0, 0

    async def call() -> None:
        nonlocal most, done
        async with window.permit():
            most = max(most, window.in_flight)
            await asyncio.sleep(0)
        done += 1

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        for _ in range(20):
            tasks.create_task(call())
    assert (most, done, window.in_flight) == (3, 20, 0)


async def test_a_call_that_was_cancelled_gives_its_place_back() -> None:
    """Waiting or in flight."""
    window = Window(1)
    entered = asyncio.Event()

    async def hang() -> None:
        async with window.permit():
            entered.set()
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(hang()) for _ in range(2)]
    await entered.wait()
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    async with asyncio.timeout(5):
        assert (await sent(window)).sent == 2
    assert window.in_flight == 0
