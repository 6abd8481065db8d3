"""The owner signs what the host knows to be so, and nothing else."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from dep_mcp.orchestrator.countersigning import Scored, claims_of, countersign
from dep_mcp.protocol import (
    DeclaredFailure,
    Envelope,
    Generation,
    GetItems,
    ModelCard,
    Open,
    ScoreRequest,
    Settings,
    Submission,
    Submit,
    TextAnswer,
    new_evaluation_id,
)
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts import SigningKey, countersigned, verify
from dep_mcp.server.benchmark import Draw
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.loading import load_benchmark
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import toy_folder

OWNER = SigningKey.mint()
IMAGE = "sha256:" + "1" * 64
SETTINGS = Settings(
    benchmark="toy",
    benchmark_version="1",
    task=None,
    limit=5,
    epochs=2,
    image_tag="toy:1",
    image_digest=IMAGE,
    memory_mb=256,
    cpus=1.0,
    publish_seed=True,
    model=ModelCard(name="m", adapter="replay", model="m"),
    generation=Generation(),
    package_version="0",
    protocol="0.1",
)


@dataclass
class Journal:
    """What the host recorded."""

    submissions: tuple[Submission, ...]

    async def digests(self) -> AsyncIterator[list[bytes | None]]:
        for submission in self.submissions:
            yield [None if isinstance(submission.answer, DeclaredFailure) else submission.digest()]


@dataclass(frozen=True)
class Ended:
    """An evaluation that a container has scored."""

    evaluation_id: str
    scored: Scored
    journal: Journal

    async def countersign(self, settings: Settings = SETTINGS) -> Envelope:
        sign = partial(countersigned, key=OWNER)
        return await countersign(self.evaluation_id, settings, self.scored, self.journal.digests(), sign)


def ended(evaluation_id: str | None = None, said: str = "42") -> Ended:
    """Run the sealed session itself; one of its ten answers is a failure."""
    benchmark = load_benchmark(toy_folder())
    bundle = Bundle.build(benchmark.items(Draw()))
    session = SealedSession(benchmark, digest=bundle.digest, bundle=bundle, scorer=IMAGE)
    evaluation_id = evaluation_id or new_evaluation_id()
    opening = Open(
        evaluation_id=evaluation_id, seed="5eed" * 8, limit=SETTINGS.limit, epochs=2, claims=claims_of(SETTINGS)
    )
    opened = session.open(opening)
    answers = []
    for position, item in enumerate(session.get_items(GetItems(evaluation_id=evaluation_id)).items):
        for epoch in (1, 2):
            first = position == 0 and epoch == 1
            answer = DeclaredFailure(status=500) if first else TextAnswer(text=said)
            answers.append(Submission(item_id=item.item_id, epoch=epoch, answer=answer))
    submissions = tuple(answers)
    session.submit(Submit(evaluation_id=evaluation_id, submissions=submissions))
    result = session.score(ScoreRequest(evaluation_id=evaluation_id))
    assert result.report is not None
    assert result.receipt is not None
    return Ended(
        evaluation_id,
        Scored(report=result.report, receipt=result.receipt, opened=opened, image=IMAGE),
        Journal(submissions),
    )


async def test_what_is_so_is_signed_and_verifies_offline() -> None:
    """By the owner's public key alone."""
    one = ended()
    verified = verify((await one.countersign()).model_dump_json().encode(), OWNER.public)
    attested = verified.statement.predicate.attested
    assert verified.owner_checked
    assert attested.report == one.scored.report
    assert (attested.report.counts.failed, attested.report.counts.scored) == (1, 9)
    assert attested.scorer == IMAGE


def _other_settings(**changed: Any) -> Settings:
    return SETTINGS.model_copy(update=changed)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda one, other: replace(one.scored, opened=other.scored.opened), "its key"),
        (
            lambda one, _other: replace(one.scored, report=one.scored.report.model_copy(update={"upper": 1.0})),
            "the score",
        ),
        (lambda one, _other: replace(one.scored, image="sha256:" + "2" * 64), "the image"),
        (
            lambda one, _other: replace(
                one.scored, opened=one.scored.opened.model_copy(update={"items_digest": "sha256:" + "3" * 64})
            ),
            "the items",
        ),
        (
            lambda one, _other: replace(one.scored, opened=one.scored.opened.model_copy(update={"items": 6})),
            "the number of answers",
        ),
    ],
)
async def test_a_container_that_says_otherwise_is_refused(
    changed: Callable[[Ended, Ended], Scored], named: str
) -> None:
    """Whatever it is that it lies about."""
    one = ended()
    lying = replace(one, scored=changed(one, ended(one.evaluation_id, "another answer")))
    with pytest.raises(ReceiptError, match=named):
        await lying.countersign()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (_other_settings(benchmark="other"), "evaluation or benchmark"),
        (_other_settings(task="t"), "evaluation or benchmark"),
        (_other_settings(model=ModelCard(name="better", adapter="replay", model="m")), "what was claimed"),
        (_other_settings(generation=Generation(temperature=1.0)), "what was claimed"),
        (_other_settings(image_digest="sha256:" + "2" * 64), "what was claimed"),
    ],
)
async def test_a_receipt_of_other_settings_is_refused(settings: Settings, named: str) -> None:
    """It would be shown for what it isn't."""
    with pytest.raises(ReceiptError, match=named):
        await ended().countersign(settings=settings)


async def test_answers_that_the_journal_does_not_hold_are_refused() -> None:
    """The score would be of other answers than those that were kept."""
    one, other = ended(), ended(said="another answer")
    with pytest.raises(ReceiptError, match="the answers"):
        await replace(one, journal=other.journal).countersign()
    with pytest.raises(ReceiptError, match="the number of answers"):
        await replace(one, journal=Journal(one.journal.submissions[1:])).countersign()
    failed, answered, *rest = one.journal.submissions
    with pytest.raises(ReceiptError, match="the answers"):
        await replace(one, journal=Journal((answered, failed, *rest))).countersign()
