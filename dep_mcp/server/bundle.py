"""The indexed bundle: items and targets in one SQLite file, so that 200,000 items need no memory.

Built when the image is built (`python -m dep_mcp.server index`), or in memory at `open` for items that
are generated. Order: a seeded shuffle, then evenly over the sub-tasks, so that any prefix is balanced.
"""

import hashlib
import json
import sqlite3
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import cast

from dep_mcp.protocol import MESSAGE_BYTES, Item
from dep_mcp.protocol.errors import DataError
from dep_mcp.scoring import Target
from dep_mcp.server.benchmark import SealedItem

BUNDLE = "bundle.sqlite"
"""Name of the indexed bundle in a benchmark's folder."""
SEALED = "bundle.age"
"""Name of the encrypted one."""
_ITEM_BYTES = MESSAGE_BYTES - 64 * 1024
"""Most of one item as JSON; the rest is for the message around it."""
_SCHEMA = """
CREATE TABLE items (number INTEGER PRIMARY KEY, item_id TEXT UNIQUE NOT NULL, subtask TEXT, item TEXT NOT NULL,
                    target TEXT NOT NULL) STRICT;
CREATE TABLE meta (digest TEXT NOT NULL, header TEXT NOT NULL) STRICT;
"""


class Index:
    """A bundle in the making, row by row.

    Args:
        path: Of the file; `None` keeps it in memory.
        header: Kept beside the data: JSON with the card's canary.
    """

    def __init__(self, path: Path | None = None, *, header: str = "{}") -> None:
        self._db = sqlite3.connect(path or ":memory:")
        self._db.executescript(_SCHEMA)
        self._header = header
        self._digest = hashlib.sha256()
        self._count = 0

    def add(self, item_id: str, subtask: str | None, item: str, target: str) -> None:
        """Add an item and its target, both as JSON.

        Raises:
            DataError: There is one of that id, or it fits into no message.
        """
        if len(item.encode()) > _ITEM_BYTES:
            msg = f"the item {item_id!r} has more than {_ITEM_BYTES} bytes, which is more than one message takes"
            raise DataError(msg)
        self._digest.update(f"{len(item)}:{item}".encode())  # not the target: few are possible, and would be tried out
        try:
            self._db.execute("INSERT INTO items VALUES (?, ?, ?, ?, ?)", (self._count, item_id, subtask, item, target))
        except sqlite3.IntegrityError:
            msg = f"two items have the id {item_id!r}: ids must be unique within a benchmark"
            raise DataError(msg) from None
        self._count += 1

    def finished(self) -> "Bundle":
        """The bundle.

        Raises:
            DataError: It is empty.
        """
        if self._count == 0:
            msg = "the benchmark yields no items: check its data file and its items() method"
            raise DataError(msg)
        self._db.execute("INSERT INTO meta VALUES (?, ?)", ("sha256:" + self._digest.hexdigest(), self._header))
        self._db.commit()
        return Bundle(self._db)


class Bundle:
    """Items and targets of a benchmark by number, from 0."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.digest, self.header = connection.execute("SELECT digest, header FROM meta").fetchone()
        self.subtasks: list[str | None] = [
            row[0] for row in connection.execute("SELECT subtask FROM items ORDER BY number")
        ]

    @classmethod
    def build(cls, items: Iterable[SealedItem], path: Path | None = None, *, header: str = "{}") -> "Bundle":
        """Index items into a file, or in memory.

        Raises:
            DataError: No items, or two with one id.
        """
        index = Index(path, header=header)
        for sealed in items:
            target = json.dumps(sealed.target, sort_keys=True)
            index.add(sealed.item.item_id, sealed.item.subtask, sealed.item.model_dump_json(), target)
        return index.finished()

    @classmethod
    def load(cls, path: Path) -> "Bundle":
        """Open the file that `build` wrote, read-only."""
        return cls(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True))

    def tasks(self) -> list[str]:
        """The names of its sub-tasks."""
        return sorted({subtask for subtask in self.subtasks if subtask is not None})

    def item(self, number: int) -> Item:
        """One item as a model sees it."""
        return Item.model_validate_json(self.item_json(number))

    def item_json(self, number: int) -> str:
        """One item in its wire form."""
        return cast("str", self._db.execute("SELECT item FROM items WHERE number = ?", (number,)).fetchone()[0])

    def target(self, number: int) -> Target:
        """The ground truth of one item."""
        (target,) = self._db.execute("SELECT target FROM items WHERE number = ?", (number,)).fetchone()
        return cast("Target", json.loads(target))

    def row(self, number: int) -> tuple[str, str]:
        """One item with its target, as the JSON that the digest is over."""
        query = "SELECT item, target FROM items WHERE number = ?"
        return cast("tuple[str, str]", self._db.execute(query, (number,)).fetchone())

    def whole_rows(self) -> Iterator[tuple[str, str | None, str, str]]:
        """What `Index.add` takes, row by row."""
        query = "SELECT item_id, subtask, item, target FROM items ORDER BY number"
        return iter(self._db.execute(query))

    def rows(self) -> Iterator[tuple[str, str]]:
        """All of them, in their order."""
        yield from self._db.execute("SELECT item, target FROM items ORDER BY number")

    def number_of(self, item_id: str) -> int | None:
        """The number of an item, if there is one of that id."""
        row = self._db.execute("SELECT number FROM items WHERE item_id = ?", (item_id,)).fetchone()
        return None if row is None else cast("int", row[0])

    def draw(self, seed: str, *, task: str | None, limit: int | None) -> "array[int]":
        """The numbers of the items of an evaluation, in their order; a matter of digest and arguments alone.

        Args:
            seed: Hexadecimal.
            task: Only items of this sub-task.
            limit: At most so many, evenly over the sub-tasks.
        """
        numbers = [number for number, subtask in enumerate(self.subtasks) if task is None or subtask == task]
        Random(f"{self.digest}/{seed}").shuffle(numbers)  # noqa: S311 (the seed is the secret)
        seen: Counter[str | None] = Counter()
        ranks = {}
        for number in numbers:
            ranks[number] = seen[self.subtasks[number]]
            seen[self.subtasks[number]] += 1
        numbers.sort(key=ranks.__getitem__)
        return array("I", numbers[:limit])
