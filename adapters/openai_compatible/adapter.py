"""Calls an endpoint that speaks the OpenAI dialect (llama.cpp, vLLM, SGLang, Ollama, gateways) over aiohttp.

A choice is answered by llama.cpp: each option is tokenized as it would be alone, its tokens are forced by a
grammar over tokens, and their log-likelihoods, which the server gives as they were before the grammar, are
added up.
"""

import asyncio
import time
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self

import aiohttp
from pydantic import TypeAdapter
from pydantic_core import to_json

from dep_mcp.adapters.openai_compatible import replies
from dep_mcp.adapters.outcome import apart, outcome
from dep_mcp.models import Completion
from dep_mcp.models.allowance import Allowance, allowance
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, ModelCard, RequestKind, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError

CHECK_TIMEOUT_S = 10.0
MOST_BYTES = 32 * 2**20
"""Of a reply, once it is decompressed: a hundred in flight must fit in memory."""
_MESSAGES = TypeAdapter(tuple[Message, ...])
_Parts = tuple[TextAnswer | ChoiceAnswer, Usage, str | None, str | None]
"""Answer, usage, the model's name, its reasoning."""


def _settings(model: str, generation: Generation) -> bytes:
    """The beginning of a request's JSON, which is the same for all items."""
    return to_json({"model": model, **generation.sent()})[:-1]


