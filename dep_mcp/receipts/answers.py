"""What a receipt says of the answers; container and owner compute it apart, from submissions and from the journal."""

import hashlib

from dep_mcp.protocol import Digest
from dep_mcp.receipts.digests import written
from dep_mcp.receipts.merkle import Root


class AnswerLog:
    """The answers of an evaluation, in its order: item after item, and of each its epochs.

    An answer counts by the SHA-256 of its JSON, which is the leaf of the tree. A declared failure is an empty leaf
    whatever its status: which of several failures a server keeps is a matter of chance.
    """

    def __init__(self) -> None:
        self._root = Root()
        self._list = hashlib.sha256()
        self.count = 0

    def add(self, digest: bytes | None) -> str:
        """Take the next answer by its digest (32 bytes), or `None` for a declared failure; return its line of the list.

        The list has one line each: the digest as 64 hexadecimal digits, or `-`.
        """
        line = "-\n" if digest is None else f"{digest.hex()}\n"
        self._root.add(digest or b"")
        self._list.update(line.encode())
        self.count += 1
        return line

    @property
    def root(self) -> Digest:
        """The Merkle root (RFC 6962)."""
        return written(self._root.digest())

    @property
    def list_sha256(self) -> str:
        """SHA-256 of the list, in hexadecimal: by it, tools that know no Merkle trees tell evaluations apart."""
        return self._list.hexdigest()
