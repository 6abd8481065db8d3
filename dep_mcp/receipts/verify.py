"""Verifies a receipt: signatures first, then whether what it says agrees with itself."""

from dataclasses import dataclass

from dep_mcp.protocol import Envelope, PublicKey, Statement
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts.envelope import message, parse, statement
from dep_mcp.receipts.keys import is_signed, key_id


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A receipt all of whose signatures that could be checked are good.

    Attributes:
        statement: What it says.
        owner: Id of the key that countersigned it; `None` if none did.
        owner_checked: Whether that signature was checked, with a key that the caller trusts.
    """

    statement: Statement
    owner: str | None
    owner_checked: bool


def verify(data: bytes, owner: PublicKey | None = None) -> Verified:
    """Verify a receipt's file.

    Args:
        data: The file.
        owner: Whose countersignature it must bear. Without it that signature can't be checked, since a receipt
            doesn't hold the key: whoever forged the one would have written the other.

    Raises:
        ReceiptError: It isn't what its signatures say, or isn't signed by this owner.
    """
    return check(parse(data), owner)


def check(envelope: Envelope, owner: PublicKey | None = None) -> Verified:
    """Verify a receipt that was read already; see `verify`."""
    found, signed_bytes = statement(envelope), message(envelope)
    container, *others = envelope.signatures
    public = found.predicate.attested.public_key
    if container.keyid != key_id(public) or not is_signed(public, container, signed_bytes):
        msg = (
            "its first signature isn't by the key that it names as the container's: it was changed since it was signed"
        )
        raise ReceiptError(msg)
    _require_sense(found)
    countersignature = others[0] if others else None
    if countersignature is not None and countersignature.keyid == container.keyid:
        msg = "both signatures are by the container's key: an owner's key never enters a container"
        raise ReceiptError(msg)
    if owner is not None:
        if countersignature is None or countersignature.keyid != key_id(owner):
            msg = "it isn't countersigned by the key that was given"
            raise ReceiptError(msg)
        if not is_signed(owner, countersignature, signed_bytes):
            msg = "the countersignature isn't by the key that was given: it was changed since it was signed"
            raise ReceiptError(msg)
    return Verified(
        statement=found,
        owner=None if countersignature is None else countersignature.keyid,
        owner_checked=owner is not None,
    )


def _require_sense(found: Statement) -> None:
    """A key can sign nonsense; what contradicts itself proves nothing."""
    report = found.predicate.attested.report
    counts, overall = report.counts, report.overall
    ends = (overall.low, overall.value, overall.high)
    interval = [end for end in ends if end is not None]
    holds = {
        "its subject is another evaluation": found.subject[0].name == report.evaluation_id,
        "its counts don't add up": counts.scored + counts.failed + counts.missing == counts.expected,
        "its score lies outside its interval": interval == sorted(interval) and len(interval) in {0, len(ends)},
        "its bounds are the wrong way round": report.ranked <= report.upper,
    }
    wrong = [what for what, well in holds.items() if not well]
    if wrong:
        msg = f"it contradicts itself: {'; '.join(wrong)}"
        raise ReceiptError(msg)
