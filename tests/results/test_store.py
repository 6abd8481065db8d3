"""The store: what it returned for is there, whatever happens next; and what may not happen is refused."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dep_mcp.protocol import (
    Envelope,
    EvaluationState,
    FetchedPage,
    Opened,
    Record,
    ScoreReport,
    Settings,
    Submission,
    TextAnswer,
    new_evaluation_id,
    new_seed,
)
from dep_mcp.protocol.errors import StoreError, UnknownNameError, UsageError
from dep_mcp.receipts import SigningKey
from dep_mcp.results import Store
from dep_mcp.results.store import LEASE_S

MakeSettings = Callable[..., Settings]
MakeRecord = Callable[..., Record]
MakeReport = Callable[..., ScoreReport]
KEY = SigningKey.mint()
RECEIPT = Envelope(payloadType="application/vnd.in-toto+json", payload="e30=", signatures=(KEY.sign(b"{}"),))
DIGEST = "sha256:" + "0" * 64


async def add(store: Store, settings: Settings, evaluation_id: str | None = None) -> str:
    evaluation_id = evaluation_id or new_evaluation_id()
    await store.create(evaluation_id, settings, new_seed())
    return evaluation_id


def said(records: list[Record]) -> dict[tuple[str, int], str | int]:
    return {
        (record.submission.item_id, record.submission.epoch): (
            answer.text if isinstance(answer := record.submission.answer, TextAnswer) else answer.status  # type: ignore[union-attr]
        )
        for record in records
    }


async def journal(store: Store, evaluation_id: str, page: int = 100) -> dict[tuple[str, int], str | int]:
    found: list[Record] = []
    async for records in store.journal(evaluation_id, page=page):
        assert len(records) <= page
        found += records
    return said(found)


# -- durability


async def test_everything_is_there_after_reopening(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord, report: MakeReport
) -> None:
    """A machine may be switched off between any two lines."""
    path, opened = (
        tmp_path / "deep" / "folder" / "store.sqlite",
        Opened(items=2, epochs=1, items_digest=DIGEST, public_key=KEY.public),
    )
    async with Store.open(path) as store:
        evaluation_id = new_evaluation_id()
        await store.create(evaluation_id, settings(), "5eed" * 8)
        await store.fix_items(evaluation_id, opened)
        await store.append(evaluation_id, record("a", "1"))
        await store.append(evaluation_id, record("b", 500, detail="broken"))
        await store.complete(evaluation_id, report(evaluation_id, 0.5), RECEIPT)
    async with Store.open(path) as store:
        evaluation = await store.evaluation(evaluation_id)
        assert (evaluation.state, evaluation.cause) == (EvaluationState.COMPLETED, "scored")
        assert evaluation.settings == settings()
        assert await store.seed(evaluation_id) == "5eed" * 8
        assert await store.opened(evaluation_id) == opened
        assert await store.report(evaluation_id) == report(evaluation_id, 0.5)
        assert await store.receipt(evaluation_id) == RECEIPT.model_dump_json()
        assert await journal(store, evaluation_id) == {("a", 1): "1", ("b", 1): 500}
        (failure,) = await store.failures(evaluation_id)
        assert failure.detail == "broken"
        assert [(state, cause) for _, state, cause in await store.transitions(evaluation_id)] == [
            ("running", "created"),
            ("completed", "scored"),
        ]


@pytest.mark.parametrize("page", [2, 1000])
async def test_the_digests_of_answers_are_those_of_their_submissions(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    """In the evaluation's order, however they came; a receipt is refused where one differs."""
    monkeypatch.setattr("dep_mcp.results.store._DIGESTS", page)
    texts = ["plain", "", 'quotes " \\ / \u2028 \x7f \x00 \U0001f600', "\t\n"]
    records = [record(f"i-{number}", text) for number, text in enumerate(texts)]
    records.append(record("i-4", 500))
    records.append(record("i-5", "4", epoch=2))
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        for one in reversed(records):
            await store.append(evaluation_id, one)
        found = [digest async for digests in store.digests(evaluation_id) for digest in digests]
    assert found == [
        None if one.detail or number == 4 else one.submission.digest() for number, one in enumerate(records)
    ]


async def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    """It holds secret seeds and raw answers."""
    path = tmp_path / "store.sqlite"
    async with Store.open(path):
        assert path.stat().st_mode & 0o777 == 0o600


APPENDING = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from dep_mcp.protocol import Record, Submission, TextAnswer
from dep_mcp.results import Store

