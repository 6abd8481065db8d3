"""What crosses the seal inwards: submissions, each bound to an item and an epoch."""

import hashlib
import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from dep_mcp.protocol.base import FiniteFloat, WireModel
from dep_mcp.protocol.ids import ItemId


def _encodable(text: object) -> object:
    """Half a surrogate pair is no Unicode text: it becomes U+FFFD, as decoders do with broken bytes."""
    if not isinstance(text, str) or text.isascii():
        return text
    return re.sub("[\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", text)


class TextAnswer(WireModel):
    """The model's raw text, never trimmed; may be empty."""

    kind: Literal["text"] = "text"
    text: Annotated[str, StringConstraints(max_length=1024 * 1024), BeforeValidator(_encodable)]
    finish_reason: Annotated[str, StringConstraints(max_length=200)] | None = None
    """As the provider said it: `stop`, `length`, `content_filter`…"""


class ChoiceAnswer(WireModel):
    """One log-likelihood (natural logarithm) per option, in the order of the item's options."""

    kind: Literal["choice"] = "choice"
    log_likelihoods: Annotated[tuple[FiniteFloat, ...], Field(min_length=2)]
    token_counts: tuple[Annotated[int, Field(ge=1)], ...]
    """Tokens per option, for length normalisation."""

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.token_counts) != len(self.log_likelihoods):
            msg = "one token count per log-likelihood"
            raise ValueError(msg)
        return self


class DeclaredFailure(WireModel):
    """No answer could be had: the status of the contract in which the last attempt ended."""

    kind: Literal["failure"] = "failure"
    status: Annotated[int, Field(ge=400, le=599, strict=True)]


Answer = Annotated[TextAnswer | ChoiceAnswer | DeclaredFailure, Field(discriminator="kind")]


class Submission(WireModel):
    """An answer (or a declared failure) bound to an item and an epoch."""

    item_id: ItemId
    epoch: Annotated[int, Field(ge=1, strict=True)] = 1
    answer: Answer

    def digest(self) -> bytes:
        """SHA-256 (32 bytes) of the answer, by which a repeated submission is told from another one."""
        return hashlib.sha256(self.answer.model_dump_json().encode()).digest()
