"""Calls any provider that LiteLLM knows, in worker processes: a call costs the library about five CPU milliseconds.

The library isn't imported here. A worker gets calls that are admitted already and gives back what came of them:
limits, attempts and counts are the runner's alone.
"""

from types import TracebackType
from typing import Self

from pydantic import TypeAdapter
from pydantic_core import to_json

from dep_mcp.adapters.litellm.wire import Check, Failure
from dep_mcp.adapters.litellm.workers import Worker, usable_cores
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, Message, ModelCard, RequestKind
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError

_MESSAGES = TypeAdapter(tuple[Message, ...])


class Adapter:
    """One model of one provider.

    Args:
        card: Its `model` is LiteLLM's name, `provider/model`.
        api_key: The key; `None` leaves it to the provider's usual variable.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        self._card = card
        self._api_key = api_key
        self._workers: list[Worker] = []
        self._generation: Generation | None = None
        self._settings = b""

    async def __aenter__(self) -> Self:
        """Start as many workers as pay off; they import the library while the benchmark's container starts."""
        most = min(usable_cores(), self._card.limits.concurrency or usable_cores())
        self._workers = [await Worker.start() for _ in range(most)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them."""
        for worker in self._workers:
            worker.close()

    async def check(self) -> None:
        """Is the provider known, and its key there? Nothing is sent.

        Raises:
            UnknownNameError: No such provider.
            ModelCallError: 401: names the variables that hold the key; 404: the library can't be imported.
        """
        card = self._card
        request = Check(
            name=card.name,
            model=card.model,
            api_base=card.api_base,
            api_key=self._api_key,
            api_key_env=card.api_key_env,
        )
        reply = await (await self._worker()).ask(request.model_dump_json().encode())
        if reply.failure is not None:
            raise _error(reply.failure)

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """One chat completion.

        Raises:
            ModelCallError: With exactly one status of the contract.
        """
        del epoch
        if item.kind is not RequestKind.CHAT:
            msg = "models behind LiteLLM answer chat items only"
            raise ModelCallError(msg, 400)
        if generation is not self._generation:
            self._generation, self._settings = generation, self._beginning(generation)
        request = b'%b,"timeout_s":%g,"messages":%b}' % (
            self._settings,
            timeout_s,
            _MESSAGES.dump_json(generation.messages(item)),
        )
        reply = await (await self._worker()).ask(request)
        if reply.completion is None:
            raise _error(reply.failure or Failure(status=502, detail="the worker answered nothing"))
        return reply.completion

    def _beginning(self, generation: Generation) -> bytes:
        """The beginning of a request, which is the same for all items."""
        card, settings = self._card, generation.sent()
        if generation.reasoning_effort is not None:  # the library's list of models that take it is never complete
            settings["allowed_openai_params"] = ["reasoning_effort"]
        same = {"do": "call", "model": card.model, "api_base": card.api_base, "api_key": self._api_key}
        return to_json(same | {"settings": settings, "reasoning_tags": card.reasoning_tags})[:-1]

    async def _worker(self) -> Worker:
        """The one with the fewest calls, another in the place of one that died."""
        if not self._workers:
            msg = "the adapter wasn't entered"
            raise RuntimeError(msg)
        place = min(range(len(self._workers)), key=lambda place: len(self._workers[place].waiting))
        if self._workers[place].lost:
            self._workers[place] = await Worker.start()
        return self._workers[place]


def _error(failure: Failure) -> ModelCallError | UnknownNameError:
    if failure.unknown:
        return UnknownNameError(failure.detail)
    return ModelCallError(failure.detail, failure.status, retry_after_s=failure.retry_after_s)
