"""What a command or a function is asked, and what it said as the uniform reply."""

import json
from typing import Any

from pydantic import ValidationError

from dep_mcp.models import Completion
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, RequestKind, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError

_TEXT = {"text", "finish_reason", "reasoning", "usage"}
_CHOICE = {"log_likelihoods", "token_counts", "usage"}


def request(item: Item, generation: Generation, epoch: int) -> dict[str, Any]:
    """A request as JSON."""
    return {
        "item_id": item.item_id,
        "epoch": epoch,
        "messages": [message.model_dump() for message in generation.messages(item)],
        "options": list(item.options),
        "generation": generation.sent(),
    }


def completion(said: object, item: Item, latency_s: float) -> Completion:
    """The uniform reply.

    Args:
        said: Text, perhaps that of a JSON object, or such an object.
        item: What was asked.
        latency_s: How long it took.

    Raises:
        ModelCallError: 502: it is neither, or can't be submitted.
    """
    values = _object(said) if isinstance(said, str) else said
    try:
        answer = _choice(values) if item.kind is RequestKind.CHOICE else _text(values, said)
        known = values if isinstance(values, dict) else {}
        usage = Usage.model_validate(known.get("usage") or {})
        return Completion(answer=answer, usage=usage, latency_s=latency_s, reasoning=known.get("reasoning"))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, fault["loc"])) for fault in error.errors())
        msg = f"it answered with something that can't be submitted (the {fields} of {error.title})"
        raise ModelCallError(msg, 502) from None


def _object(text: str) -> object:
    """The JSON object that a text is, if it is one of a reply's shape."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return text
    of_shape = isinstance(values, dict) and ("text" in values or "log_likelihoods" in values)
    return values if of_shape and set(values) <= _TEXT | _CHOICE else text


def _text(values: object, said: object) -> TextAnswer:
    if isinstance(values, dict) and "text" in values:
        return TextAnswer(text=values["text"], finish_reason=values.get("finish_reason"))
    if isinstance(said, str):
        return TextAnswer(text=said)
    msg = f"it answered with a {type(said).__name__}: give text, or a dictionary with `text`"
    raise ModelCallError(msg, 502)


def _choice(values: object) -> ChoiceAnswer:
    if isinstance(values, dict) and "log_likelihoods" in values:
        return ChoiceAnswer(
            log_likelihoods=tuple(values["log_likelihoods"]), token_counts=tuple(values.get("token_counts", ()))
        )
    msg = "the item has options: it must answer with `log_likelihoods` and `token_counts`, one each per option"
    raise ModelCallError(msg, 502)
