"""What a reply means: one status of the contract, or its parts. Pure functions."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from dep_mcp.adapters.outcome import BY_CODE
from dep_mcp.models.retry_after import retry_after_s
from dep_mcp.protocol import TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError

_TOO_LONG = ("context_length_exceeded", "maximum context length", "exceed_context_size", "context window")
_POLICY = ("content_policy_violation", "content_filter", "responsibleaipolicyviolation")
_PURSE = ("insufficient_quota", "billing_hard_limit", "insufficient funds", "credit balance")
_OK = 200
_REDIRECTS = (301, 302, 303, 307, 308)


class WrongAddressError(ModelCallError):
    """There can be no endpoint at the address, as opposed to an endpoint that lacks what was asked of it."""


def parse(status: int, headers: Mapping[str, str], payload: bytes) -> dict[str, Any]:
    """The JSON object of a good reply.

    Raises:
        ModelCallError: With the status that the reply means, which isn't always the one it has, and the provider's
            own words: they may quote the request, and pass through `adapters.outcome` before anyone sees them.
    """
    try:
        reply = json.loads(payload)
    except (ValueError, RecursionError):
        reply = None
    error = reply.get("error") if isinstance(reply, dict) else None
    if status == _OK and isinstance(reply, dict) and not error:
        return reply
    if status == _OK and not error:
        msg = "the endpoint answered 200 with something that is no JSON object"
        raise ModelCallError(msg, 502)
    if status in _REDIRECTS:
        msg = f"the address redirects to {headers.get('location', 'another')}: give that one"
        raise WrongAddressError(msg, 404)
    raise _refused(status, headers, error, payload[:1000].decode(errors="replace"))


def _refused(status: int, headers: Mapping[str, str], error: object, raw: str) -> ModelCallError:
    said = str((error.get("message") if isinstance(error, dict) else error) or raw or "no reason given")
    return ModelCallError(said, _meaning(status, error, said), retry_after_s=retry_after_s(headers))


def _meaning(status: int, error: object, said: str) -> int:
    code = str(error.get("code")).lower() if isinstance(error, dict) else ""
    if status == _OK:  # an error inside a good reply
        status = int(code) if re.fullmatch("[45][0-9]{2}", code) else BY_CODE.get(code, 502)
    text = f"{code} {error.get('type') if isinstance(error, dict) else ''} {said}".lower()
    if status in (400, 413, 422) and any(mark in text for mark in _TOO_LONG):
        return 413
    if status in (400, 403, 422) and any(mark in text for mark in _POLICY):
        return 451
    if status in (400, 403, 429) and any(mark in text for mark in _PURSE):
        return 402
    return status


def first_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The first choice.

    Raises:
        ModelCallError: 502: there is none; or as the error says that stands in its place (OpenRouter puts one there
            when the provider behind it breaks in the middle).
    """
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        msg = "the endpoint answered without a choice"
        raise ModelCallError(msg, 502)
    choice = choices[0]
    if choice.get("error") or choice.get("finish_reason") == "error":
        raise _refused(_OK, {}, choice.get("error"), "the answer ended in an error")
    return choice


def answer(choice: Mapping[str, Any]) -> TextAnswer:
    """The text of a choice as it is; joined, where it comes in parts; empty where it is null. Reasoning stays out.

    Raises:
        ModelCallError: 502: it holds no message, or none that is text, or one too long to submit.
    """
    message, finish = choice.get("message"), choice.get("finish_reason")
    content = message.get("content") if isinstance(message, dict) else message
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    if not isinstance(message, dict) or not isinstance(content, str | None):
        msg = "the endpoint answered with a choice that holds no text"
        raise ModelCallError(msg, 502)
    try:
        return TextAnswer(text=content or "", finish_reason=None if finish is None else str(finish))
    except ValidationError:
        msg = f"the endpoint answered with {len(content or '')} characters, which is more than can be submitted"
        raise ModelCallError(msg, 502) from None


def reasoning(choice: Mapping[str, Any]) -> str | None:
    """What the model thought, in the fields of vLLM, SGLang and DeepSeek, or of OpenRouter."""
    message = choice.get("message")
    found = (message.get("reasoning_content") or message.get("reasoning")) if isinstance(message, dict) else None
    return found if isinstance(found, str) else None


def usage(reply: Mapping[str, Any]) -> Usage:
    """Tokens, where the endpoint counted them."""
    counted = reply.get("usage")
    if not isinstance(counted, dict):
        return Usage()
    prompt, completion = counted.get("prompt_tokens"), counted.get("completion_tokens")
    details = counted.get("completion_tokens_details")
    thought = details.get("reasoning_tokens") if isinstance(details, dict) else None
    return Usage(prompt_tokens=_count(prompt), completion_tokens=_count(completion), reasoning_tokens=_count(thought))


def total(parts: Sequence[Mapping[str, Any]]) -> Usage:
    """Tokens of several calls; unknown where one of them wasn't counted."""
    counted = [usage(part) for part in parts]
    prompts, completions = [one.prompt_tokens for one in counted], [one.completion_tokens for one in counted]
    return Usage(prompt_tokens=_sum(prompts), completion_tokens=_sum(completions))


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def name(reply: Mapping[str, Any]) -> str | None:
    """The model's name as the endpoint reported it."""
    reported = reply.get("model")
    return reported if isinstance(reported, str) else None


def tokens(reply: Mapping[str, Any]) -> list[int]:
    """The tokens of a text, as `/tokenize` gives them.

    Raises:
        ModelCallError: 502: there are none.
    """
    found = reply.get("tokens")
    if isinstance(found, list) and found and all(isinstance(token, int) for token in found):
        return found
    msg = "the endpoint doesn't tokenize as llama.cpp does, so it can't answer a choice by log-likelihood"
    raise ModelCallError(msg, 502)


def log_likelihoods(choice: Mapping[str, Any], forced: list[int]) -> list[float]:
    """The log-likelihoods of forced tokens, one each.

    Raises:
        ModelCallError: 502: they are missing, or those of other tokens.
    """
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    found = content if isinstance(content, list) else []
    if [token.get("id") for token in found] != forced:
        msg = "the endpoint doesn't give log-likelihoods of forced tokens: it needs llama.cpp's grammars over tokens"
        raise ModelCallError(msg, 502)
    return [float(token["logprob"]) for token in found]
