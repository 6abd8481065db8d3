"""Values that the tests of this room share."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from dep_mcp.protocol import (
    Answer,
    Counts,
    DeclaredFailure,
    Estimate,
    Generation,
    ModelCard,
    Record,
    ScoreReport,
    Settings,
    Submission,
    TextAnswer,
    Usage,
)


@pytest.fixture
def settings() -> Callable[..., Settings]:
    def make(*, model: str = "m", **changed: object) -> Settings:
        whole = {
            "benchmark": "toy",
            "benchmark_version": "1",
            "task": None,
            "limit": None,
            "epochs": 1,
            "image_tag": "toy:1",
            "image_digest": "sha256:" + "0" * 64,
            "memory_mb": 256,
            "cpus": 1.0,
            "publish_seed": True,
            "model": ModelCard(name=model, adapter="replay", model=model),
            "generation": Generation(),
            "package_version": "0",
            "protocol": "0.1",
        }
        return Settings.model_validate(whole | changed)

    return make


@pytest.fixture
def record() -> Callable[..., Record]:
    """Records, each item at the place of its first appearance."""
    places: dict[str, int] = {}

    def make(item_id: str = "i", said: str | int = "4", *, epoch: int = 1, **changed: object) -> Record:
        answer: Answer = TextAnswer(text=said) if isinstance(said, str) else DeclaredFailure(status=said)
        whole: dict[str, object] = {
            "submission": Submission(item_id=item_id, epoch=epoch, answer=answer),
            "position": places.setdefault(item_id, len(places)),
            "attempts": 1,
            "at": datetime.now(UTC),
            "usage": Usage(prompt_tokens=10, completion_tokens=2),
        }
        return Record.model_validate(whole | changed)

    return make


@pytest.fixture
def report() -> Callable[..., ScoreReport]:
    def make(evaluation_id: str, ranked: float, **changed: object) -> ScoreReport:
        whole: dict[str, object] = {
            "evaluation_id": evaluation_id,
            "benchmark": "toy",
            "benchmark_version": "1",
            "task": None,
            "metric": "accuracy",
            "overall": Estimate(value=ranked, n=2, stderr=0.1, low=0.0, high=1.0, method="wilson"),
            "ranked": ranked,
            "upper": 1.0,
            "counts": Counts(expected=2, scored=2, failed=0, missing=0),
            "items_digest": "sha256:" + "0" * 64,
        }
        return ScoreReport.model_validate(whole | changed)

    return make
