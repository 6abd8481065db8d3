"""The store: evaluations, their transitions, and the journal of answers, in one SQLite file.

Write-ahead log with `synchronous=FULL`: what `append` returned for is on the disk. All writes of a process
go through one thread, which commits what has gathered meanwhile in one transaction (group commit).
"""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from dep_mcp.protocol import (
    TRANSITIONS,
    Envelope,
    Evaluation,
    EvaluationState,
    FetchedPage,
    Opened,
    Record,
    ScoreReport,
    Settings,
    Turn,
)
from dep_mcp.protocol.errors import StoreError, UnknownNameError, UsageError
from dep_mcp.results import rows

Value = TypeVar("Value")

_VERSION = 4
LEASE_S = 60.0
"""How long a claim lasts without being renewed."""
_SCHEMA = """
CREATE TABLE evaluations (evaluation_id TEXT PRIMARY KEY, state TEXT NOT NULL, cause TEXT NOT NULL,
    created_at TEXT NOT NULL, updated_at TEXT NOT NULL, settings TEXT NOT NULL, seed TEXT NOT NULL,
    opened TEXT, report TEXT, receipt TEXT, owner TEXT, lease TEXT, wish TEXT, status TEXT) STRICT;
CREATE TABLE transitions (evaluation_id TEXT NOT NULL REFERENCES evaluations, at TEXT NOT NULL, state TEXT NOT NULL,
    cause TEXT NOT NULL) STRICT;
CREATE TABLE pages (evaluation_id TEXT NOT NULL REFERENCES evaluations, position INTEGER NOT NULL,
    items INTEGER NOT NULL, cursor TEXT, next TEXT, PRIMARY KEY (evaluation_id, position)) STRICT, WITHOUT ROWID;
CREATE TABLE answers (evaluation_id TEXT NOT NULL REFERENCES evaluations, position INTEGER NOT NULL,
    epoch INTEGER NOT NULL, failed INTEGER NOT NULL, record TEXT NOT NULL,
    PRIMARY KEY (evaluation_id, position, epoch)) STRICT, WITHOUT ROWID;
CREATE TABLE turns (number INTEGER PRIMARY KEY, evaluation_id TEXT UNIQUE NOT NULL REFERENCES evaluations,
    benchmark TEXT NOT NULL, version TEXT NOT NULL, identity TEXT NOT NULL, turn TEXT NOT NULL) STRICT;
CREATE INDEX turns_of ON turns (benchmark, version, identity);
"""
_CREATE = """
INSERT INTO evaluations (evaluation_id, state, cause, created_at, updated_at, settings, seed)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_PAGE = "INSERT INTO pages VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_APPEND = """
INSERT INTO answers
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value -> 4 FROM json_each(?) WHERE true
ON CONFLICT DO UPDATE SET failed = excluded.failed, record = excluded.record WHERE answers.failed
"""
"""One statement for a whole batch, so that the thread takes the interpreter's lock once, not once per answer; and by
place in the evaluation's order, in which answers come about, so that a batch touches few pages of the file."""
_GATHER_S, _BUSY_PER_S = 0.02, 2000
"""Between two commits, while so many answers come a second: a disk's flush costs as much for one as for a hundred."""
_DIGESTS = 1000
_FULL = 2**20
"""Bytes free, below which an error is put down to a lack of them: SQLite reserves some hundred kilobytes at once."""


