"""What the owner looks at before signing: the receipt must say what this host knows by itself."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from dep_mcp.protocol import Claims, Envelope, Opened, ScoreReport, Settings
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts import AnswerLog, check, digest_of

Countersign = Callable[[Envelope], Envelope]
"""Adds the owner's signature."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """The score of an evaluation, with what was seen of the container that gave it.

    Attributes:
        report: The score.
        receipt: Signed by the container.
        opened: What that container fixed at `open`, its key among it.
        image: Digest of the image it runs, by the engine's inspection.
    """

    report: ScoreReport
    receipt: Envelope
    opened: Opened
    image: str


def claims_of(settings: Settings) -> Claims:
    """What a receipt shall repeat of an evaluation's settings."""
    return Claims(
        image=settings.image_digest,
        model=settings.model.name,
        model_card=digest_of(settings.model),
        generation=digest_of(settings.generation),
        identity=settings.identity,
        policy_binds=settings.identity is not None,
    )


async def countersign(
    evaluation_id: str,
    settings: Settings,
    scored: Scored,
    digests: AsyncIterator[list[bytes | None]],
    sign: Countersign,
) -> Envelope:
    """Let the owner sign the container's receipt, if all it says is so as far as this host can know.

    Args:
        evaluation_id: Of what was scored.
        settings: Of the evaluation.
        scored: What the container gave.
        digests: Of the journal's answers, in the evaluation's order; `None` for a failure.
        sign: Adds the signature.

    Raises:
        ReceiptError: It isn't; names what differs.
    """
    found = check(scored.receipt).statement
    attested, claimed, report = found.predicate.attested, found.predicate.claimed, found.predicate.attested.report
    log = AnswerLog()
    async for page in digests:
        for digest in page:
            log.add(digest)
    asked = (evaluation_id, settings.benchmark, settings.benchmark_version, settings.task)
    opened = scored.opened
    holds = {
        "its key": attested.public_key == opened.public_key,
        "the score": report == scored.report,
        "evaluation or benchmark": asked
        == (report.evaluation_id, report.benchmark, report.benchmark_version, report.task),
        "the items": report.items_digest == opened.items_digest,
        "the number of answers": report.counts.expected == log.count == opened.items * opened.epochs,
        "the answers": (attested.answers, found.subject[0].digest.sha256) == (log.root, log.list_sha256),
        "what was claimed": Claims(**claimed.model_dump(exclude={"at"})) == claims_of(settings),
        "the image": claimed.image == scored.image,
    }
    wrong = [what for what, well in holds.items() if not well]
    if wrong:
        msg = f"the container's receipt isn't countersigned, since this host knows otherwise of {', '.join(wrong)}"
        raise ReceiptError(msg)
    return sign(scored.receipt)
