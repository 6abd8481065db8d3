"""Answers kept across evaluations, on request only: the same deterministic request isn't paid for twice.

Off by default, and never used where an answer is sampled: an epoch is there to sample anew.
"""

import hashlib
import sqlite3
from pathlib import Path
from types import TracebackType
from typing import Self

from dep_mcp.models.port import Completion, ModelAdapter
from dep_mcp.protocol import Generation, Item, ModelCard
from dep_mcp.protocol.errors import StoreError

_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, completion TEXT NOT NULL) STRICT, WITHOUT ROWID"


class CachedAdapter:
    """An adapter whose answers are kept in a file.

    Args:
        adapter: Asked for what isn't there.
        card: Its model: another endpoint, name or way of calling is another key.
        path: The file, made where it is missing.
    """

    def __init__(self, adapter: ModelAdapter, card: ModelCard, path: Path) -> None:
        self._adapter = adapter
        self._identity = card.model_dump_json(include={"adapter", "model", "api_base", "weights", "reasoning_tags"})
        self._path = path
        self._db: sqlite3.Connection | None = None

    async def __aenter__(self) -> Self:
        """Open the file and the adapter.

        Raises:
            StoreError: The file can't be opened.
        """
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self._path, timeout=30, isolation_level=None)
            self._path.chmod(0o600)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = OFF")  # what is lost is asked for again
            self._db.execute(_SCHEMA)
        except (sqlite3.Error, OSError) as error:
            msg = f"{self._path}: {error}: run without --cache, or free some space"
            raise StoreError(msg) from error
        await self._adapter.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close both."""
        if self._db is not None:
            self._db.close()
        await self._adapter.__aexit__(kind, error, trace)

    async def check(self) -> None:
        """See the adapter's: what isn't in the cache is asked of it."""
        await self._adapter.check()

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """The answer kept, without tokens or cost and marked as such; else the adapter's, which is kept.

        Raises:
            ModelCallError: As the adapter's.
        """
        if generation.temperature != 0 or epoch > 1 or self._db is None:
            return await self._adapter.complete(item, generation, timeout_s=timeout_s, epoch=epoch)
        asked = item.model_dump_json(include={"messages", "options"})
        key = hashlib.sha256(f"{self._identity}\n{generation.model_dump_json()}\n{asked}".encode()).digest()
        found = self._db.execute("SELECT completion FROM answers WHERE key = ?", (key,)).fetchone()
        if found is not None:
            return Completion.model_validate_json(found[0])
        completion = await self._adapter.complete(item, generation, timeout_s=timeout_s, epoch=epoch)
        free = Completion(
            answer=completion.answer, model=completion.model, reasoning=completion.reasoning, cost_usd=0.0, cached=True
        )
        try:
            self._db.execute("INSERT OR IGNORE INTO answers VALUES (?, ?)", (key, free.model_dump_json()))
        except sqlite3.Error:
            return completion  # a full disk: the journal says so itself
        return completion
