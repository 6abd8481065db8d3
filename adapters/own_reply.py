"""What a user's own command or function replied, as a completion: text, or an object that says more."""

from typing import Annotated, Any

from pydantic import Field, ValidationError

from dep_mcp.models import Completion
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, TextAnswer, Usage, WireModel
from dep_mcp.protocol.errors import ModelCallError

KINDS = ("text", "log_likelihoods")
"""An object that has one of these fields is a reply."""


class OwnReply(WireModel):
    """The object: `text`, or `log_likelihoods` and `token_counts`; what isn't known is left out."""

    text: str | None = None
    finish_reason: str | None = None
    log_likelihoods: tuple[float, ...] | None = None
    """One for each option, natural logarithm."""
    token_counts: tuple[int, ...] | None = None
    """One for each option."""
    usage: Usage = Usage()
    reasoning: str | None = None
    model: str | None = None
    cost_usd: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


def request(item: Item, generation: Generation, epoch: int) -> dict[str, Any]:
    """What is asked, as an object."""
    return {
        "item_id": item.item_id,
        "messages": [message.model_dump() for message in item.messages],
        "options": list(item.options),
        "generation": generation.sent(),
        "epoch": epoch,
    }


def completion(said: object, item: Item) -> Completion:
    """The completion of a reply.

    Raises:
        ModelCallError: 502: it is neither text nor such an object, or doesn't fit the protocol; 422: the item asks
            for log-likelihoods and got text, or the other way round, or not one for each option.
    """
    try:
        reply = OwnReply(text=said) if isinstance(said, str) else OwnReply.model_validate(said)
        answer = _answer(reply)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3])
        msg = f"the reply is neither text nor an object with text, or log_likelihoods and token_counts ({faults})"
        raise ModelCallError(msg, 502) from None
    weighed = len(answer.log_likelihoods) if isinstance(answer, ChoiceAnswer) else 0
    if weighed != len(item.options):
        msg = f"the item has {len(item.options)} options, and the reply weighs {weighed}"
        raise ModelCallError(msg, 422)
    return Completion(
        answer=answer,
        usage=reply.usage,
        cost_usd=reply.cost_usd,
        model=reply.model,
        reasoning=reply.reasoning,
    )


def _answer(reply: OwnReply) -> TextAnswer | ChoiceAnswer:
    if reply.log_likelihoods is not None:
        return ChoiceAnswer(log_likelihoods=reply.log_likelihoods, token_counts=reply.token_counts or ())
    return TextAnswer.model_validate({"text": reply.text, "finish_reason": reply.finish_reason})