async def main():
    async with Store.open(Path(sys.argv[1])) as store:
        async def worker(worker):
            number = 0
            while True:
                answer = TextAnswer(text="x" * 200)
                submission = Submission(item_id=f"{worker}-{number}", answer=answer)
                record = Record(submission=submission, position=8 * number + worker, attempts=1, at=datetime.now(UTC))
                await store.append(sys.argv[2], record)
                print(submission.item_id, flush=True)
                number += 1
        await asyncio.gather(*(worker(number) for number in range(8)))

asyncio.run(main())
"""


async def test_every_answer_that_append_returned_for_survives_a_kill(tmp_path: Path, settings: MakeSettings) -> None:
    """`kill -9` in the middle of writing: an answer was paid for, and is in the journal before it is submitted."""
    path = tmp_path / "store.sqlite"
    async with Store.open(path) as store:
        evaluation_id = await add(store, settings())
    command = [sys.executable, "-c", APPENDING, str(path), evaluation_id]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = [process.stdout.readline().strip() for _ in range(300)]
        process.send_signal(signal.SIGKILL)
        printed += process.stdout.read().split("\n")[:-1]
    assert process.returncode == -signal.SIGKILL
    async with Store.open(path) as store:
        there = await journal(store, evaluation_id)
    assert {(item_id, 1) for item_id in printed} <= there.keys()
    assert len(printed) == len(set(printed)) >= 300


async def test_a_full_disk_is_told_and_what_was_kept_is_kept(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """Everything of the batch fails together, nothing before it is lost, and it goes on when there is room."""
    path = tmp_path / "store.sqlite"
    async with Store.open(path) as store:
        evaluation_id = await add(store, settings())
        await store.append(evaluation_id, record("before"))
        (pages,) = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count = {pages}")
        big = [store.append(evaluation_id, record(f"big-{n}", "x" * 20_000)) for n in range(5)]
        failures = await asyncio.gather(*big, return_exceptions=True)
        assert [type(failure) for failure in failures] == [StoreError] * 5
        assert await journal(store, evaluation_id) == {("before", 1): "4"}
        store._db.execute("PRAGMA max_page_count = 1000000")
        await store.append(evaluation_id, record("after"))
    async with Store.open(path) as store:
        assert set(await journal(store, evaluation_id)) == {("after", 1), ("before", 1)}


@pytest.mark.skipif(os.geteuid() != 0, reason="the other way to make it unwritable needs no root")
async def test_a_folder_that_is_a_file_cannot_hold_a_store(tmp_path: Path) -> None:
    """Told as what it is, with the path."""
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(StoreError) as error:
        async with Store.open(tmp_path / "file" / "store.sqlite"):
            pass
    assert str(tmp_path / "file") in error.value.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_folder_that_cannot_be_written_cannot_hold_a_store(tmp_path: Path) -> None:
    """As above, for users who aren't root."""
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError):
        async with Store.open(tmp_path / "store.sqlite"):
            pass


async def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """And left as it is."""
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"no database, but somebody's file" * 100)
    before = path.read_bytes()
    with pytest.raises(StoreError):
        async with Store.open(path):
            pass
    assert path.read_bytes() == before


async def test_a_store_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """Writing into a format that one doesn't know would lose what it can't see."""
    path = tmp_path / "store.sqlite"
    async with Store.open(path):
        pass
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError) as error:
        async with Store.open(path):
            pass
    assert "99" in error.value.detail
    if sys.platform == "linux":
        assert str(path) not in [
            str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()
        ]


# -- the journal


