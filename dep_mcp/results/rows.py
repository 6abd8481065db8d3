"""Queries over an open connection: rows of the store as typed values."""

import json
import sqlite3
from dataclasses import dataclass
from typing import Literal

from dep_mcp.protocol import Evaluation, FetchedPage, Opened, Record, ScoreReport, Settings, Submission, Turn
from dep_mcp.protocol.errors import UnknownNameError

_COLUMNS = "evaluation_id, state, cause, created_at, updated_at, settings"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What an evaluation has come to so far.

    Attributes:
        answered: Answers in the journal.
        failed: Declared failures in the journal.
        prompt_tokens: As far as providers said.
        completion_tokens: As far as providers said.
        cost_usd: As far as prices are known; `None` when none is.
        truncated: Answers that the limit of tokens cut.
        refused: Answers that a content policy refused or cut.
        too_long: Items that the context window couldn't hold.
        empty: Answers without any text, whatever for.
    """

    answered: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    truncated: int = 0
    refused: int = 0
    too_long: int = 0
    empty: int = 0


_TRUNCATED = ("length", "max_tokens", "max_output_tokens", "model_length")
_REFUSED = ("451", "content_filter", "refusal", "safety")
_TOO_LONG = ("413",)


def _evaluation(row: sqlite3.Row | tuple[str, ...]) -> Evaluation:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    return Evaluation.model_validate(values | {"settings": json.loads(values["settings"])}, strict=False)


def evaluation(db: sqlite3.Connection, evaluation_id: str) -> Evaluation:
    """One evaluation by its whole id.

    Raises:
        UnknownNameError: There is none.
    """
    row = db.execute(f"SELECT {_COLUMNS} FROM evaluations WHERE evaluation_id = ?", (evaluation_id,)).fetchone()
    if row is None:
        msg = f"no evaluation {evaluation_id!r}"
        raise UnknownNameError(msg)
    return _evaluation(row)


def matching(db: sqlite3.Connection, part: str) -> list[Evaluation]:
    """Evaluations whose id begins with or ends in a text; the whole id matches alone."""
    query = f"SELECT {_COLUMNS} FROM evaluations WHERE substr(evaluation_id, 1, ?) = ? OR substr(evaluation_id, -?) = ?"
    return [_evaluation(row) for row in db.execute(query, (len(part), part, len(part), part))] if part else []


def evaluations(db: sqlite3.Connection) -> list[Evaluation]:
    """All, newest first."""
    return [_evaluation(row) for row in db.execute(f"SELECT {_COLUMNS} FROM evaluations ORDER BY evaluation_id DESC")]


def held_by(db: sqlite3.Connection, evaluation_id: str, owner: str | None) -> bool:
    """Whether a process holds an evaluation; always, where none is named."""
    query = "SELECT owner FROM evaluations WHERE evaluation_id = ?"
    return owner is None or db.execute(query, (evaluation_id,)).fetchone()[0] == owner


def column(
    db: sqlite3.Connection, evaluation_id: str, name: Literal["owner", "wish", "status", "receipt"]
) -> str | None:
    """One text of an evaluation."""
    row = db.execute(f"SELECT {name} FROM evaluations WHERE evaluation_id = ?", (evaluation_id,)).fetchone()
    return None if row is None else row[0]


def seed(db: sqlite3.Connection, evaluation_id: str) -> str:
    """The secret seed."""
    return str(db.execute("SELECT seed FROM evaluations WHERE evaluation_id = ?", (evaluation_id,)).fetchone()[0])


def opened(db: sqlite3.Connection, evaluation_id: str) -> Opened | None:
    """What `open` fixed."""
    (text,) = db.execute("SELECT opened FROM evaluations WHERE evaluation_id = ?", (evaluation_id,)).fetchone()
    return None if text is None else Opened.model_validate_json(text)


def report(db: sqlite3.Connection, evaluation_id: str) -> ScoreReport | None:
    """The score."""
    (text,) = db.execute("SELECT report FROM evaluations WHERE evaluation_id = ?", (evaluation_id,)).fetchone()
    return None if text is None else ScoreReport.model_validate_json(text)


def totals(db: sqlite3.Connection, evaluation_id: str) -> Totals:
    """Sums over the journal."""
    query = """SELECT count(*) - sum(failed), sum(failed), sum(record ->> '$.usage.prompt_tokens'),
               sum(record ->> '$.usage.completion_tokens'), sum(record ->> '$.cost_usd'),
               sum(record ->> '$.submission.answer.text' = '')
               FROM answers WHERE evaluation_id = ?"""
    answered, failed, prompt, completion, cost, empty = db.execute(query, (evaluation_id,)).fetchone()
    query = """SELECT lower(record ->> '$.submission.answer.finish_reason'), count(*) FROM answers
               WHERE evaluation_id = ? GROUP BY 1"""
    ends = dict(db.execute(query, (evaluation_id,)).fetchall())
    return Totals(
        answered=answered or 0,
        failed=failed or 0,
        prompt_tokens=prompt or 0,
        completion_tokens=completion or 0,
        cost_usd=cost,
        truncated=sum(ends.get(name, 0) for name in _TRUNCATED),
        refused=sum(ends.get(name, 0) for name in _REFUSED),
        too_long=sum(ends.get(name, 0) for name in _TOO_LONG),
        empty=empty or 0,
    )


def transitions(db: sqlite3.Connection, evaluation_id: str) -> list[tuple[str, str, str]]:
    """Time, state, cause."""
    query = "SELECT at, state, cause FROM transitions WHERE evaluation_id = ? ORDER BY rowid"
    return db.execute(query, (evaluation_id,)).fetchall()


def answered(db: sqlite3.Connection, evaluation_id: str, position: int, items: int) -> set[tuple[int, int]]:
    """Which of these have an answer."""
    query = """SELECT position, epoch FROM answers WHERE evaluation_id = ? AND position >= ? AND position < ?
               AND NOT failed"""
    return set(db.execute(query, (evaluation_id, position, position + items)))


def pages(db: sqlite3.Connection, evaluation_id: str) -> list[FetchedPage]:
    """Pages of items, in order."""
    query = """SELECT position, items, cursor, next, (SELECT count(*) FROM answers
                 WHERE answers.evaluation_id = pages.evaluation_id AND NOT failed
                 AND answers.position >= pages.position AND answers.position < pages.position + pages.items)
               FROM pages WHERE evaluation_id = ? ORDER BY position"""
    return [
        FetchedPage(position=position, items=items, cursor=cursor, next_cursor=following, answered=count)
        for position, items, cursor, following, count in db.execute(query, (evaluation_id,))
    ]


def digests(
    db: sqlite3.Connection, evaluation_id: str, *, after: tuple[int, int], limit: int
) -> list[tuple[int, int, bytes | None]]:
    """Place, epoch and digest of answers, a page by (place, epoch); `None` for a failure."""
    query = """SELECT position, epoch, failed, record -> '$.submission' FROM answers
               WHERE evaluation_id = ? AND (position, epoch) > (?, ?) ORDER BY position, epoch LIMIT ?"""
    return [
        (position, epoch, None if failed else Submission.model_validate_json(text).digest())
        for position, epoch, failed, text in db.execute(query, (evaluation_id, *after, limit))
    ]


def take_turn(db: sqlite3.Connection, turn: Turn, settings: Settings) -> tuple[Turn, tuple[Turn, ...]]:
    """See `Store.take_turn`."""
    whose = (settings.benchmark, settings.benchmark_version, settings.identity)
    db.execute(
        "INSERT INTO turns (evaluation_id, benchmark, version, identity, turn) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING",
        (turn.evaluation_id, *whose, turn.model_dump_json()),
    )
    query = """SELECT turn FROM turns WHERE benchmark = ? AND version = ? AND identity = ?
               AND number < (SELECT number FROM turns WHERE evaluation_id = ?) ORDER BY number"""
    others = db.execute(query, (*whose, turn.evaluation_id))
    (mine,) = db.execute("SELECT turn FROM turns WHERE evaluation_id = ?", (turn.evaluation_id,)).fetchone()
    return Turn.model_validate_json(mine), tuple(Turn.model_validate_json(text) for (text,) in others)


def give_turn_back(db: sqlite3.Connection, evaluation_id: str) -> None:
    """Free the turn of an evaluation that failed. Taken up again, it comes after those that were admitted meanwhile."""
    db.execute("DELETE FROM turns WHERE evaluation_id = ?", (evaluation_id,))


def score_turn(db: sqlite3.Connection, evaluation_id: str, score: float) -> None:
    """Settle the turn of an evaluation, if it has one, with what was disclosed."""
    db.execute("UPDATE turns SET turn = json_set(turn, '$.score', ?) WHERE evaluation_id = ?", (score, evaluation_id))


def records(
    db: sqlite3.Connection,
    evaluation_id: str,
    *,
    after: tuple[int, int],
    limit: int,
    failed: bool | None = None,
) -> list[Record]:
    """A page of the journal by (place, epoch)."""
    query = """SELECT record FROM answers WHERE evaluation_id = ? AND (position, epoch) > (?, ?)
               AND (? IS NULL OR failed = ?) ORDER BY position, epoch LIMIT ?"""
    found = db.execute(query, (evaluation_id, *after, failed, failed, limit))
    return [Record.model_validate_json(text) for (text,) in found]
