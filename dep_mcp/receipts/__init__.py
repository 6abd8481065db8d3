"""Receipts: signed statements of scores, and commitments to items and targets. Pure: no file, no clock, no network.

Both sides of the seal use it: the container builds and signs, the owner countersigns, anybody verifies.
What a receipt proves and what it doesn't is in `docs/receipts.md`; the wire types are in `dep_mcp.protocol`.
"""

from dep_mcp.receipts.answers import AnswerLog
from dep_mcp.receipts.commitment import Committed, verify_openings
from dep_mcp.receipts.digests import digest_of
from dep_mcp.receipts.envelope import MOST_BYTES, countersigned, parse, signed, statement
from dep_mcp.receipts.issue import issue
from dep_mcp.receipts.keys import SigningKey, key_id, public_pem, read_public
from dep_mcp.receipts.verify import Verified, check, verify
from dep_mcp.receipts.words import explain

__all__ = [
    "MOST_BYTES",
    "AnswerLog",
    "Committed",
    "SigningKey",
    "Verified",
    "check",
    "countersigned",
    "digest_of",
    "explain",
    "issue",
    "key_id",
    "parse",
    "public_pem",
    "read_public",
    "signed",
    "statement",
    "verify",
    "verify_openings",
]
