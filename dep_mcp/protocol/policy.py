"""What a benchmark tells of its targets through scores, and how often: declared in its card, kept inside the seal."""

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from dep_mcp.protocol.base import FiniteFloat, WireModel
from dep_mcp.protocol.ids import EvaluationId


class Disclosure(StrEnum):
    """How much `score` tells."""

    FULL = "full"
    """Overall, sub-tasks and every item."""
    AGGREGATE = "aggregate"
    """Overall and sub-tasks."""
    FINAL = "final"
    """Overall only."""


class Quota(WireModel):
    """How many evaluations an identity may have scored, each as often as it has epochs.

    For an exact mean over epochs tells as much as so many scores: answers may differ from epoch to epoch.
    """

    scores: Annotated[int, Field(ge=1, le=1000)]
    window_s: Annotated[FiniteFloat, Field(gt=0, le=1e9)] | None = None
    """Within so many seconds (at most 1e9, 31 years) before an evaluation is opened; `None` for ever."""
    reserved: Annotated[int, Field(ge=0)] = 0
    """Of them: only for evaluations opened as final, so that trials can't use up what the last score needs."""

    @model_validator(mode="after")
    def _leaves_some(self) -> Self:
        if self.reserved > self.scores:
            msg = "more are reserved than there are"
            raise ValueError(msg)
        return self


class Policy(WireModel):
    """What scores may tell. Quota and steps hold where the operator keeps an identity's turns; the rest always."""

    disclosure: Disclosure = Disclosure.AGGREGATE
    least_items: Annotated[int, Field(ge=0)] = 0
    """An evaluation with fewer items, or with fewer that were answered, isn't scored."""
    quota: Quota | None = None
    step: Annotated[FiniteFloat, Field(ge=0, le=0.5)] = 0.0
    """Scores are rounded to its multiples, and one that isn't better by a step than the best earlier score of the
    identity gets that one (the Ladder mechanism of Blum and Hardt 2015, arXiv 1502.04585, algorithm 1), so that only
    the whole benchmark is scored, no task and no limit. 0: exact."""

    @model_validator(mode="after")
    def _protects(self) -> Self:
        if self.disclosure is Disclosure.FULL and (self.quota or self.step or self.least_items):
            msg = "disclosure `full` tells every item's score: nothing else protects anything beside it"
            raise ValueError(msg)
        return self


class Turn(WireModel):
    """One evaluation of an identity, as the policy counts it. It says nothing of answers or targets."""

    evaluation_id: EvaluationId
    at: AwareDatetime
    """When it was opened first; a replaced container is told the same."""
    final: bool = False
    epochs: Annotated[int, Field(ge=1)] = 1
    score: FiniteFloat | None = None
    """`ranked` as it was disclosed; `None` while it isn't scored."""
