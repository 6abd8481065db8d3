"""Issues a receipt: what the container knows and what it was told, put together and signed."""

from dep_mcp.protocol import (
    PREDICATE_TYPE,
    STATEMENT_TYPE,
    Attested,
    Claimed,
    DigestSet,
    Envelope,
    Predicate,
    Statement,
    Subject,
)
from dep_mcp.receipts.answers import AnswerLog
from dep_mcp.receipts.envelope import signed
from dep_mcp.receipts.keys import SigningKey


def issue(attested: Attested, claimed: Claimed, answers: AnswerLog, key: SigningKey) -> Envelope:
    """Make the receipt of an evaluation.

    Args:
        attested: What the container stands for; names the key.
        claimed: What it was told.
        answers: All of them; their root is in `attested` too.
        key: The container's.
    """
    subject = Subject(name=attested.report.evaluation_id, digest=DigestSet(sha256=answers.list_sha256))
    statement = Statement(
        type_=STATEMENT_TYPE,
        subject=(subject,),
        predicate_type=PREDICATE_TYPE,
        predicate=Predicate(attested=attested, claimed=claimed),
    )
    return signed(statement, key)