async def _body(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= MOST_BYTES and "Content-Encoding" not in response.headers:
        return await response.read()
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MOST_BYTES:
            msg = f"the endpoint's reply goes on after {MOST_BYTES // 2**20} MiB"
            raise ModelCallError(msg, 502)
    return bytes(body)


class Adapter:
    """One endpoint.

    Args:
        card: Its `api_base` ends before `/chat/completions`.
        api_key: Sent as a bearer token.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        self._card = card
        self._base = (card.api_base or "").rstrip("/")
        self._root = self._base.removesuffix("/v1")
        self._key = api_key
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None
        self._allowance: Allowance | None = None
        self._generation: Generation | None = None
        self._settings = b""

    async def __aenter__(self) -> Self:
        """Open the connections that the calls share."""
        connector = aiohttp.TCPConnector(limit=0)  # the limiter's to bound
        headers = {"Content-Type": "application/json", "Accept": "application/json", **self._headers}
        self._session = aiohttp.ClientSession(connector=connector, headers=headers, cookie_jar=aiohttp.DummyCookieJar())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        if self._session is not None:
            await self._session.close()

    async def check(self) -> None:
        """Ask for the list of models: is the endpoint up, the key good, the model there?

        Raises:
            ModelCallError: 503 when nothing answers; 401 or 403.
            UnknownNameError: The endpoint lists its models, and this one isn't among them.
        """
        try:
            listed = await self._send("GET", "/models", None, CHECK_TIMEOUT_S)
        except ModelCallError as error:
            no_list = error.status in (404, 405, 501, 400, 502)  # as many endpoints have none
            if no_list and not isinstance(error, replies.WrongAddressError):
                return
            raise outcome(error.detail, error.status, item=None, api_key=self._key) from None
        there = [str(entry.get("id")) for entry in listed.get("data") or [] if isinstance(entry, dict)]
        if there and self._card.model not in there:
            near = ", ".join(get_close_matches(self._card.model, there, 3, 0.2) or there[:5])
            msg = f"{self._base} has no model {self._card.model!r}; nearest: {near}"
            raise UnknownNameError(msg)

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """One chat completion, or one forced completion per option.

        Raises:
            ModelCallError: With exactly one status of the contract.
        """
        del epoch
        begin = time.monotonic()
        try:
            if item.kind is RequestKind.CHOICE:
                parts = await self._choose(item, generation, timeout_s)
            else:
                parts = await self._chat(item, generation, timeout_s)
        except ModelCallError as error:
            wait_s = error.retry_after_s
            asked = item.model_copy(update={"messages": generation.messages(item)})
            raise outcome(error.detail, error.status, item=asked, api_key=self._key, retry_after_s=wait_s) from None
        answer, usage, model, thought = parts
        latency_s = time.monotonic() - begin
        return Completion(
            answer=answer,
            usage=usage,
            model=model,
            latency_s=latency_s,
            reasoning=thought,
            allowance=self._allowance,
        )

    async def _chat(self, item: Item, generation: Generation, timeout_s: float) -> _Parts:
        if generation is not self._generation:
            self._generation, self._settings = generation, _settings(self._card.model, generation)
        messages = _MESSAGES.dump_json(generation.messages(item))
        reply = await self._send(
            "POST", "/chat/completions", b'%b,"messages":%b}' % (self._settings, messages), timeout_s
        )
        choice = replies.first_choice(reply)
        answer, thought = replies.answer(choice), replies.reasoning(choice)
        if self._card.reasoning_tags and thought is None:
            text, thought = apart(answer.text, tags=True)
            answer = TextAnswer(text=text, finish_reason=answer.finish_reason)
        return answer, replies.usage(reply), replies.name(reply), thought

    async def _choose(self, item: Item, generation: Generation, timeout_s: float) -> _Parts:
        if RequestKind.CHOICE not in self._card.requests:
            msg = f"the card of {self._card.name} doesn't say that it answers choices"
            raise ModelCallError(msg, 400)
        try:
            async with asyncio.timeout(timeout_s):
                prompt = await self._prompt(generation.messages(item), timeout_s)
                weighed = [await self._weigh(prompt, option, timeout_s) for option in item.options]
        except TimeoutError:
            msg = f"{self._base} didn't weigh {len(item.options)} options within {timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        values, counts, parts = zip(*weighed, strict=True)
        answer = ChoiceAnswer(log_likelihoods=values, token_counts=counts)
        return answer, replies.total(parts), replies.name(parts[-1]), None

    async def _weigh(self, prompt: str, option: str, timeout_s: float) -> tuple[float, int, dict[str, Any]]:
        content = {"content": option, "add_special": False}
        tokens = replies.tokens(await self._send("POST", "/tokenize", content, timeout_s, base=self._root))
        body = {
            "model": self._card.model,
            "prompt": prompt,
            "grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens),
            "temperature": 0,
            "logprobs": 1,
            "max_tokens": len(tokens),
        }
        reply = await self._send("POST", "/completions", body, timeout_s)
        return sum(replies.log_likelihoods(replies.first_choice(reply), tokens)), len(tokens), reply

    async def _prompt(self, conversation: tuple[Message, ...], timeout_s: float) -> str:
        """The conversation as text, by the model's own chat template where the endpoint applies it."""
        messages = [message.model_dump() for message in conversation]
        try:
            reply = await self._send("POST", "/apply-template", {"messages": messages}, timeout_s, base=self._root)
        except ModelCallError as error:
            if error.status != 404:  # noqa: PLR2004 (no such endpoint)
                raise
            return "\n\n".join(message.content for message in conversation)
        return str(reply.get("prompt", ""))

    async def _send(
        self, method: str, path: str, body: object, timeout_s: float, *, base: str | None = None
    ) -> dict[str, Any]:
        if self._session is None:
            msg = "the adapter wasn't entered"
            raise RuntimeError(msg)
        url = (self._base if base is None else base) + path
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.request(
                method,
                url,
                data=body if body is None or isinstance(body, bytes) else to_json(body),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                payload = await _body(response)
                self._allowance = allowance(response.headers)
                return replies.parse(response.status, response.headers, payload)
        except TimeoutError:
            msg = f"{self._base} didn't answer within {timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        except aiohttp.ClientConnectorError as error:
            msg = f"nothing answers at {self._base} ({error.strerror or error}): start it, or check its address"
            raise ModelCallError(msg, 503) from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, ValueError) as error:
            msg = f"{self._base} is no address of an endpoint: give http://HOST:PORT/v1"
            raise replies.WrongAddressError(msg, 404) from error
        except aiohttp.ClientError as error:
            msg = f"{self._base} dropped the connection or answered no HTTP ({type(error).__name__})"
            raise ModelCallError(msg, 502) from error