class Store:
    """An open store; made by `Store.open`.

    Args:
        db: The connection; used by the store's own thread only.
        thread: That thread.
    """

    def __init__(self, db: sqlite3.Connection, thread: ThreadPoolExecutor) -> None:
        self._db = db
        self._thread = thread
        self._pending: list[tuple[str, asyncio.Future[None]]] = []
        self._flusher: asyncio.Task[None] | None = None
        self._flushed_at = 0.0

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path) -> AsyncGenerator["Store"]:
        """Open the file, made where it is missing.

        Raises:
            StoreError: The folder can't be written, the disk is full, or a newer version wrote the file.
        """
        with ThreadPoolExecutor(1, "store") as thread:
            loop = asyncio.get_running_loop()
            db = await loop.run_in_executor(thread, _connect, path)
            try:
                yield cls(db, thread)
            finally:
                await loop.run_in_executor(thread, db.close)

    async def _do(self, work: Callable[[sqlite3.Connection], Value]) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._thread, _transaction, self._db, work)

    # -- evaluations

    async def create(self, evaluation_id: str, settings: Settings, seed: str, cause: str = "created") -> None:
        """Add an evaluation, running."""
        now = _now()
        row = (evaluation_id, "running", cause, now, now, settings.model_dump_json(), seed)

        def work(db: sqlite3.Connection) -> None:
            db.execute(_CREATE, row)
            db.execute("INSERT INTO transitions VALUES (?, ?, ?, ?)", (evaluation_id, now, "running", cause))

        await self._do(work)

    async def transition(
        self, evaluation_id: str, state: EvaluationState, cause: str, *, owner: str | None = None
    ) -> None:
        """Move an evaluation to another state and record why; the same state again is nothing.

        Args:
            evaluation_id: Which.
            state: To become.
            cause: Why.
            owner: Only if this process still holds the lease; another one that took over is left alone.

        Raises:
            UsageError: The life cycle has no such transition.
        """
        now = _now()

        def work(db: sqlite3.Connection) -> None:
            current = rows.evaluation(db, evaluation_id).state
            if state is current or not rows.held_by(db, evaluation_id, owner):
                return
            if state not in TRANSITIONS[current]:
                msg = f"evaluation {evaluation_id} is {current}: it can't become {state}"
                raise UsageError(msg)
            db.execute(
                "UPDATE evaluations SET state = ?, cause = ?, updated_at = ? WHERE evaluation_id = ?",
                (state, cause, now, evaluation_id),
            )
            db.execute("INSERT INTO transitions VALUES (?, ?, ?, ?)", (evaluation_id, now, state, cause))
            if state is EvaluationState.FAILED:
                rows.give_turn_back(db, evaluation_id)

        await self._do(work)

    async def claim(self, evaluation_id: str, owner: str, dead: Callable[[str], bool]) -> None:
        """Make a process the only runner of an evaluation, or renew its lease, which lasts `LEASE_S`.

        Args:
            evaluation_id: Which.
            owner: Identifies this process.
            dead: Whether an owner's process is known to have ended: its lease needn't be waited for.

        Raises:
            UsageError: Another process holds the lease, or has completed the evaluation.
        """
        now = datetime.now(UTC)
        query = "SELECT owner, lease, state FROM evaluations WHERE evaluation_id = ?"

        def work(db: sqlite3.Connection) -> None:
            held, lease, state = db.execute(query, (evaluation_id,)).fetchone()
            if state == EvaluationState.COMPLETED:
                msg = f"evaluation {evaluation_id} is completed; `dep-mcp show` prints its score"
                raise UsageError(msg)
            fresh = lease is not None and now - datetime.fromisoformat(lease) < timedelta(seconds=LEASE_S)
            if held not in (None, owner) and fresh and not dead(held):
                msg = f"evaluation {evaluation_id} is being run by another process, which was alive at {lease[:19]} UTC"
                raise UsageError(msg)
            db.execute(
                "UPDATE evaluations SET owner = ?, lease = ?, wish = iif(owner = ?, wish, NULL)"
                " WHERE evaluation_id = ?",
                (owner, now.isoformat(), owner, evaluation_id),
            )

        await self._do(work)

    async def release(self, evaluation_id: str, owner: str) -> None:
        """Give the claim back; nothing where another process has taken over."""
        query = "UPDATE evaluations SET owner = NULL WHERE evaluation_id = ? AND owner = ?"
        await self._do(lambda db: db.execute(query, (evaluation_id, owner)))

    async def owner(self, evaluation_id: str) -> str | None:
        """Which process runs it, or did when it died."""
        return await self._do(lambda db: rows.column(db, evaluation_id, "owner"))

    async def wish(self, evaluation_id: str, wish: str) -> None:
        """Ask the process that runs it to `pause` or `cancel` it; the next `beat` tells it."""
        query = "UPDATE evaluations SET wish = ? WHERE evaluation_id = ?"
        await self._do(lambda db: db.execute(query, (wish, evaluation_id)))

    async def beat(self, evaluation_id: str, status: str) -> str | None:
        """Publish how far a running evaluation is, and learn what is wished of it.

        Args:
            evaluation_id: Which.
            status: JSON, for other processes to show.
        """

        def work(db: sqlite3.Connection) -> str | None:
            db.execute("UPDATE evaluations SET status = ? WHERE evaluation_id = ?", (status, evaluation_id))
            return rows.column(db, evaluation_id, "wish")

        return await self._do(work)

    async def status(self, evaluation_id: str) -> str | None:
        """What the last `beat` published."""
        return await self._do(lambda db: rows.column(db, evaluation_id, "status"))

    async def fork(self, source: str, evaluation_id: str) -> int:
        """Copy another evaluation's answers, not its failures, into a new one of the same items; return how many."""

        def work(db: sqlite3.Connection) -> int:
            db.execute("INSERT INTO pages SELECT ?, position, items, cursor, next FROM pages WHERE evaluation_id = ?",
                       (evaluation_id, source))  # fmt: skip
            copied = db.execute(
                "INSERT INTO answers SELECT ?, position, epoch, failed, record FROM answers"
                " WHERE evaluation_id = ? AND NOT failed",
                (evaluation_id, source),
            )
            return copied.rowcount

        return await self._do(work)

    async def fix_items(self, evaluation_id: str, opened: Opened) -> None:
        """Record the item set that `open` fixed, durably, and the key of the container that it was fixed in.

        Raises:
            StoreError: Another item set was fixed before: the benchmark isn't reproducible.
        """

        def work(db: sqlite3.Connection) -> None:
            before = rows.opened(db, evaluation_id)
            if before is not None and before != opened.model_copy(update={"public_key": before.public_key}):
                msg = "the benchmark generated other items than at first from the same seed; nothing was submitted"
                raise StoreError(msg)
            db.execute(
                "UPDATE evaluations SET opened = ? WHERE evaluation_id = ?",
                (opened.model_dump_json(), evaluation_id),
            )

        await self._do(work)

    async def take_turn(self, evaluation_id: str, settings: Settings) -> tuple[Turn, tuple[Turn, ...]]:
        """Count an evaluation among those of its identity, durably; the same turn until it is scored or fails.

        Returns:
            Its turn, and those that identity took before on this version of the benchmark: of evaluations that were
            scored, or may yet be (one that failed or was cancelled has given its turn back).
        """

        def work(db: sqlite3.Connection) -> tuple[Turn, tuple[Turn, ...]]:
            turn = Turn(evaluation_id=evaluation_id, at=datetime.now(UTC), final=settings.final, epochs=settings.epochs)
            return rows.take_turn(db, turn, settings)

        return await self._do(work)

    async def complete(
        self, evaluation_id: str, report: ScoreReport, receipt: Envelope, *, owner: str | None = None
    ) -> None:
        """Record the score and its receipt, settle its turn, and close the evaluation, in one transaction.

        Raises:
            UsageError: Another process has taken it over.
        """
        now = _now()

        def work(db: sqlite3.Connection) -> None:
            if not rows.held_by(db, evaluation_id, owner):
                msg = f"evaluation {evaluation_id} was taken over by another process, which goes on with it"
                raise UsageError(msg)
            db.execute(
                "UPDATE evaluations SET state = 'completed', cause = 'scored', updated_at = ?, report = ?, receipt = ?"
                " WHERE evaluation_id = ?",
                (now, report.model_dump_json(), receipt.model_dump_json(), evaluation_id),
            )
            db.execute("INSERT INTO transitions VALUES (?, ?, 'completed', 'scored')", (evaluation_id, now))
            rows.score_turn(db, evaluation_id, report.ranked)

        await self._do(work)

    # -- journal

    async def append(self, evaluation_id: str, record: Record) -> None:
        """Write one answer; it is on the disk when this returns. An answer is never replaced, a failure may be.

        Raises:
            StoreError: The disk is full or the file can't be written.
        """
        future = asyncio.get_running_loop().create_future()
        self._pending.append((_row(evaluation_id, record), future))
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        await future

    async def add_page(self, evaluation_id: str, page: FetchedPage) -> None:
        """Remember where a page of items lies, so that a resume needn't fetch those that are answered."""
        row = (evaluation_id, page.position, page.items, page.cursor, page.next_cursor)
        await self._do(lambda db: db.execute(_PAGE, row))

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        while self._pending:
            batch, self._pending = self._pending, []
            since_s, self._flushed_at = loop.time() - self._flushed_at, loop.time()
            rows = f"[{','.join(row for row, _ in batch)}]"
            error: Exception | None = None
            try:
                await self._do(lambda db, rows=rows: db.execute(_APPEND, (rows,)))  # type: ignore[misc]
            except Exception as fault:  # noqa: BLE001 (handed to whoever waits: an unheard one would make them wait for ever)
                error = fault
            for _, future in batch:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)
            if len(batch) > _BUSY_PER_S * since_s:
                await asyncio.sleep(_GATHER_S)

    # -- reading

    async def evaluation(self, prefix: str) -> Evaluation:
        """The evaluation whose id is, or uniquely begins with or ends in, the text given.

        Raises:
            UnknownNameError: There is none, or more than one.
        """
        found = await self._do(lambda db: rows.matching(db, prefix))
        if len(found) != 1:
            what = f"no evaluation {prefix!r}" if not found else f"{len(found)} evaluations match {prefix!r}"
            msg = f"{what}; `dep-mcp ls evaluations` lists them"
            raise UnknownNameError(msg)
        return found[0]

    async def evaluations(self) -> list[Evaluation]:
        """All evaluations, newest first."""
        return await self._do(rows.evaluations)

    async def seed(self, evaluation_id: str) -> str:
        """The secret seed: for the operator only until the evaluation has closed."""
        return await self._do(lambda db: rows.seed(db, evaluation_id))

    async def opened(self, evaluation_id: str) -> Opened | None:
        """The item set, once it is fixed."""
        return await self._do(lambda db: rows.opened(db, evaluation_id))

    async def report(self, evaluation_id: str) -> ScoreReport | None:
        """The score, once there is one."""
        return await self._do(lambda db: rows.report(db, evaluation_id))

    async def receipt(self, evaluation_id: str) -> str | None:
        """The receipt of the score as it was recorded, byte for byte, once there is one."""
        return await self._do(lambda db: rows.column(db, evaluation_id, "receipt"))

    async def totals(self, evaluation_id: str) -> rows.Totals:
        """Answers, failures, tokens and cost so far."""
        return await self._do(lambda db: rows.totals(db, evaluation_id))

    async def failures(self, evaluation_id: str, most: int = 20) -> list[Record]:
        """Declared failures, for people to read."""
        return await self._do(lambda db: rows.records(db, evaluation_id, after=(-1, 0), limit=most, failed=True))

    async def transitions(self, evaluation_id: str) -> list[tuple[str, str, str]]:
        """Time, state and cause of each transition, oldest first."""
        return await self._do(lambda db: rows.transitions(db, evaluation_id))

    async def answered(self, evaluation_id: str, position: int, items: int) -> set[tuple[int, int]]:
        """Which (place, epoch) of so many items from a place on have an answer; failures don't count."""
        return await self._do(lambda db: rows.answered(db, evaluation_id, position, items))

    async def pages(self, evaluation_id: str) -> list[FetchedPage]:
        """The pages of items that were fetched so far, in order."""
        return await self._do(lambda db: rows.pages(db, evaluation_id))

    async def digests(self, evaluation_id: str) -> AsyncGenerator[list[bytes | None]]:
        """SHA-256 of all answers, in pages by place and epoch; `None` for a declared failure."""
        after = (-1, 0)
        while True:
            found = await self._do(lambda db, after=after: rows.digests(db, evaluation_id, after=after, limit=_DIGESTS))  # type: ignore[misc]
            if not found:
                return
            yield [digest for _, _, digest in found]
            after = found[-1][:2]

    async def journal(self, evaluation_id: str, *, page: int = 100) -> AsyncGenerator[list[Record]]:
        """All records, in pages by place and epoch."""
        after = (-1, 0)
        while True:
            found = await self._do(lambda db, after=after: rows.records(db, evaluation_id, after=after, limit=page))  # type: ignore[misc]
            if not found:
                return
            yield found
            after = (found[-1].position, found[-1].submission.epoch)


