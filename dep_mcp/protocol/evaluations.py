"""An evaluation: one sealed session, its life cycle, and everything that would change its number."""

from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Field

from dep_mcp.protocol.base import WireModel
from dep_mcp.protocol.cards import Commitment, ModelCard, Recipient
from dep_mcp.protocol.ids import EvaluationId
from dep_mcp.protocol.items import Generation


class EvaluationState(StrEnum):
    """Where an evaluation is in its life."""

    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"


TRANSITIONS = {
    EvaluationState.RUNNING: {EvaluationState.PAUSED, EvaluationState.COMPLETED, EvaluationState.FAILED},
    EvaluationState.PAUSED: {EvaluationState.RUNNING, EvaluationState.FAILED},
    EvaluationState.FAILED: {EvaluationState.RUNNING},
    EvaluationState.COMPLETED: set[EvaluationState](),
}
"""From a state to those it may turn into; `completed` is final, `failed` may be resumed."""


class Settings(WireModel):
    """Everything besides the item set and the model's weights that would change the number; fixed for good."""

    benchmark: str
    benchmark_version: str
    benchmark_path: str | None = None
    """For a benchmark that was named by its folder."""
    task: str | None
    limit: Annotated[int, Field(ge=1)] | None
    epochs: Annotated[int, Field(ge=1)]
    image_tag: str
    """Named by the content that the image is built from: code, data, libraries and base."""
    image_digest: str
    """The engine's id of that image."""
    memory_mb: int
    cpus: float
    publish_seed: bool
    identity: str | None = None
    """Who is evaluated, where the operator keeps the policy's turns by it."""
    final: bool = False
    """It may use what the policy's quota reserves."""
    commitment: Commitment | None = None
    """The card's: the receipt attests it where the operator has its secret."""
    sealed_to: Recipient | None = None
    """Whose key opens the items and targets in that image; `None`: public data, which lies there as it is."""
    model: ModelCard
    generation: Generation
    package_version: str
    protocol: str


class Evaluation(WireModel):
    """A row of the store."""

    evaluation_id: EvaluationId
    state: EvaluationState
    cause: str
    """Why it is in that state."""
    created_at: AwareDatetime
    updated_at: AwareDatetime
    settings: Settings
