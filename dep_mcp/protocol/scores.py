"""What crosses the seal at the end: scores. They are aggregates unless the card's policy discloses more."""

from typing import Annotated

from pydantic import Field

from dep_mcp.protocol.base import Digest, FiniteFloat, Name, WireModel
from dep_mcp.protocol.ids import EvaluationId, ItemId


class Estimate(WireModel):
    """A mean with its uncertainty."""

    value: FiniteFloat | None
    """`None` when nothing was scored, which is never the same as 0.0."""
    n: Annotated[int, Field(ge=0)]
    """Items behind the mean; epochs of one item count once."""
    stderr: FiniteFloat | None
    """Standard error of the mean, clustered by item; `None` below two items."""
    low: FiniteFloat | None
    high: FiniteFloat | None
    """The 95 % confidence interval."""
    method: str
    """How the interval was computed: `wilson` or `student-t`."""


class Counts(WireModel):
    """Submissions of an evaluation, apart by what became of them; they add up to items × epochs."""

    expected: int
    scored: int
    scorer_errors: int = 0
    """Of the scored: those on which the scorer failed; they count as 0. Not told (0) where scores are rounded."""
    failed: int
    """Declared failures: never scored."""
    missing: int


class ScoreReport(WireModel):
    """The verdict on one evaluation."""

    evaluation_id: EvaluationId
    benchmark: Name
    benchmark_version: str
    task: str | None
    metric: Name
    overall: Estimate
    """Over what was scored: failures are apart."""
    ranked: FiniteFloat
    """The mean with every failure and missing submission as wrong: the lower bound, used for ranking."""
    upper: FiniteFloat
    """The mean with every failure and missing submission as right: the upper bound."""
    subtasks: dict[str, Estimate] = Field(default_factory=dict)
    counts: Counts
    step: FiniteFloat = 0.0
    """The policy rounds to its multiples, and all numbers are made from the rounded `ranked`; 0: they are exact."""
    stands: EvaluationId | None = None
    """The earlier evaluation whose score this one repeats, since it isn't better by a step."""
    items_digest: Digest
    """SHA-256 over the items as sent, in their order: two evaluations with the same digest saw the same questions."""


class ItemScore(WireModel):
    """The verdict on one submission; disclosed only when the card's policy is `full`."""

    item_id: ItemId
    epoch: int
    value: FiniteFloat | None
    """`None` means unscored (a declared failure), which is never the same as 0.0."""
