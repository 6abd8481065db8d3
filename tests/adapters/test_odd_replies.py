"""Replies that some provider really sends, or a hostile one could: both HTTP adapters, over a real socket."""

import asyncio
import gzip
import json
import warnings
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dep_mcp.adapters.litellm.adapter import Adapter as LiteLLM
from dep_mcp.adapters.openai_compatible.adapter import MOST_BYTES
from dep_mcp.adapters.openai_compatible.adapter import Adapter as Direct
from dep_mcp.models import Completion, ModelAdapter
from dep_mcp.protocol import Generation, Item, Message, ModelCard, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError
from dep_mcp.testing import faulty_provider

ITEM = Item(item_id="1", messages=(Message(role="user", content="a question that is long enough"),))
KEY = "sk-abcdefghijklmnop"

both = pytest.mark.parametrize("kind", ["direct", "litellm"])


@asynccontextmanager
async def canned(status: int, body: bytes, headers: str = "") -> AsyncGenerator[str]:
    """An endpoint that always says the same; yields its address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0]) if b"content-length:" in head else 0
                await reader.readexactly(length)
                start = f"HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\n{headers}"
                writer.write(f"{start}content-length: {len(body)}\r\n\r\n".encode() + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


def adapter(kind: str, api_base: str) -> ModelAdapter:
    name, model = {"direct": ("openai_compatible", "m"), "litellm": ("litellm", "openai/m")}[kind]
    card = ModelCard(name="m", adapter=name, model=model, api_base=api_base)
    return (Direct if kind == "direct" else LiteLLM)(card, api_key=KEY)


async def call(kind: str, status: int, body: object, headers: str = "") -> Completion:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydantic's, inside LiteLLM, of replies that aren't as declared
        async with canned(status, payload, headers) as api_base, adapter(kind, api_base) as entered:
            return await entered.complete(ITEM, Generation(), timeout_s=5)


def replied(message: object, finish: str = "stop", **choice: Any) -> dict[str, Any]:
    one = {"index": 0, "finish_reason": finish, "message": message} | choice
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [one]}


@both
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, replied({"role": "assistant", "content": "x" * (1 << 20) + "y"}), 502),
        (200, replied({"role": "assistant", "content": 1}), 502),
        (200, {"choices": [{"index": 0}]}, 502),
        (200, [], 502),
        (200, b"\xff\xfe{", 502),
        (200, b"[" * 200_000, 502),
        (200, replied({"role": "assistant", "content": "Ha"}, "error", error={"code": 503, "message": "gone"}), 503),
        (200, replied({"role": "assistant", "content": "Ha"}, "error"), 502),
        (200, {"error": {"message": "no", "code": "context_length_exceeded"}}, 413),
        (200, {"error": {"message": "no", "code": "insufficient_quota"}}, 402),
        (200, {"error": {"message": "no", "code": "rate_limit_exceeded"}}, 429),
        (200, {"error": {"message": "no", "code": "whatever"}}, 502),
        (400, {"error": {"message": "no", "code": "insufficient_quota"}}, 402),
        (400, {"error": {"message": "too long", "type": "exceed_context_size_error", "code": 400}}, 413),
        (400, {"error": {"message": "This model's maximum context length is 8 tokens", "code": 400}}, 413),
        (403, {"error": {"message": "join the content policy group", "code": "x"}}, 403),
        (409, {"error": {"message": "no"}}, 400),
        (520, {"error": {"message": "no"}}, 500),
    ],
)
async def test_no_oddity_passes_for_an_answer(kind: str, status: int, body: object, expected: int) -> None:
    """An empty answer that nobody gave would be scored as wrong."""
    with pytest.raises(ModelCallError) as raised:
        await call(kind, status, body)
    assert raised.value.status == expected


@both
async def test_reasoning_stays_out_of_the_answer(kind: str) -> None:
    """A number thought of on the way isn't the answer."""
    message = {"role": "assistant", "content": "42", "reasoning_content": "41? No."}
    assert (await call(kind, 200, replied(message))).answer == TextAnswer(text="42", finish_reason="stop")


@both
async def test_the_finish_reason_is_the_providers_own_word(kind: str) -> None:
    """Whatever a library makes of it."""
    completion = await call(kind, 200, replied({"role": "assistant", "content": ""}, "refused_by_committee"))
    assert isinstance(completion.answer, TextAnswer)
    assert completion.answer.finish_reason == "refused_by_committee"