async def test_a_failure_may_be_replaced_and_an_answer_never(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """A resumed run answers what failed; what was answered is what is scored."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        for what in (500, 503, "first", "second", 500):
            await store.append(evaluation_id, record("a", what))
        assert await journal(store, evaluation_id) == {("a", 1): "first"}
        assert await store.failures(evaluation_id) == []


async def test_answers_of_one_moment_are_all_written(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """They share a transaction, and each caller is told."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        await asyncio.gather(*(store.append(evaluation_id, record(f"i-{n}", str(n))) for n in range(200)))
        assert len(await journal(store, evaluation_id, page=7)) == 200


async def test_a_cancelled_append_leaves_the_others_alone(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """One worker gives up; its neighbours in the same batch don't wait for ever."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        tasks = [asyncio.create_task(store.append(evaluation_id, record(f"i-{n}"))) for n in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in done] == [type(None), asyncio.CancelledError, type(None)]
        assert {("i-0", 1), ("i-2", 1)} <= (await journal(store, evaluation_id)).keys()


async def test_an_answer_to_no_evaluation_is_refused(tmp_path: Path, record: MakeRecord) -> None:
    """It would be lost."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        with pytest.raises(StoreError):
            await store.append(new_evaluation_id(), record("a"))


async def test_a_record_that_cannot_be_written_fails_and_does_not_wait_for_ever(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """Whatever the reason; and the next one is written."""
    async with Store.open(tmp_path / "store.sqlite") as store, asyncio.timeout(10):
        evaluation_id = await add(store, settings())
        with pytest.raises(StoreError):
            await store.append(evaluation_id, record("a", epoch=2**70))
        await store.append(evaluation_id, record("b"))
        assert set(await journal(store, evaluation_id)) == {("b", 1)}


async def test_pages_of_the_journal_are_in_order_and_whole(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """Whatever the page's size: it is what is replayed to a new container."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id, other = await add(store, settings()), await add(store, settings())
        pairs = [(item, epoch) for item in ("", "a", "b", "ä", "Z")[1:] for epoch in (1, 2, 10)]
        for place, (item, epoch) in reversed(list(enumerate(pairs))):
            await store.append(evaluation_id, record(item, item, epoch=epoch, position=place // 3))
        await store.append(other, record("elsewhere"))
        for page in (1, 2, 5, 100):
            assert list(await journal(store, evaluation_id, page)) == pairs


async def test_totals_tell_answers_failures_tokens_and_cost(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """As far as they are known: an unknown price isn't 0."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        empty = await store.totals(evaluation_id)
        assert (empty.answered, empty.failed, empty.prompt_tokens, empty.cost_usd) == (0, 0, 0, None)
        await store.append(evaluation_id, record("a"))
        assert (await store.totals(evaluation_id)).cost_usd is None
        await store.append(evaluation_id, record("b", cost_usd=0.25))
        await store.append(evaluation_id, record("c", 500, usage={}))
        totals = await store.totals(evaluation_id)
    assert (totals.answered, totals.failed) == (2, 1)
    assert (totals.prompt_tokens, totals.completion_tokens, totals.cost_usd) == (20, 4, 0.25)


async def test_totals_tell_outcomes_apart(tmp_path: Path, settings: MakeSettings, record: MakeRecord) -> None:
    """An answer that was cut isn't a failure, and isn't like any other either."""
    ends = {
        "a": ("4", "stop"),
        "b": ("4", "length"),
        "c": ("", "content_filter"),
        "d": ("", "413"),
        "e": ("", "MAX_TOKENS"),
    }
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        for item, (text, reason) in ends.items():
            answer = TextAnswer(text=text, finish_reason=reason)
            await store.append(evaluation_id, record(item, submission=Submission(item_id=item, answer=answer)))
        totals = await store.totals(evaluation_id)
    assert (totals.truncated, totals.refused, totals.too_long, totals.empty) == (2, 1, 1, 3)


async def test_answered_tells_answers_and_not_failures(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """A resumed run calls the model for the rest."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        await store.append(evaluation_id, record("a", epoch=2))
        await store.append(evaluation_id, record("b", 500))
        await store.append(evaluation_id, record("c"))
        await store.append(evaluation_id, record("elsewhere"))
        assert await store.answered(evaluation_id, 0, 3) == {(0, 2), (2, 1)}


async def test_pages_of_items_are_remembered_with_their_answers(
    tmp_path: Path, settings: MakeSettings, record: MakeRecord
) -> None:
    """A resume fetches only pages that lack answers; one that holds a failure does."""
    first = FetchedPage(position=0, items=2, cursor=None, next_cursor="2")
    second = FetchedPage(position=2, items=1, cursor="2", next_cursor=None)
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        for page in (second, first, first):
            await store.add_page(evaluation_id, page)
        for item, what in (("a", "1"), ("b", 500), ("c", "3")):
            await store.append(evaluation_id, record(item, what))
        assert await store.pages(evaluation_id) == [
            first.model_copy(update={"answered": 1}),
            second.model_copy(update={"answered": 1}),
        ]


async def test_the_item_set_is_fixed_once(tmp_path: Path, settings: MakeSettings) -> None:
    """A benchmark that generates other items from the same seed isn't reproducible: nothing may be submitted to it."""
    opened = Opened(items=2, epochs=1, items_digest=DIGEST, public_key=KEY.public)
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        assert await store.opened(evaluation_id) is None
        assert await store.receipt(evaluation_id) is None
        await store.fix_items(evaluation_id, opened)
        replaced = opened.model_copy(update={"public_key": SigningKey.mint().public})
        await store.fix_items(evaluation_id, replaced)
        with pytest.raises(StoreError):
            await store.fix_items(evaluation_id, opened.model_copy(update={"items": 3}))
        assert await store.opened(evaluation_id) == replaced, "the container that serves it now"


# -- the life cycle


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        (["paused"], "completed"),
        (["failed"], "paused"),
        (["failed"], "completed"),
        (["completed"], "running"),
        (["completed"], "failed"),
        (["paused", "running", "completed"], "paused"),
    ],
)
async def test_a_transition_outside_the_life_cycle_is_refused(
    tmp_path: Path, settings: MakeSettings, path: list[str], refused: str
) -> None:
    """And leaves the state as it was."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        for state in path:
            await store.transition(evaluation_id, EvaluationState(state), "test")
        with pytest.raises(UsageError):
            await store.transition(evaluation_id, EvaluationState(refused), "test")
        assert (await store.evaluation(evaluation_id)).state == path[-1]


async def test_every_transition_is_recorded_with_its_cause(tmp_path: Path, settings: MakeSettings) -> None:
    """The same state again is nothing."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        for state, cause in (("paused", "stopped"), ("paused", "again"), ("running", "resumed"), ("failed", "401")):
            await store.transition(evaluation_id, EvaluationState(state), cause)
        transitions = await store.transitions(evaluation_id)
        evaluation = await store.evaluation(evaluation_id)
    assert [(state, cause) for _, state, cause in transitions] == [
        ("running", "created"),
        ("paused", "stopped"),
        ("running", "resumed"),
        ("failed", "401"),
    ]
    assert (evaluation.state, evaluation.cause) == (EvaluationState.FAILED, "401")
    assert evaluation.created_at <= evaluation.updated_at
    assert evaluation.updated_at.tzinfo is not None


async def test_an_unknown_evaluation_has_no_transition(tmp_path: Path) -> None:
    """A mistyped id creates nothing."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        with pytest.raises(UnknownNameError):
            await store.transition(new_evaluation_id(), EvaluationState.PAUSED, "test")


async def test_a_second_runner_is_refused_while_the_first_lives(tmp_path: Path, settings: MakeSettings) -> None:
    """Two of them would pay for every answer twice."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        await store.claim(evaluation_id, "first", lambda _owner: False)
        await store.claim(evaluation_id, "first", lambda _owner: False)
        with pytest.raises(UsageError):
            await store.claim(evaluation_id, "second", lambda _owner: False)
        await store.release(evaluation_id, "second")
        with pytest.raises(UsageError):
            await store.claim(evaluation_id, "second", lambda _owner: False)
        await store.release(evaluation_id, "first")
        await store.claim(evaluation_id, "second", lambda _owner: False)


async def test_a_process_that_lost_its_lease_changes_nothing(tmp_path: Path, settings: MakeSettings) -> None:
    """It slept, another took over: its late `paused` must not stand over a running evaluation."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        await store.claim(evaluation_id, "first", lambda _owner: True)
        await store.claim(evaluation_id, "second", lambda _owner: True)
        await store.transition(evaluation_id, EvaluationState.PAUSED, "interrupted", owner="first")
        assert (await store.evaluation(evaluation_id)).state is EvaluationState.RUNNING
        await store.transition(evaluation_id, EvaluationState.PAUSED, "interrupted", owner="second")
        assert (await store.evaluation(evaluation_id)).state is EvaluationState.PAUSED


async def test_the_claim_of_a_dead_process_is_taken_at_once(tmp_path: Path, settings: MakeSettings) -> None:
    """After `kill -9` nobody wants to wait for a lease."""
    asked = []
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        await store.claim(evaluation_id, "first", lambda _owner: False)
        await store.claim(evaluation_id, "second", lambda owner: not asked.append(owner))
        with pytest.raises(UsageError):
            await store.claim(evaluation_id, "first", lambda _owner: False)
    assert asked == ["first"]


async def test_a_stale_claim_is_taken(tmp_path: Path, settings: MakeSettings) -> None:
    """Its owner is on another machine, or hangs: it renews no more."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation_id = await add(store, settings())
        await store.claim(evaluation_id, "first", lambda _owner: False)
        stale = (datetime.now(UTC) - timedelta(seconds=LEASE_S + 1)).isoformat()
        await store._do(lambda db: db.execute("UPDATE evaluations SET lease = ?", (stale,)))
        await store.claim(evaluation_id, "second", lambda _owner: False)
        with pytest.raises(UsageError):
            await store.claim(evaluation_id, "first", lambda _owner: False)


# -- looking up

IDS = ["ev_0" + "a" * 34 + "b", "ev_0" + "a" * 34 + "c", "ev_1" + "d" * 34 + "b"]


@pytest.mark.parametrize(
    ("part", "found"),
    [(IDS[0], 0), ("ev_1", 2), ("ab", 0), ("c", 1), ("ac", 1), ("db", 2)],
)
async def test_an_evaluation_is_found_by_either_end_of_its_id(
    tmp_path: Path, settings: MakeSettings, part: str, found: int
) -> None:
    """People copy the part that differs."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        for evaluation_id in IDS:
            await add(store, settings(), evaluation_id)
        assert (await store.evaluation(part)).evaluation_id == IDS[found]


@pytest.mark.parametrize("part", ["", "ev_", "ev_0", "b", "aaa", "%", "_", "nothing", "x" * 100])
async def test_a_part_that_fits_none_or_several_is_refused(tmp_path: Path, settings: MakeSettings, part: str) -> None:
    """Guessing would show, or resume, the wrong one; and no character is a wildcard."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        for evaluation_id in IDS:
            await add(store, settings(), evaluation_id)
        with pytest.raises(UnknownNameError):
            await store.evaluation(part)


async def test_evaluations_are_listed_newest_first(tmp_path: Path, settings: MakeSettings) -> None:
    """By id, which sorts by time."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        for evaluation_id in IDS:
            await add(store, settings(), evaluation_id)
        assert [evaluation.evaluation_id for evaluation in await store.evaluations()] == IDS[::-1]
        assert await store.report(IDS[0]) is None


# -- turns


async def scored(store: Store, evaluation_id: str, report: MakeReport, score: float) -> None:
    await store.complete(evaluation_id, report(evaluation_id, score), RECEIPT)


async def test_turns_are_those_of_one_identity_on_one_version(
    tmp_path: Path, settings: MakeSettings, report: MakeReport
) -> None:
    """What others had scored is no matter of one's quota."""
    mine, others = (
        settings(identity="lab-a"),
        [
            settings(identity="lab-b"),
            settings(identity="lab-a", benchmark="other"),
            settings(identity="lab-a", benchmark_version="2"),
        ],
    )
    async with Store.open(tmp_path / "store.sqlite") as store:
        for one in others:
            evaluation_id = await add(store, one)
            await store.take_turn(evaluation_id, one)
            await scored(store, evaluation_id, report, 0.5)
        turn, earlier = await store.take_turn(await add(store, mine), mine)
    assert (turn.score, earlier) == (None, ())


async def test_a_turn_is_settled_with_the_score_in_one_transaction(
    tmp_path: Path, settings: MakeSettings, report: MakeReport
) -> None:
    """A crash between the two would give a score away for nothing."""
    mine = settings(identity="lab-a", final=True, epochs=3)
    async with Store.open(tmp_path / "store.sqlite") as store:
        first, second = [await add(store, mine) for _ in range(2)]
        turn, _ = await store.take_turn(first, mine)
        await scored(store, first, report, 0.25)
        with pytest.raises(StoreError):
            await store.complete("ev_" + "0" * 36, report(second, 0.5), RECEIPT)
        _, earlier = await store.take_turn(second, mine)
    assert earlier == (turn.model_copy(update={"score": 0.25}),)
    assert (turn.final, turn.epochs) == (True, 3)


async def test_an_open_turn_counts_for_those_that_come_after_it(tmp_path: Path, settings: MakeSettings) -> None:
    """Not for those before, and not once its evaluation is given up; taken again it is the same one."""
    mine = settings(identity="lab-a")
    async with Store.open(tmp_path / "store.sqlite") as store:
        first, second = [await add(store, mine) for _ in range(2)]
        turn, _ = await store.take_turn(first, mine)
        _, of_second = await store.take_turn(second, mine)
        again, of_first = await store.take_turn(first, mine)
        await store.transition(first, EvaluationState.FAILED, "cancelled")
        _, after = await store.take_turn(second, mine)
    assert of_second == (turn,)
    assert (again, of_first) == (turn, ())
    assert after == ()


async def test_a_cancelled_evaluation_goes_to_the_end_of_the_queue(tmp_path: Path, settings: MakeSettings) -> None:
    """It freed its turn; with the old one, taken up again, it would be scored beside the one that came after it."""
    mine = settings(identity="lab-a")
    async with Store.open(tmp_path / "store.sqlite") as store:
        first, second = [await add(store, mine) for _ in range(2)]
        await store.take_turn(first, mine)
        await store.transition(first, EvaluationState.FAILED, "cancelled")
        turn, _ = await store.take_turn(second, mine)
        await store.transition(first, EvaluationState.RUNNING, "resumed")
        _, of_first = await store.take_turn(first, mine)
    assert of_first == (turn,)
