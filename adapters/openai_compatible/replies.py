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
    return str(said or payload[:200].decode(errors="replace") or "no reason given")[:500]


def _meaning(status: int, error: object, detail: str) -> int:
    codes = f"{error.get('code')} {error.get('type')}" if isinstance(error, dict) else ""
    text = f"{codes} {detail}".lower()
    if status == _OK:  # an error inside a good reply
        code = error.get("code") if isinstance(error, dict) else None
        status = int(code) if str(code).isdigit() and 400 <= int(str(code)) < 600 else 502  # noqa: PLR2004 (HTTP errors)
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


def token_log_likelihoods(choice: Mapping[str, Any], option: str) -> list[float]:
    """The log-likelihoods of the tokens of a forced option, in either of llama.cpp's shapes.

    Raises:
        ModelCallError: 502: they are missing, or the endpoint generated another text.
    """
    logprobs = choice.get("logprobs")
    values: list[float] = []
    if isinstance(logprobs, dict) and isinstance(logprobs.get("content"), list):
        values = [float(token["logprob"]) for token in logprobs["content"]]
    elif isinstance(logprobs, dict) and isinstance(logprobs.get("token_logprobs"), list):
        values = [float(value) for value in logprobs["token_logprobs"]]
    if not values or choice.get("text") != option:
        msg = "the endpoint doesn't give log-likelihoods of forced options: it needs a grammar, as llama.cpp has"
        raise ModelCallError(msg, 502)
    return values
