"""What crosses the seal outwards: items, as a model sees them.

Every type here is safe to show a model. Targets have no type in this package; they exist only as
`SealedItem` in `dep_mcp.server`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dep_mcp.protocol.base import FiniteFloat, Line, WireModel
from dep_mcp.protocol.ids import ItemId


class RequestKind(StrEnum):
    """What an item asks of a model."""

    CHAT = "chat"
    """Text in reply to the messages."""
    CHOICE = "choice"
    """One log-likelihood per option, each as the continuation of the messages."""


class Message(WireModel):
    """One turn of the conversation that an item consists of."""

    role: Literal["system", "user", "assistant"]
    content: str


class Item(WireModel):
    """One question as a model sees it."""

    item_id: ItemId
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    options: tuple[str, ...] = ()
    """The continuations to weigh; at least two for `choice`, none for `chat`."""
    subtask: Line | None = None
    """The part of the benchmark it belongs to; scores are reported per part too."""

    @property
    def kind(self) -> RequestKind:
        """`choice` when there are options, else `chat`."""
        return RequestKind.CHOICE if self.options else RequestKind.CHAT

    @model_validator(mode="after")
    def _enough_options(self) -> Self:
        if len(self.options) == 1:
            msg = "one option is no choice: give none or at least two"
            raise ValueError(msg)
        return self


class Generation(WireModel):
    """Settings of text generation; `None` leaves a setting to the provider, and is recorded as such."""

    temperature: Annotated[FiniteFloat, Field(ge=0, le=10)] | None = 0.0
    top_p: Annotated[FiniteFloat, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: Annotated[str, Field(min_length=1, max_length=50)] | None = None
    """As the provider names it: `low`, `medium`, `high`…"""
    system_prompt: Annotated[str, Field(min_length=1)] | None = None
    """Sent as a system message before the messages of each item, whatever those are."""

    def sent(self) -> dict[str, Any]:
        """What travels as fields of a request; the system prompt travels as a message."""
        values = self.model_dump(exclude_none=True, exclude={"stop", "system_prompt"})
        return values | {"stop": list(self.stop)} if self.stop else values

    def messages(self, item: Item) -> tuple[Message, ...]:
        """What travels as messages."""
        if self.system_prompt is None:
            return item.messages
        return (Message(role="system", content=self.system_prompt), *item.messages)
