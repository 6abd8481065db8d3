"""Bare loops, the floors: `python bench/loops.py aiohttp|litellm URL ITEMS WIDTH`. They call and read the answer."""

import asyncio
import sys
from collections.abc import Awaitable, Callable

from benchmarks.items.questions import ANSWER, question  # as a script, it finds the folder beside it

Call = Callable[[str], Awaitable[str]]


async def _all(call: Call, items: int, width: int) -> None:
    numbers = iter(range(items))

    async def work() -> None:
        for number in numbers:
            if await call(question(number)) != ANSWER:
                sys.exit("a wrong answer")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(width):
            tasks.create_task(work())


async def aiohttp_loop(base: str, items: int, width: int) -> None:
    """The least that a client on aiohttp can do."""
    import aiohttp

    url, headers = base + "/chat/completions", {"Authorization": "Bearer none"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=width), headers=headers) as session:

        async def call(text: str) -> str:
            messages = [{"role": "user", "content": text}]
            body = {"model": "faulty", "messages": messages, "temperature": 0.0, "max_tokens": 16}
            async with session.post(url, json=body) as reply:
                return str((await reply.json())["choices"][0]["message"]["content"])

        await _all(call, items, width)


async def litellm_loop(base: str, items: int, width: int) -> None:
    """The least that a client on LiteLLM can do."""
    import litellm

    async def call(text: str) -> str:
        reply = await litellm.acompletion(
            model="openai/faulty", messages=[{"role": "user", "content": text}], api_base=base, api_key="none",
            temperature=0.0, max_tokens=16, timeout=60, num_retries=0, max_retries=0,
        )  # fmt: skip
        return str(reply.choices[0].message.content)

    await _all(call, items, width)


if __name__ == "__main__":
    kind, address, total, at_once = sys.argv[1:]
    loop = {"aiohttp": aiohttp_loop, "litellm": litellm_loop}[kind]
    asyncio.run(loop(address, int(total), int(at_once)))
