"""Merkle trees as RFC 6962, section 2.1, defines them: a leaf can't be taken for a node, nor one tree for another."""

import hashlib
from collections.abc import Iterable, Sequence


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256 of a leaf, with the prefix that tells it from a node."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Root:
    """The root over leaves that come one by one; holds one hash for each bit of their number."""

    def __init__(self) -> None:
        self._subtrees: list[tuple[int, bytes]] = []
        """Size and root of the complete subtrees so far, the largest first."""

    def add(self, leaf: bytes) -> None:
        """Take the next leaf."""
        size, root = 1, leaf_hash(leaf)
        while self._subtrees and self._subtrees[-1][0] == size:
            _, left = self._subtrees.pop()
            size, root = 2 * size, _node(left, root)
        self._subtrees.append((size, root))

    def digest(self) -> bytes:
        """The root over the leaves so far; of none, SHA-256 of nothing."""
        if not self._subtrees:
            return hashlib.sha256().digest()
        *rest, (_, root) = self._subtrees
        for _, left in reversed(rest):
            root = _node(left, root)
        return root


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over one or more leaves, given their hashes."""
    if len(hashes) == 1:
        return hashes[0]
    split = _split(len(hashes))
    return _node(root_of(hashes[:split]), root_of(hashes[split:]))


def proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of a leaf, from its sibling up; with it, the root can be computed from the leaf alone."""
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    if index < split:
        return [*proof(hashes[:split], index), root_of(hashes[split:])]
    return [*proof(hashes[split:], index - split), root_of(hashes[:split])]


def _split(size: int) -> int:
    """The largest power of two below a size of two or more."""
    return 1 << (size - 1).bit_length() - 1


def is_included(leaf: bytes, index: int, size: int, path: Iterable[bytes], root: bytes) -> bool:
    """Whether an audit path ties a leaf at its place to the root of a tree of that size (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    number, last, hash_ = index, size - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            return False
        if number & 1 or number == last:
            hash_ = _node(sibling, hash_)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            hash_ = _node(hash_, sibling)
        number, last = number >> 1, last >> 1
    return last == 0 and hash_ == root
