"""Arguments and results of the tools of a benchmark endpoint.

Subject tools: `describe`, `get_items`, `submit`, `score`. Operator tool, absent from the session of a
subject: `open`. Every argument model is closed: an unknown argument is an error, not ignored.
"""

from enum import StrEnum
from typing import Annotated, Final
from uuid import UUID

from pydantic import Field, StringConstraints

from dep_mcp.protocol.base import PAGE_ITEMS, PROTOCOL_VERSION, Digest, Name, WireModel
from dep_mcp.protocol.ids import EvaluationId, ItemId
from dep_mcp.protocol.items import Generation, Item
from dep_mcp.protocol.policy import Policy, Turn
from dep_mcp.protocol.receipts import Claims, Envelope, Hex256, PublicKey
from dep_mcp.protocol.scores import ItemScore, ScoreReport
from dep_mcp.protocol.submissions import Submission

SUBJECT_TOOLS: Final = ("describe", "get_items", "submit", "score")
OPERATOR_TOOLS: Final = ("open",)

DataKey = Annotated[str, StringConstraints(pattern=r"^AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}$")]
"""An X25519 identity of age."""

Cursor = Annotated[str, StringConstraints(max_length=200)]


class Describe(WireModel):
    """Arguments of `describe`: none. The one tool that a container answers before it is opened."""


class Description(WireModel):
    """What a benchmark says of itself; constant for an image."""

    protocol: str = PROTOCOL_VERSION
    benchmark: Name
    version: str
    title: str
    license: str
    metric: Name
    policy: Policy
    tasks: tuple[str, ...] = ()
    """Names that `open` takes as `task`; empty when the benchmark has no parts to choose from."""
    generation: Generation
    """The settings that the benchmark's author asks for."""
    data_digest: Digest
    sealed: bool = False
    """Whether items and targets are encrypted until `open` brings the key."""
    canary: UUID | None = None


class Open(WireModel):
    """Arguments of `open`: fixes the item set for good. Called once, by the operator, before anything else."""

    evaluation_id: EvaluationId
    seed: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """Secret until the evaluation closes: draws the items (where generated), the subset and the order."""
    task: str | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    """At most so many items, drawn by the server, evenly over the sub-tasks."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    data_key: DataKey | None = Field(default=None, repr=False)
    """For a sealed benchmark: what its bundle is decrypted with. The container forgets it once that is done."""
    salt: Hex256 | None = Field(default=None, repr=False)
    """The secret of the card's commitment: the endpoint verifies it against its items and targets, and attests it."""
    claims: Claims = Claims()
    """What the receipt shall repeat in the operator's name."""
    turn: Turn | None = None
    """Of this evaluation, where the operator keeps the turns of `claims.identity`."""
    earlier: Annotated[tuple[Turn, ...], Field(max_length=100_000)] = ()
    """The turns that identity took before: of evaluations that were scored, or may yet be."""


class Opened(WireModel):
    """What was fixed."""

    items: int
    epochs: int
    items_digest: Digest
    public_key: PublicKey
    """Of the container, minted now: its receipt bears the signature."""


class GetItems(WireModel):
    """Arguments of `get_items`."""

    evaluation_id: EvaluationId
    cursor: Cursor | None = None
    limit: Annotated[int, Field(ge=1, le=PAGE_ITEMS)] = PAGE_ITEMS


class ItemPage(WireModel):
    """A page of items, in an order that depends on data and seed alone."""

    items: tuple[Item, ...]
    next_cursor: Cursor | None
    """`None` on the last page."""
    total: int


class Submit(WireModel):
    """Arguments of `submit`; idempotent: the same answer again is a duplicate, another one is refused."""

    evaluation_id: EvaluationId
    submissions: Annotated[tuple[Submission, ...], Field(min_length=1, max_length=PAGE_ITEMS)]


class Rejection(WireModel):
    """Why one submission was refused."""

    item_id: ItemId
    epoch: int
    code: str
    detail: str


class Submitted(WireModel):
    """What became of the submissions of one call, taken in their order; partial success is a normal result.

    Where the three counts add up to fewer than were sent, time ran out: the rest is sent again.
    """

    accepted: int
    duplicates: int
    rejected: tuple[Rejection, ...] = ()


class ScoreRequest(WireModel):
    """Arguments of `score`."""

    evaluation_id: EvaluationId
    cursor: Cursor | None = None
    """Continues the item detail of a scored evaluation, where the policy discloses it."""


class ScoreState(StrEnum):
    """Whether a score could be given."""

    INCOMPLETE = "incomplete"
    """Some (item, epoch) has neither an answer nor a declared failure; nothing was scored or closed."""
    SCORED = "scored"


class ScoreResult(WireModel):
    """The score, once; a repeated call returns the same."""

    state: ScoreState
    missing: int
    report: ScoreReport | None = None
    receipt: Envelope | None = None
    """The report, signed by the container."""
    details: tuple[ItemScore, ...] = ()
    next_cursor: Cursor | None = None
