"""What the journal holds: of each (item, epoch) the answer and what it took to get it, and where items lie."""

from typing import Annotated

from pydantic import AwareDatetime, Field

from dep_mcp.protocol.base import FiniteFloat, WireModel
from dep_mcp.protocol.submissions import Submission


class Usage(WireModel):
    """Tokens of one call as the provider counted them; `None` means it didn't say, which is not 0."""

    prompt_tokens: Annotated[int, Field(ge=0)] | None = None
    completion_tokens: Annotated[int, Field(ge=0)] | None = None
    reasoning_tokens: Annotated[int, Field(ge=0)] | None = None
    """Of the completion's; where the provider tells them apart."""


class Record(WireModel):
    """One answer (or declared failure) of the journal."""

    submission: Submission
    position: Annotated[int, Field(ge=0)]
    """Place of the item in the evaluation's order, from 0."""
    attempts: Annotated[int, Field(ge=1)]
    """Calls made for it, rate-limited ones not counted."""
    usage: Usage = Usage()
    cost_usd: FiniteFloat | None = None
    """`None` where the price isn't known."""
    model: str | None = None
    """The model's name as the provider reported it."""
    latency_s: FiniteFloat = 0.0
    """Of the last attempt."""
    reasoning: str | None = None
    """What the model thought before its answer, where that came apart; never submitted, never scored."""
    cached: bool = False
    """Kept from another evaluation, not asked for."""
    detail: str | None = None
    """For a failure: what the provider said."""
    at: AwareDatetime


class FetchedPage(WireModel):
    """A page of items of an evaluation, as it was fetched."""

    position: int
    """Place of its first item in the evaluation's order, from 0."""
    items: int
    cursor: str | None
    """With which it was fetched."""
    next_cursor: str | None
    """Of the next page; `None` for the last."""
    answered: int = 0
    """How many (item, epoch) of it have an answer."""
