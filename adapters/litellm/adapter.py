"""Calls any provider that LiteLLM knows. The only door to `litellm`, which takes seconds to import: on entry only.

The library's own retries, telemetry and look-ups are off: attempts are the runner's to count.
"""

import asyncio
import logging
import os
import time
from difflib import get_close_matches
from types import ModuleType, TracebackType
from typing import Any, Self

from dep_mcp.adapters.litellm.errors import translate
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard, RequestKind, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError


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
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the library's connections, and end its logging worker."""
        await self._litellm.close_litellm_async_clients()
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
            raise translate(error) from error
        return _completion(reply).model_copy(update={"latency_s": time.monotonic() - begin})


def _completion(reply: Any) -> Completion:  # noqa: ANN401 (the library's)
    if not reply.choices:
        msg = "the provider answered without a choice"
        raise ModelCallError(msg, 502)
    choice, counted = reply.choices[0], getattr(reply, "usage", None)
    prompt, completion = getattr(counted, "prompt_tokens", None), getattr(counted, "completion_tokens", None)
    known = bool(prompt or completion)  # the library says 0 where the provider said nothing
    answer = TextAnswer(text=choice.message.content or "", finish_reason=choice.finish_reason)
    return Completion(
        answer=answer,
        usage=Usage(prompt_tokens=prompt, completion_tokens=completion) if known else Usage(),
        cost_usd=reply._hidden_params.get("response_cost"),  # noqa: SLF001 (where the library documents it)
        model=reply.model,
    )


def _load() -> ModuleType:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or the import fetches a price list
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False  # a setting that a provider can't take is an error, never silently dropped
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm
