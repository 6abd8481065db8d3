"""A commitment to items and targets: published while they are secret, opened when the benchmark retires.

A leaf is the compact JSON `[salt, item, target]`, all three texts. Each has a salt of its own, made from one secret, so
that an opened item gives nothing away about the others, however few targets are possible.
"""

import hmac
import json
from collections.abc import Iterable

from dep_mcp.protocol import Commitment, Opening
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts.digests import written
from dep_mcp.receipts.merkle import Root, is_included, leaf_hash, proof, root_of


def _salt(secret: bytes, number: int) -> str:
    return hmac.digest(secret, str(number).encode(), "sha256").hex()


def _leaf(salt: str, item: str, target: str) -> bytes:
    return json.dumps([salt, item, target], separators=(",", ":")).encode()


class Committed:
    """A commitment with what it takes to open it; holds one hash for each item, and no item.

    Args:
        secret: From which the salts are made; at least 16 bytes.
        rows: Item and target of each, as JSON, in the data's order.
    """

    def __init__(self, secret: bytes, rows: Iterable[tuple[str, str]]) -> None:
        self._secret = secret
        self._hashes = [leaf_hash(_leaf(_salt(secret, number), *row)) for number, row in enumerate(rows)]

    @property
    def commitment(self) -> Commitment:
        """What the card publishes."""
        return Commitment(root=written(root_of(self._hashes)), items=len(self._hashes))

    def opening(self, number: int, item: str, target: str, *, alone: bool) -> Opening:
        """Open one item.

        Args:
            number: Its place.
            item: Its JSON.
            target: Its target's.
            alone: With its audit path, so that it can be verified without the others.
        """
        path = tuple(part.hex() for part in proof(self._hashes, number)) if alone else None
        return Opening(number=number, item=item, target=target, salt=_salt(self._secret, number), proof=path)


def verify_openings(openings: Iterable[Opening], commitment: Commitment) -> int:
    """Verify what was opened against the card's commitment; return how many items.

    The first says which way: with an audit path each stands alone, without it they must be all, in their order.

    Raises:
        ReceiptError: One isn't what was committed to, or some are missing.
    """
    whole, root, count = False, Root(), 0
    for opening in openings:
        leaf = _leaf(opening.salt, opening.item, opening.target)
        whole = whole if count else opening.proof is None
        if whole:
            well = opening.proof is None and opening.number == count
            root.add(leaf)
        else:
            path = [bytes.fromhex(part) for part in opening.proof or ()]
            well = is_included(leaf, opening.number, commitment.items, path, _bytes(commitment))
        if not well:
            msg = f"item {opening.number} of the opening isn't what the benchmark committed to"
            raise ReceiptError(msg)
        count += 1
    if count == 0 or (whole and (count != commitment.items or root.digest() != _bytes(commitment))):
        msg = "the opened items aren't those that the benchmark committed to: some are missing, added or changed"
        raise ReceiptError(msg)
    return count


def _bytes(commitment: Commitment) -> bytes:
    return bytes.fromhex(commitment.root.removeprefix("sha256:"))
