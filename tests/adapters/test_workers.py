"""The processes that call LiteLLM: they share the work, end with their parent, and take no call with them silently."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dep_mcp.adapters.litellm import workers
from dep_mcp.adapters.litellm.adapter import Adapter
from dep_mcp.protocol import Generation, Item, Limits, Message, ModelCard, TextAnswer
from dep_mcp.protocol.errors import ModelCallError
from dep_mcp.testing import FaultyProvider, faulty_provider

KEY = "sk-never-in-a-list-of-processes"


def an_item(number: int = 0) -> Item:
    return Item(item_id=str(number), messages=(Message(role="user", content=f"say {number}"),))


@asynccontextmanager
async def adapter(provider: FaultyProvider, *, most: int | None = None) -> AsyncGenerator[Adapter]:
    card = ModelCard(
        name="faulty",
        adapter="litellm",
        model="openai/faulty",
        api_base=provider.api_base,
        limits=Limits(concurrency=most),
    )
    async with Adapter(card, api_key=KEY) as entered:
        await entered.check()
        yield entered


def children(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text(encoding="ascii").split()}
    return found


def servers(pid: int) -> list[int]:
    return [
        child
        for child in children(pid)
        if b"dep_mcp.adapters.litellm.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def ask(entered: Adapter, number: int = 0, timeout_s: float = 10) -> str:
    completion = await entered.complete(an_item(number), Generation(), timeout_s=timeout_s)
    assert isinstance(completion.answer, TextAnswer)
    return completion.answer.text


async def test_calls_are_spread_over_all_cores_and_the_library_stays_out_of_the_runner() -> None:
    """It costs four CPU seconds to import and five milliseconds a call: one process would be the limit."""
    async with faulty_provider(latency_s=0.05) as provider, adapter(provider) as entered:
        said = await asyncio.gather(*(ask(entered, number) for number in range(20)))
        assert said == [f"say {number}" for number in range(20)]
        assert len(entered._workers) == workers.usable_cores()
        tasks = [asyncio.create_task(ask(entered, number)) for number in range(20, 30)]
        await asyncio.sleep(0)
        assert {len(worker.waiting) for worker in entered._workers} == {10 // workers.usable_cores()}
        await asyncio.gather(*tasks)
        assert (await provider.counters())["answered_twice"] == 0
    code = "import sys, dep_mcp.adapters.litellm.adapter; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_worker_that_dies_fails_its_calls_and_is_replaced() -> None:
    """By `kill -9`, as when memory runs out: the calls may be sent again, and the next ones are answered."""
    async with faulty_provider(faults={"hang": 1.0}) as provider, adapter(provider, most=1) as entered:
        task = asyncio.create_task(ask(entered))
        await until(lambda: len(entered._workers[0].waiting) == 1)
        while (await provider.counters())["requests"] == 0:
            await asyncio.sleep(0.01)
        (server,) = servers(os.getpid())
        before = children(server)
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        with pytest.raises(ModelCallError) as error:
            await task
        assert error.value.status == 500
        await provider.behave(faults={})
        assert await ask(entered, 1) == "say 1"
        assert children(server).isdisjoint(before)


async def test_a_cancelled_wait_cancels_the_call() -> None:
    """Nothing goes on that nobody waits for."""
    async with faulty_provider(latency_s=30) as provider, adapter(provider, most=1) as entered:
        task = asyncio.create_task(ask(entered))
        while (await provider.counters())["in_flight"] == 0:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while (await provider.counters())["in_flight"]:
                await asyncio.sleep(0.01)


async def test_the_key_is_in_no_list_of_processes() -> None:
    """Arguments are readable for everybody on the machine."""
    async with faulty_provider(api_key=KEY) as provider, adapter(provider) as entered:
        await ask(entered)
        (server,) = servers(os.getpid())
        for pid in {server} | children(server):
            assert KEY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


PARENT = """
import asyncio, sys
from dep_mcp.adapters.litellm.adapter import Adapter
from dep_mcp.protocol import Generation, Item, Message, ModelCard

async def main():
    card = ModelCard(name="f", adapter="litellm", model="openai/f", api_base=sys.argv[1])
    async with Adapter(card, api_key="k") as adapter:
        await adapter.check()
        print("ready", flush=True)
        item = Item(item_id="1", messages=(Message(role="user", content="?"),))
        await adapter.complete(item, Generation(), timeout_s=60)

asyncio.run(main())
"""


async def test_no_worker_outlives_its_parent() -> None:
    """Not even by `kill -9` of the parent in the middle of a call."""
    async with faulty_provider(latency_s=60) as provider:
        with subprocess.Popen([sys.executable, "-c", PARENT, provider.api_base], stdout=subprocess.PIPE) as parent:
            assert parent.stdout is not None
            assert await asyncio.to_thread(parent.stdout.readline) == b"ready\n"
            (server,) = servers(parent.pid)
            below = {server} | children(server)
            parent.kill()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in below))


async def test_two_models_have_workers_of_their_own() -> None:
    """One may end while the other goes on."""
    async with faulty_provider() as provider, adapter(provider) as one:
        async with adapter(provider) as other:
            assert await ask(other, 1) == "say 1"
        assert await ask(one, 2) == "say 2"