def _row(evaluation_id: str, record: Record) -> str:
    submission = record.submission
    failed = int(submission.answer.kind == "failure")
    return f'["{evaluation_id}",{record.position},{submission.epoch},{failed},{record.model_dump_json()}]'


def _connect(path: Path) -> sqlite3.Connection:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        try:
            path.chmod(0o600)
            _prepare(db, path)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        msg = f"{path}: {_said(path, error)}. Free some space or set DEP_MCP_HOME to a folder that can be written."
        raise StoreError(msg) from error
    return db


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("BEGIN IMMEDIATE")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version not in (0, _VERSION):
        msg = f"{path} was written by another version of dep-mcp (format {version}, not {_VERSION}): move it away"
        raise StoreError(msg)
    if version == 0:
        for statement in _SCHEMA.split(";"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    db.execute("COMMIT")


def _transaction(db: sqlite3.Connection, work: Callable[[sqlite3.Connection], Value]) -> Value:
    try:
        db.execute("BEGIN IMMEDIATE")
        try:
            value = work(db)
            db.execute("COMMIT")
        finally:
            if db.in_transaction:  # a full disk has rolled back already
                db.execute("ROLLBACK")
    except sqlite3.Error as error:
        (_, _, path), *_ = db.execute("PRAGMA database_list")
        msg = (
            f"the store {path} can't be written: {_said(Path(path), error)}."
            " Everything answered so far is kept; free some space and resume."
        )
        raise StoreError(msg) from error
    return value


def _said(path: Path, error: Exception) -> str:
    """What SQLite or the system said; for a full disk SQLite often knows no more than `disk I/O error`."""
    there = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return str(error)
    return f"its disk is full ({error})" if free < _FULL else str(error)


def _now() -> str:
    return datetime.now(UTC).isoformat()
