"""Calls LiteLLM, in a worker process. The only door to `litellm`, which takes four CPU seconds to import.

The library's own retries, telemetry and look-ups are off: attempts are the runner's to count.
"""

import asyncio
import logging
import os
import re
import time
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from dep_mcp.adapters.litellm.errors import translate
from dep_mcp.adapters.litellm.wire import Call, Check
from dep_mcp.adapters.outcome import BY_CODE, apart, outcome
from dep_mcp.models import Completion
from dep_mcp.models.allowance import Allowance, allowance
from dep_mcp.protocol import Item, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError


def load() -> ModuleType:
    """Import the library, quiet and offline."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or the import fetches a price list
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    litellm.drop_params = False  # a setting that a provider can't take is an error, never silently dropped
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


def check(library: Any, request: Check) -> None:  # noqa: ANN401 (the library's module, loosely typed)
    """Is the provider known, and its key there? Nothing is sent.

    Raises:
        UnknownNameError: No such provider.
        ModelCallError: 401: names the variables that hold the key.
    """
    providers = [str(getattr(entry, "value", entry)) for entry in library.provider_list]
    provider = request.model.partition("/")[0]
    if provider not in providers:
        near = ", ".join(get_close_matches(provider, providers, 3, 0.4)) or "see LiteLLM's list of providers"
        msg = f"{request.name}: no provider {provider!r}; nearest: {near}"
        raise UnknownNameError(msg)
    missing: list[str] = []
    if request.api_key is None and request.api_key_env is not None:
        missing = [request.api_key_env]
    elif request.api_key is None and request.api_base is None:
        missing = library.validate_environment(request.model)["missing_keys"]
    if missing:
        msg = f"{request.name} needs a key: set {' and '.join(missing)} in the environment"
        raise ModelCallError(msg, 401)


async def complete(library: Any, call: Call) -> Completion:  # noqa: ANN401 (the library's module, loosely typed)
    """One chat completion.

    Raises:
        ModelCallError: With exactly one status of the contract.
    """
    begin = time.monotonic()
    try:
        async with asyncio.timeout(call.timeout_s + 1):
            reply = await library.acompletion(
                model=call.model,
                messages=[message.model_dump() for message in call.messages],
                api_base=call.api_base,
                api_key=call.api_key or ("none" if call.api_base else None),
                timeout=call.timeout_s,
                num_retries=0,
                max_retries=0,
                **call.settings,
            )
    except TimeoutError:
        msg = f"no answer within {call.timeout_s:.0f} s"
        raise ModelCallError(msg, 408) from None
    except Exception as error:
        # The library raises classes of its own, of the provider's SDK and of HTTP clients: all are translated.
        raise translate(error, item=Item(item_id="-", messages=call.messages), api_key=call.api_key) from error
    return _completion(reply, time.monotonic() - begin, tags=call.reasoning_tags)


def _completion(reply: Any, latency_s: float, *, tags: bool) -> Completion:  # noqa: ANN401 (the library's)
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
    details = getattr(counted, "completion_tokens_details", None)
    text, thought = apart(choice.message.content or "", tags=tags)
    own_thought = getattr(choice.message, "reasoning_content", None)
    if tags and own_thought is not None:  # the library took a leading thought apart by itself, with its line breaks
        text, thought = text.lstrip("\n"), own_thought.strip()
    prompt, completion = _count(prompt), _count(completion)
    known = bool(prompt or completion)  # the library says 0 where the provider said nothing
    try:
        return Completion(
            answer=TextAnswer(text=text, finish_reason=finish),
            usage=Usage(
                prompt_tokens=prompt,
                completion_tokens=completion,
                reasoning_tokens=_count(getattr(details, "reasoning_tokens", None)),
            )
            if known
            else Usage(),
            cost_usd=reply._hidden_params.get("response_cost"),  # noqa: SLF001 (where the library documents it)
            model=reply.model,
            latency_s=latency_s,
            allowance=_allowance(reply),
            reasoning=thought or own_thought,
        )
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        msg = f"the provider answered with something that can't be submitted (the {fields} of {error.title})"
        raise ModelCallError(msg, 502) from None


def _count(value: object) -> int | None:
    """Tokens as a provider counted them; nothing where that can't be."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _allowance(reply: Any) -> Allowance | None:  # noqa: ANN401 (the library's)
    told = reply._hidden_params.get("additional_headers") or {}  # noqa: SLF001 (where the library documents it)
    headers = {str(name).lower().removeprefix("llm_provider-"): str(value) for name, value in told.items()}
    return allowance(headers)
