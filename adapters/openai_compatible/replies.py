"""What a reply means: one status of the contract, or its parts. Pure functions."""

import json
from collections.abc import Mapping
from typing import Any

from dep_mcp.models.retry_after import retry_after_s
from dep_mcp.protocol import Usage
from dep_mcp.protocol.errors import ModelCallError

_TOO_LONG = ("context_length_exceeded", "maximum context length", "exceed_context_size", "context window")
_POLICY = ("content_policy_violation", "content_filter", "content policy")
_PURSE = ("insufficient_quota", "billing_hard_limit", "insufficient funds", "credit balance")
_OK = 200


def parse(status: int, headers: Mapping[str, str], payload: bytes) -> dict[str, Any]:
    """The JSON object of a good reply.

    Raises:
        ModelCallError: With the status that the reply means, which isn't always the one it has.
    """
    try:
        reply = json.loads(payload)
    except ValueError:
        reply = None
    error = reply.get("error") if isinstance(reply, dict) else None
    if status == _OK and isinstance(reply, dict) and not error:
        return reply
    if status == _OK and not error:
        msg = "the endpoint answered 200 with something that is no JSON object"
        raise ModelCallError(msg, 502)
    detail = _detail(error, payload)
    meaning = _meaning(status, error, detail)
    raise ModelCallError(detail, meaning, retry_after_s=retry_after_s(headers))


def _detail(error: object, payload: bytes) -> str:
    said = error.get("message") if isinstance(error, dict) else error
    text = str(said or payload[:400].decode(errors="replace") or "no reason given")
    return " ".join(text.split())[:300]


def _meaning(status: int, error: object, detail: str) -> int:
    codes = f"{error.get('code')} {error.get('type')}" if isinstance(error, dict) else ""
    text = f"{codes} {detail}".lower()
    if status == _OK:  # an error inside a good reply
        code = str(error.get("code")) if isinstance(error, dict) else ""
        status = int(code) if code.isdigit() and 400 <= int(code) < 600 else 502  # noqa: PLR2004 (HTTP errors)
    if status in (400, 413, 422) and any(mark in text for mark in _TOO_LONG):
        return 413
    if status in (400, 403, 422) and any(mark in text for mark in _POLICY):
        return 451
    if status in (403, 429) and any(mark in text for mark in _PURSE):
        return 402
    return status


def first_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    """The first choice.

    Raises:
        ModelCallError: 502: there is none.
    """
    choices = reply.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    msg = "the endpoint answered without a choice"
    raise ModelCallError(msg, 502)


def text_of(content: object) -> str:
    """The text of a message's content: as it is; joined, where it comes in parts; empty where there is none."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def usage(reply: Mapping[str, Any]) -> Usage:
    """Tokens, where the endpoint counted them."""
    counted = reply.get("usage")
    if not isinstance(counted, dict):
        return Usage()
    prompt, completion = counted.get("prompt_tokens"), counted.get("completion_tokens")
    return Usage(
        prompt_tokens=prompt if isinstance(prompt, int) and prompt >= 0 else None,
        completion_tokens=completion if isinstance(completion, int) and completion >= 0 else None,
    )


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
