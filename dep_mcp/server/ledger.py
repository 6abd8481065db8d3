"""The ledger of an evaluation: what was submitted, write-once, and how it scored. Keeps hashes, not answers."""

from array import array
from collections import Counter
from collections.abc import Iterator
from enum import IntEnum

from dep_mcp.protocol.errors import SubmissionConflictError

_HASH = 32


class Entry(IntEnum):
    """What stands in a slot."""

    MISSING = 0
    FAILED = 1
    SCORED = 2
    SCORER_ERROR = 3
    """The scorer raised or ran out of time on it: it counts as 0, and is told apart."""


class Ledger:
    """Slots for items × epochs, 41 bytes each.

    Args:
        items: Items of the evaluation.
        epochs: Planned repetitions of each.
    """

    def __init__(self, items: int, epochs: int) -> None:
        self._epochs = epochs
        self._entries = bytearray(items * epochs)
        self._hashes = bytearray(items * epochs * _HASH)
        self._scores = array("d", bytes(8 * items * epochs))

    def is_duplicate(self, slot: int, digest: bytes, *, failure: bool) -> bool:
        """Whether the slot holds this very submission.

        Raises:
            SubmissionConflictError: It holds another one. A declared failure may still become an answer.
        """
        entry = Entry(self._entries[slot])
        if entry is Entry.MISSING:
            return False
        if self._hashes[slot * _HASH : (slot + 1) * _HASH] == digest:
            return True
        if entry is Entry.FAILED:
            return failure
        msg = "another answer was submitted for this item and epoch; submissions are write-once"
        raise SubmissionConflictError(msg)

    def write(self, slot: int, digest: bytes, entry: Entry, score: float = 0.0) -> None:
        """Fill a slot."""
        self._entries[slot] = entry
        self._hashes[slot * _HASH : (slot + 1) * _HASH] = digest
        self._scores[slot] = score

    def digests(self) -> Iterator[bytes | None]:
        """What was submitted, slot by slot, by its hash; `None` for what failed or is missing."""
        for slot, entry in enumerate(self._entries):
            yield bytes(self._hashes[slot * _HASH : (slot + 1) * _HASH]) if entry >= Entry.SCORED else None

    def count(self) -> Counter[Entry]:
        """How many slots hold what."""
        return Counter({entry: self._entries.count(entry) for entry in Entry})

    def value(self, slot: int) -> float | None:
        """The score in a slot; `None` where there is none."""
        return self._scores[slot] if self._entries[slot] >= Entry.SCORED else None

    def item_mean(self, position: int) -> float | None:
        """The mean over the scored epochs of an item; `None` where none is scored."""
        slots = range(position * self._epochs, (position + 1) * self._epochs)
        values = [value for slot in slots if (value := self.value(slot)) is not None]
        return sum(values) / len(values) if values else None

    def total(self) -> float:
        """The sum of all scores."""
        return sum(self._scores)