@both
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, {"error": {"message": f"Incorrect API key: {KEY}", "code": "invalid_api_key"}}),
        (422, {"detail": [{"msg": "bad", "input": ITEM.messages[0].content, "key": KEY}]}),
        (400, {"error": {"message": f"can't parse {ITEM.messages[0].content!r}"}}),
        (500, b"Traceback ... " + ITEM.messages[0].content.encode()),
    ],
)
async def test_no_error_quotes_prompt_or_key(kind: str, status: int, body: object) -> None:
    """Errors end in logs, terminals and the store."""
    with pytest.raises(ModelCallError) as raised:
        await call(kind, status, body)
    assert KEY not in str(raised.value)
    assert "long enough" not in str(raised.value)


async def test_parts_of_a_text_are_joined_and_thoughts_among_them_left_out() -> None:
    """As Mistral sends them."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}]
    completion = await call("direct", 200, replied({"role": "assistant", "content": parts}))
    assert completion.answer == TextAnswer(text="42", finish_reason="stop")


async def test_impossible_counts_are_unknown() -> None:
    """Rather than negative costs."""
    body = replied({"role": "assistant", "content": "x"}) | {"usage": {"prompt_tokens": -1, "completion_tokens": True}}
    assert (await call("direct", 200, body)).usage == Usage()


async def test_a_redirect_is_a_wrong_address_at_the_check_already() -> None:
    """Following it would turn the call into a GET, and carry the key elsewhere."""
    async with (
        canned(302, b"", "location: http://127.0.0.1:9/v1\r\n") as api_base,
        adapter("direct", api_base) as entered,
    ):
        with pytest.raises(ModelCallError, match=r"127\.0\.0\.1:9") as checked:
            await entered.check()
        with pytest.raises(ModelCallError) as called:
            await entered.complete(ITEM, Generation(), timeout_s=5)
    assert checked.value.status == called.value.status == 404


@pytest.mark.parametrize("address", ["no address", "ftp://127.0.0.1/v1"])
async def test_what_is_no_address_is_refused_at_the_check(address: str) -> None:
    """Before a container is started for it."""
    async with adapter("direct", address) as entered:
        with pytest.raises(ModelCallError) as raised:
            await entered.check()
    assert raised.value.status == 404


async def test_a_model_that_the_endpoint_lists_otherwise_is_refused_with_the_nearest() -> None:
    """An empty list says nothing."""
    async with canned(200, b'{"data": [{"id": "mm"}, 3]}') as api_base, adapter("direct", api_base) as entered:
        with pytest.raises(UnknownNameError, match="mm"):
            await entered.check()
    async with canned(200, b'{"data": null}') as api_base, adapter("direct", api_base) as entered:
        await entered.check()


@both
async def test_one_adapter_after_another_reaches_the_same_endpoint(kind: str) -> None:
    """LiteLLM keeps the connections it has closed: the second model of a run got 500 for every call."""
    async with faulty_provider() as provider:
        for _ in range(2):
            async with adapter(kind, provider.api_base) as entered:
                await entered.complete(ITEM, Generation(), timeout_s=5)


@both
async def test_the_end_of_one_adapter_leaves_another_alone(kind: str) -> None:
    """They may share what the library keeps."""
    async with faulty_provider() as provider, adapter(kind, provider.api_base) as outer:
        async with adapter(kind, provider.api_base) as inner:
            await inner.complete(ITEM, Generation(), timeout_s=5)
        await outer.complete(ITEM, Generation(), timeout_s=5)


@pytest.mark.parametrize("headers", ["", "content-encoding: gzip\r\n"])
async def test_a_reply_without_end_is_a_fault(headers: str) -> None:
    """A hundred of them at once would take all memory; compressed, it is small on the wire."""
    body = b" " * (MOST_BYTES + 1)
    with pytest.raises(ModelCallError, match="goes on after 32 MiB") as raised:
        await call("direct", 200, gzip.compress(body) if headers else body, headers)
    assert raised.value.status == 502


async def test_a_compressed_reply_is_read() -> None:
    """Gateways compress."""
    body = gzip.compress(json.dumps({"choices": [{"message": {"content": "yes"}}]}).encode())
    completion = await call("direct", 200, body, "content-encoding: gzip\r\n")
    assert isinstance(completion.answer, TextAnswer)
    assert completion.answer.text == "yes"
