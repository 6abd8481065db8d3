"""From what a provider said to the error raised: a status of the contract, and a detail fit to be kept and shown."""

import json
import re
from collections.abc import Mapping, Sequence

from dep_mcp.protocol import STATUS_CONTRACT, Action, Item, rule_for
from dep_mcp.protocol.errors import ModelCallError

MOST_CHARACTERS = 300
"""Of a detail. Looked at are twice as many: a search for each of them in a long prompt takes its time."""

BY_CODE: Mapping[str, int] = {
    "context_length_exceeded": 413,
    "content_policy_violation": 451,
    "content_filter": 451,
    "insufficient_quota": 402,
    "rate_limit_exceeded": 429,
    "invalid_api_key": 401,
    "model_not_found": 404,
    "server_error": 500,
}
"""What codes without a number mean, in errors inside a reply of 200, whose status says nothing."""

_OPEN, _CLOSE = "<think>", "</think>"
_PROMPT_WINDOW = 16
_KEY_WINDOW = 8


def apart(text: str, *, tags: bool) -> tuple[str, str | None]:
    """An answer and the reasoning it begins with, between `<think>` and `</think>`, where a card says that it does.

    A template may have given the model the opening tag, so that only the closing one is in its text. A thought that was
    cut before its end is no answer.
    """
    thought, closed, answer = text.partition(_CLOSE)
    begun = thought.lstrip().startswith(_OPEN)
    if not tags or not (closed or begun):
        return text, None
    return answer.lstrip("\n"), thought.strip().removeprefix(_OPEN).strip()


def outcome(
    said: str, status: int, *, item: Item | None, api_key: str | None, retry_after_s: float | None = None
) -> ModelCallError:
    """The error of a call that failed; its detail names the status where it was none of the contract.

    Args:
        said: The provider's words, which may quote the request.
        status: As the provider meant it; 200 means that the reply was none.
        item: What was sent, if it was one.
        api_key: What it was sent with.
        retry_after_s: Seconds the provider asked to wait.
    """
    rule = STATUS_CONTRACT[502] if rule_for(status).action is Action.RECORD else rule_for(status)
    if rule.status != status:
        said = f"HTTP {status}: {said}"
    return ModelCallError(presentable(said, item, api_key), rule.status, retry_after_s=retry_after_s)


def presentable(said: str, item: Item | None, api_key: str | None) -> str:
    """The words of a provider on one short line, without what they quote of the prompt or the key."""
    text = " ".join(said.split())[: 2 * MOST_CHARACTERS]
    if api_key:
        text = _without(text, (api_key,), _KEY_WINDOW, "[key]")
    if item is None:
        return text[:MOST_CHARACTERS]
    asked = (*(message.content for message in item.messages), *item.options)
    return _without(text, [form for one in asked for form in _forms(one)], _PROMPT_WINDOW, "[prompt]")[:MOST_CHARACTERS]


def _forms(content: str) -> tuple[str, ...]:
    """A text as it is, and as JSON or Python would quote it, on one line as the detail is."""
    quoted = (content, json.dumps(content)[1:-1], json.dumps(content, ensure_ascii=False)[1:-1])
    return tuple({" ".join(form.split()) for form in quoted} - {""})


def _without(text: str, sources: Sequence[str], window: int, mark: str) -> str:
    """Cut every stretch of at least `window` characters that a source holds, and whole sources shorter than that."""
    hidden = [False] * len(text)
    for source in sources:
        if len(source) < window:
            for found in re.finditer(rf"(?<!\w){re.escape(source)}(?!\w)", text):
                hidden[found.start() : found.end()] = [True] * (found.end() - found.start())
            continue
        for start in range(len(text) - window + 1):
            if text[start : start + window] in source:
                hidden[start : start + window] = [True] * window
    kept: list[str] = []
    for place, character in enumerate(text):
        if not hidden[place]:
            kept.append(character)
        elif not place or not hidden[place - 1]:
            kept.append(mark)
    return "".join(kept)
