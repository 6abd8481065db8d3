"""Settings that change numbers travel as they are; what a model thought stays apart from what it said."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from dep_mcp.adapters.litellm.adapter import Adapter as LiteLLM
from dep_mcp.adapters.openai_compatible.adapter import Adapter as Direct
from dep_mcp.adapters.outcome import apart
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, Message, ModelCard, TextAnswer
from dep_mcp.testing import faulty_provider

ITEM = Item(item_id="1", messages=(Message(role="user", content="why?"),))
both = pytest.mark.parametrize("kind", ["direct", "litellm"])


@asynccontextmanager
async def endpoint(message: dict[str, Any], seen: list[dict[str, Any]]) -> AsyncGenerator[str]:
    """Answers with this message, and keeps what it was asked."""

    async def answer(request: web.Request) -> web.Response:
        seen.append(await request.json())
        usage = {
            "prompt_tokens": 3,
            "completion_tokens": 9,
            "total_tokens": 12,
            "completion_tokens_details": {"reasoning_tokens": 7},
        }
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        return web.json_response(body)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def ask(kind: str, api_base: str, generation: Generation, **card: Any) -> Completion:
    model = {"direct": "m", "litellm": "hosted_vllm/m"}[kind]
    made = ModelCard(name="m", adapter=kind, model=model, api_base=api_base, **card)
    async with (Direct if kind == "direct" else LiteLLM)(made, api_key="k") as adapter:
        return await adapter.complete(ITEM, generation, timeout_s=20)


@both
async def test_every_setting_travels(kind: str) -> None:
    """None is dropped silently, and the system prompt comes before the item's own messages."""
    seen: list[dict[str, Any]] = []
    generation = Generation(
        temperature=0.5,
        top_p=0.9,
        max_tokens=77,
        stop=("END", "\n\n"),
        seed=5,
        reasoning_effort="low",
        system_prompt="Be brief.",
    )
    async with endpoint({"content": "so"}, seen) as api_base:
        await ask(kind, api_base, generation)
    (body,) = seen
    sent = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 77, "stop": ["END", "\n\n"], "seed": 5}
    assert {name: body[name] for name in sent} == sent
    assert body["reasoning_effort"] == "low"
    assert [(message["role"], message["content"]) for message in body["messages"]] == [
        ("system", "Be brief."),
        ("user", "why?"),
    ]


@both
@pytest.mark.parametrize(
    ("message", "tags"),
    [
        ({"content": "42", "reasoning_content": "six times seven"}, False),
        ({"content": "<think>\nsix times seven\n</think>\n\n42"}, True),
        ({"content": "six times seven</think>\n42"}, True),
    ],
)
async def test_reasoning_is_kept_apart(kind: str, message: dict[str, Any], *, tags: bool) -> None:
    """It isn't part of the answer, and is neither submitted nor scored; its tokens are counted."""
    async with endpoint(message, []) as api_base:
        completion = await ask(kind, api_base, Generation(), reasoning_tags=tags)
    assert isinstance(completion.answer, TextAnswer)
    assert (completion.answer.text, completion.reasoning) == ("42", "six times seven")
    assert completion.usage.reasoning_tokens == 7


async def test_tags_are_text_unless_the_card_says_otherwise() -> None:
    """Nothing is cut from an answer silently; LiteLLM takes leading tags for reasoning whatever a card says."""
    async with endpoint({"content": "<think>a</think>b"}, []) as api_base:
        completion = await ask("direct", api_base, Generation())
    assert isinstance(completion.answer, TextAnswer)
    assert (completion.answer.text, completion.reasoning) == ("<think>a</think>b", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", ("plain", None)),
        ("<think>a</think>b", ("b", "a")),
        (" <think>never closed", ("", "never closed")),
        ("a</think>\n\nb</think>", ("b</think>", "a")),
    ],
)
def test_only_a_leading_thought_is_taken_apart(text: str, expected: tuple[str, str | None]) -> None:
    """And where it was cut while it thought, there is no answer."""
    assert apart(text, tags=True) == expected
    assert apart(text, tags=False) == (text, None)


@both
async def test_limits_that_the_provider_states_come_with_the_answer(kind: str) -> None:
    """So that the endpoint's limiter can keep to them before anything is refused."""
    async with faulty_provider(ratelimit_headers=True, rate_per_s=100, burst=5, answer="4") as provider:
        found = [await ask(kind, provider.api_base, Generation()) for _ in range(2)][-1].allowance
    assert found is not None
    assert found.requests is not None
    assert (found.requests.limit, found.requests.per_s) == (5, pytest.approx(100, rel=0.1))
