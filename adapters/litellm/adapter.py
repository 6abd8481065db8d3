"""Calls any provider that LiteLLM knows. The only door to `litellm`, which takes seconds to import: on entry only.

The library's own retries, telemetry and look-ups are off: attempts are the runner's to count.
"""

import asyncio
import logging
import os
import re
import time
from difflib import get_close_matches
from types import ModuleType, TracebackType
from typing import Any, Self

from pydantic import ValidationError

from dep_mcp.adapters.litellm.errors import translate
from dep_mcp.adapters.outcome import BY_CODE, outcome
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard, RequestKind, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError

_users: set["Adapter"] = set()
"""Adapters inside their `async with`: the library has one set of connections for all."""


class Adapter:
    """One model of one provider.

    Args:
        card: Its `model` is LiteLLM's name, `provider/model`.
        api_key: The key; `None` leaves it to the provider's usual variable.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        self._card = card
        self._api_key = api_key
        self._library: ModuleType | None = None

    async def __aenter__(self) -> Self:
        """Import the library, in a thread, so that the benchmark's container can start meanwhile."""
        self._library = await asyncio.to_thread(_load)
        _users.add(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the library's connections, and end its logging worker, once no other adapter uses them."""
        _users.discard(self)
        if _users:
            return
        await self._litellm.close_litellm_async_clients()
        # It keeps what it closed, and would send the next adapter's calls through it.
        self._litellm.in_memory_llm_clients_cache.flush_cache()
        handler = getattr(self._litellm, "base_llm_aiohttp_handler", None)
        if handler is not None:
            handler.client_session = handler.transport = None
        from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

        await GLOBAL_LOGGING_WORKER.stop()

    @property
    def _litellm(self) -> Any:  # noqa: ANN401 (the library's module, loosely typed)
        if self._library is None:
            msg = "the adapter wasn't entered"
            raise RuntimeError(msg)
        return self._library

    async def check(self) -> None:
        """Is the provider known, and its key there? Nothing is sent.

        Raises:
            UnknownNameError: No such provider.
            ModelCallError: 401: names the variables that hold the key.
        """
        providers = [str(getattr(entry, "value", entry)) for entry in self._litellm.provider_list]
        provider = self._card.model.partition("/")[0]
        if provider not in providers:
            near = ", ".join(get_close_matches(provider, providers, 3, 0.4)) or "see LiteLLM's list of providers"
            msg = f"{self._card.name}: no provider {provider!r}; nearest: {near}"
            raise UnknownNameError(msg)
        if self._api_key is None and self._card.api_key_env is not None:
            missing = [self._card.api_key_env]
        elif self._api_key is None and self._card.api_base is None:
            missing = self._litellm.validate_environment(self._card.model)["missing_keys"]
        else:
            missing = []
        if missing:
            msg = f"{self._card.name} needs a key: set {' and '.join(missing)} in the environment"
            raise ModelCallError(msg, 401)

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """One chat completion.

        Raises:
            ModelCallError: With exactly one status of the contract.
        """
        del epoch
        if item.kind is not RequestKind.CHAT:
            msg = "models behind LiteLLM answer chat items only"
            raise ModelCallError(msg, 400)
        settings = generation.model_dump(exclude_none=True, exclude={"stop"})
        if generation.stop:
            settings["stop"] = list(generation.stop)
        begin = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s + 1):
                reply = await self._litellm.acompletion(
                    model=self._card.model,
                    messages=[message.model_dump() for message in item.messages],
                    api_base=self._card.api_base,
                    api_key=self._api_key or ("none" if self._card.api_base else None),
                    timeout=timeout_s,
                    num_retries=0,
                    max_retries=0,
                    **settings,
                )
        except TimeoutError:
            msg = f"no answer within {timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        except Exception as error:
            # The library raises classes of its own, of the provider's SDK and of HTTP clients: all are translated.
            raise translate(error, item=item, api_key=self._api_key) from error
        return _completion(reply).model_copy(update={"latency_s": time.monotonic() - begin})


def _completion(reply: Any) -> Completion:  # noqa: ANN401 (the library's)
    if not reply.choices:
        msg = "the provider answered without a choice"
        raise ModelCallError(msg, 502)
    choice, counted = reply.choices[0], getattr(reply, "usage", None)
    own = getattr(choice, "provider_specific_fields", None) or {}  # where the library keeps what it translated
    finish = own.get("native_finish_reason") or choice.finish_reason
    if finish == "error":
        code = str((own.get("error") or {}).get("code"))
        msg = "the answer ended in an error"
        status = int(code) if re.fullmatch("[45][0-9]{2}", code) else BY_CODE.get(code, 502)
        raise outcome(msg, status, item=None, api_key=None)
    prompt, completion = getattr(counted, "prompt_tokens", None), getattr(counted, "completion_tokens", None)
    known = bool(prompt or completion)  # the library says 0 where the provider said nothing
    try:
        return Completion(
            answer=TextAnswer(text=choice.message.content or "", finish_reason=finish),
            usage=Usage(prompt_tokens=prompt, completion_tokens=completion) if known else Usage(),
            cost_usd=reply._hidden_params.get("response_cost"),  # noqa: SLF001 (where the library documents it)
            model=reply.model,
        )
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        msg = f"the provider answered with something that can't be submitted (the {fields} of {error.title})"
        raise ModelCallError(msg, 502) from None


def _load() -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or the import fetches a price list
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False  # a setting that a provider can't take is an error, never silently dropped
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm
