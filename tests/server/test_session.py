"""What the tools of a sealed session do, through the typed client over MCP in memory."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from dep_mcp.client import SubjectClient, connect
from dep_mcp.protocol import (
    PAGE_BYTES,
    PAGE_ITEMS,
    Answer,
    ChoiceAnswer,
    Commitment,
    DatasetCard,
    DeclaredFailure,
    Open,
    Opened,
    ScoreReport,
    ScoreRequest,
    ScoreState,
    Submission,
    Submit,
    Submitted,
    TextAnswer,
    new_evaluation_id,
    new_seed,
)
from dep_mcp.protocol.errors import (
    AlreadyOpenError,
    BadCursorError,
    DataError,
    NotOpenError,
    UnknownNameError,
    WrongEvaluationError,
)
from dep_mcp.receipts import Committed, verify
from dep_mcp.scoring import Choice, ExactMatch, Verifier
from dep_mcp.server import Benchmark, Draw, SealedItem
from dep_mcp.server.app import create_app
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.session import SealedSession

MakeSession = Callable[..., SealedSession]
OpenSession = Callable[..., AbstractAsyncContextManager[tuple[SubjectClient, Opened]]]
SEED = "5eed" * 8


def sums(count: int, *, parts: int = 1) -> list[SealedItem]:
    return [SealedItem(f"i-{n}", f"{n} + 1 =", str(n + 1), subtask=f"part-{n % parts}") for n in range(count)]


def text(item_id: str, said: str, epoch: int = 1) -> Submission:
    return Submission(item_id=item_id, epoch=epoch, answer=TextAnswer(text=said))


def failure(item_id: str, epoch: int = 1, status: int = 500) -> Submission:
    return Submission(item_id=item_id, epoch=epoch, answer=DeclaredFailure(status=status))


def codes(submitted: Submitted) -> list[str]:
    return [rejection.code for rejection in submitted.rejected]


async def everything(subject: SubjectClient, answer: Answer, *, items: int, epochs: int = 1) -> None:
    pairs = [(f"i-{n}", epoch) for n in range(items) for epoch in range(1, epochs + 1)]
    for start in range(0, len(pairs), PAGE_ITEMS):
        page = pairs[start : start + PAGE_ITEMS]
        await subject.submit(tuple(Submission(item_id=item, epoch=epoch, answer=answer) for item, epoch in page))


async def reported(subject: SubjectClient) -> ScoreReport:
    result = await subject.score()
    assert result.state is ScoreState.SCORED
    assert result.report is not None
    return result.report


# -- open


async def test_a_session_that_is_not_open_answers_describe_only(make_session: MakeSession) -> None:
    """An image that somebody starts by hand shows no item."""
    async with connect(create_app(make_session(sums(1), ExactMatch()))) as operator:
        subject = operator.subject(new_evaluation_id())
        assert (await subject.describe()).benchmark == "listed"
        for call in (subject.get_items(), subject.submit((text("i-0", "1"),)), subject.score()):
            with pytest.raises(NotOpenError):
                await call


async def test_another_evaluations_id_opens_nothing(make_session: MakeSession) -> None:
    """The id is the subject's capability."""
    async with connect(create_app(make_session(sums(1), ExactMatch()))) as operator:
        await operator.open(Open(evaluation_id=new_evaluation_id(), seed=SEED))
        subject = operator.subject(new_evaluation_id())
        for call in (subject.get_items(), subject.submit((text("i-0", "1"),)), subject.score()):
            with pytest.raises(WrongEvaluationError):
                await call


async def test_opening_again_alike_gives_the_same(make_session: MakeSession) -> None:
    """The orchestrator may lose the reply and ask again."""
    opening = Open(evaluation_id=new_evaluation_id(), seed=SEED, limit=3, epochs=2)
    async with connect(create_app(make_session(sums(5), ExactMatch()))) as operator:
        first = await operator.open(opening)
        await operator.subject(opening.evaluation_id).submit((text("i-0", "1"),))
        assert await operator.open(opening) == first
        assert (first.items, first.epochs) == (3, 2)


@pytest.mark.parametrize(
    "other",
    [{"evaluation_id": new_evaluation_id()}, {"seed": "0" * 32}, {"limit": 2}, {"epochs": 3}, {"task": "part-0"}],
    ids=["id", "seed", "limit", "epochs", "task"],
)
async def test_opening_again_otherwise_is_refused(make_session: MakeSession, other: dict[str, object]) -> None:
    """The item set is fixed for good: nobody draws until the questions suit."""
    opening = Open(evaluation_id=new_evaluation_id(), seed=SEED)
    async with connect(create_app(make_session(sums(5), ExactMatch()))) as operator:
        await operator.open(opening)
        with pytest.raises(AlreadyOpenError):
            await operator.open(Open.model_validate(opening.model_dump() | other))


async def test_an_unknown_task_is_refused_with_the_nearest_name_and_leaves_the_session_shut(
    make_session: MakeSession,
) -> None:
    """A mistyped name costs one call, not the container."""
    opening = Open(evaluation_id=new_evaluation_id(), seed=SEED, task="prat-1")
    async with connect(create_app(make_session(sums(4, parts=2), ExactMatch()))) as operator:
        with pytest.raises(UnknownNameError) as refused:
            await operator.open(opening)
        assert "part-1" in refused.value.detail
        assert (await operator.open(opening.model_copy(update={"task": "part-1"}))).items == 2


async def test_a_task_of_a_benchmark_without_tasks_is_refused(make_session: MakeSession) -> None:
    """Running the whole instead would score something that nobody asked for."""
    async with connect(create_app(make_session([SealedItem("i-0", "q", "t")], ExactMatch()))) as operator:
        with pytest.raises(UnknownNameError):
            await operator.open(Open(evaluation_id=new_evaluation_id(), seed=SEED, task="x"))


async def test_the_seed_decides_the_order_and_a_replacement_gives_the_same_pages(
    make_session: MakeSession, opened: OpenSession
) -> None:
    """A cursor survives a replaced container."""
    pages, digests = [], []
    for seed in (SEED, SEED, "0" * 32):
        async with opened(make_session(sums(30), ExactMatch()), seed=seed) as (subject, opening):
            pages.append([item.item_id for item in (await subject.get_items()).items])
            digests.append(opening.items_digest)
    assert pages[0] == pages[1] != pages[2]
    assert digests[0] == digests[1] != digests[2]


# -- get_items


async def collect(subject: SubjectClient) -> list[list[str]]:
    pages, cursor = [], None
    while True:
        page = await subject.get_items(cursor)
        size = sum(len(item.model_dump_json().encode()) for item in page.items)
        assert len(page.items) == 1 or size <= PAGE_BYTES
        pages.append([item.item_id for item in page.items])
        cursor = page.next_cursor
        if cursor is None:
            return pages


@pytest.mark.parametrize(("count", "sizes"), [(1, [1]), (100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
async def test_a_page_holds_a_hundred_items(
    make_session: MakeSession, opened: OpenSession, count: int, sizes: list[int]
) -> None:
    """Every item once, over all pages, and no empty last page."""
    async with opened(make_session(sums(count), ExactMatch())) as (subject, _):
        pages = await collect(subject)
    assert [len(page) for page in pages] == sizes
    assert sorted(sum(pages, [])) == sorted(f"i-{n}" for n in range(count))  # noqa: RUF017 (a few pages)


async def test_big_items_make_smaller_pages(make_session: MakeSession, opened: OpenSession) -> None:
    """A page is at most 256 KiB of UTF-8, not of characters."""
    items = [SealedItem(f"i-{n}", "ä" * 30 * 1024, "t") for n in range(10)]
    async with opened(make_session(items, ExactMatch())) as (subject, _):
        pages = await collect(subject)
    assert [len(page) for page in pages] == [4, 4, 2]


async def test_an_item_above_the_budget_travels_alone(make_session: MakeSession, opened: OpenSession) -> None:
    """Long-context benchmarks have them; the pages around it lose nothing."""
    items = [SealedItem(f"i-{n}", "x" * (300 * 1024 if n == 2 else 10), "t") for n in range(5)]
    async with opened(make_session(items, ExactMatch())) as (subject, _):
        pages = await collect(subject)
    assert ["i-2"] in pages
    assert len(sum(pages, [])) == 5  # noqa: RUF017 (a few pages)


@pytest.mark.parametrize("cursor", ["", "x", "-1", "5", "05x", "99999999999", "1.0", " 1", "²", "٣"])
async def test_a_cursor_that_was_never_handed_out_is_refused(
    make_session: MakeSession, opened: OpenSession, cursor: str
) -> None:
    """Never taken for the beginning: items would be asked twice."""
    async with opened(make_session(sums(5), ExactMatch(), policy={"disclosure": "full"})) as (subject, _):
        with pytest.raises(BadCursorError):
            await subject.get_items(cursor)
        await everything(subject, TextAnswer(text=""), items=5)
        with pytest.raises(BadCursorError):
            await subject.score(cursor)
        assert (await subject.score()).state is ScoreState.SCORED


# -- submit


async def test_submissions_are_write_once_and_refused_one_by_one(
    make_session: MakeSession, opened: OpenSession
) -> None:
    """Partial success is a normal result: one bad submission doesn't hinder the others."""
    async with opened(make_session(sums(3), ExactMatch()), epochs=2) as (subject, _):
        first = await subject.submit((text("i-0", "1"), text("i-0", "1"), text("i-0", "2"), text("i-0", "2", 2)))
        assert (first.accepted, first.duplicates, codes(first)) == (2, 1, ["submission_conflict"])
        again = await subject.submit((text("i-0", "1"), text("i-9", "1"), text("i-1", "2", 3), text("i-1", "2")))
        assert (again.accepted, again.duplicates) == (1, 1)
        assert [(r.item_id, r.epoch, r.code) for r in again.rejected] == [
            ("i-9", 1, "unknown_item"),
            ("i-1", 3, "unknown_item"),
        ]


async def test_an_item_outside_the_drawn_set_is_unknown(make_session: MakeSession, opened: OpenSession) -> None:
    """It is in the benchmark, but not in this evaluation."""
    async with opened(make_session(sums(20), ExactMatch()), limit=5) as (subject, _):
        (page,) = await collect(subject)
        outside = next(f"i-{n}" for n in range(20) if f"i-{n}" not in page)
        assert codes(await subject.submit((text(outside, "1"),))) == ["unknown_item"]


async def test_a_failure_may_become_an_answer_until_scoring(make_session: MakeSession, opened: OpenSession) -> None:
    """A resumed run answers what failed; an answer never becomes a failure."""
    async with opened(make_session(sums(2), ExactMatch())) as (subject, _):
        await subject.submit((failure("i-0"), failure("i-1")))
        better = await subject.submit((text("i-0", "1"), failure("i-1", status=503)))
        assert (better.accepted, better.duplicates) == (1, 1)
        assert codes(await subject.submit((failure("i-0"),))) == ["submission_conflict"]
        report = await reported(subject)
        assert (report.counts.scored, report.counts.failed) == (1, 1)
        closed = await subject.submit((text("i-1", "2"), text("i-0", "1"), text("i-0", "9")))
        assert closed.duplicates == 1
        assert codes(closed) == ["evaluation_closed", "submission_conflict"]


# -- score


async def test_an_incomplete_evaluation_is_neither_scored_nor_closed(
    make_session: MakeSession, opened: OpenSession
) -> None:
    """Asking early costs nothing, and tells nothing."""
    async with opened(make_session(sums(2), ExactMatch()), epochs=2) as (subject, _):
        await subject.submit((text("i-0", "1"), text("i-0", "1", 2), text("i-1", "2")))
        early = await subject.score()
        assert (early.state, early.missing, early.report, early.details) == (ScoreState.INCOMPLETE, 1, None, ())
        assert (await subject.submit((text("i-1", "0", 2),))).accepted == 1
        report = await reported(subject)
    assert (report.overall.value, report.overall.n, report.ranked, report.upper) == (0.75, 2, 0.75, 0.75)
    assert report.counts.expected == report.counts.scored == 4


async def test_failures_are_bounds_and_never_wrong_answers(make_session: MakeSession, opened: OpenSession) -> None:
    """Missing counts as wrong in the ranked score and as right in the upper bound."""
    async with opened(make_session(sums(4), ExactMatch())) as (subject, opening):
        await subject.submit((text("i-0", "1"), text("i-1", "wrong"), failure("i-2"), failure("i-3")))
        report = await reported(subject)
    assert (report.overall.value, report.overall.n) == (0.5, 2)
    assert (report.ranked, report.upper) == (0.25, 0.75)
    assert (report.counts.scored, report.counts.failed, report.counts.missing) == (2, 2, 0)
    assert report.items_digest == opening.items_digest


async def test_an_evaluation_of_failures_has_no_score(make_session: MakeSession, opened: OpenSession) -> None:
    """Unscored, which isn't 0."""
    async with opened(make_session(sums(2), ExactMatch())) as (subject, _):
        await everything(subject, DeclaredFailure(status=500), items=2)
        report = await reported(subject)
    assert (report.overall.value, report.ranked, report.upper) == (None, 0.0, 1.0)


async def test_a_scorers_error_counts_as_zero_and_is_told_apart(make_session: MakeSession, opened: OpenSession) -> None:
    """The author sees it; the model gains nothing by provoking it."""

    def verify(said: str, target: object) -> float:
        if said == "provoke":
            raise ValueError(target)
        return float(said == target)

    scorer = Verifier(verify)
    scorer.isolated = False
    async with opened(make_session(sums(2), scorer)) as (subject, _):
        await subject.submit((text("i-0", "1"), text("i-1", "provoke")))
        report = await reported(subject)
    assert (report.overall.value, report.counts.scored, report.counts.scorer_errors) == (0.5, 2, 1)


async def test_sub_tasks_are_reported_apart(make_session: MakeSession, opened: OpenSession) -> None:
    """Over their own items, with their own uncertainty."""
    async with opened(make_session(sums(4, parts=2), ExactMatch())) as (subject, _):
        await subject.submit((text("i-0", "1"), text("i-2", "3"), text("i-1", "no"), failure("i-3")))
        report = await reported(subject)
    assert {name: (part.value, part.n) for name, part in report.subtasks.items()} == {
        "part-0": (1.0, 2),
        "part-1": (0.0, 1),
    }


async def test_choices_are_scored_by_log_likelihood(make_session: MakeSession, opened: OpenSession) -> None:
    """The other kind of item."""
    items = [SealedItem("i-0", "q", 1, options=(" a", " b")), SealedItem("i-1", "q", 1, options=(" a", " b"))]
    async with opened(make_session(items, Choice(), request="choice")) as (subject, _):
        await everything(subject, ChoiceAnswer(log_likelihoods=(-2, -1), token_counts=(1, 1)), items=2)
        assert (await reported(subject)).overall.value == 1.0


@pytest.mark.parametrize(("disclosure", "subtasks", "details"), [("full", 2, 4), ("aggregate", 2, 0), ("final", 0, 0)])
async def test_score_tells_as_much_as_the_card_says(
    make_session: MakeSession, opened: OpenSession, disclosure: str, subtasks: int, details: int
) -> None:
    """Item detail lets a subject learn which answers were right: it is the author's to allow."""
    session = make_session(sums(4, parts=2), ExactMatch(), policy={"disclosure": disclosure})
    async with opened(session) as (subject, _):
        await everything(subject, TextAnswer(text="1"), items=4)
        result = await subject.score()
    assert result.report is not None
    assert (len(result.report.subtasks), len(result.details)) == (subtasks, details)
    assert result.report.overall.value == 0.25


@pytest.mark.parametrize("disclosure", ["aggregate", "final"])
async def test_a_cursor_where_no_detail_is_disclosed_is_refused(
    make_session: MakeSession, opened: OpenSession, disclosure: str
) -> None:
    """None was handed out."""
    async with opened(make_session(sums(2), ExactMatch(), policy={"disclosure": disclosure})) as (subject, _):
        await everything(subject, TextAnswer(text="1"), items=2)
        with pytest.raises(BadCursorError):
            await subject.score("1")


async def test_item_detail_comes_in_pages(make_session: MakeSession, opened: OpenSession) -> None:
    """Each (item, epoch) once, failures as unscored."""
    async with opened(make_session(sums(70), ExactMatch(), policy={"disclosure": "full"}), epochs=3) as (subject, _):
        await subject.submit((failure("i-0", 2),))
        await everything(subject, TextAnswer(text="1"), items=70, epochs=3)
        found, sizes, cursor = [], [], None
        while True:
            result = await subject.score(cursor)
            found += result.details
            sizes.append(len(result.details))
            cursor = result.next_cursor
            if cursor is None:
                break
    assert sizes == [100, 100, 10]
    values = {(score.item_id, score.epoch): score.value for score in found}
    assert len(values) == 210
    assert {key: value for key, value in values.items() if key[0] == "i-0"} == {
        ("i-0", 1): 1.0,
        ("i-0", 2): 1.0,  # the failure had become an answer
        ("i-0", 3): 1.0,
    }
    assert values[("i-5", 1)] == 0.0


async def test_a_failure_is_unscored_in_the_detail(make_session: MakeSession, opened: OpenSession) -> None:
    """`None`, never 0."""
    async with opened(make_session(sums(1), ExactMatch(), policy={"disclosure": "full"})) as (subject, _):
        await subject.submit((failure("i-0"),))
        (detail,) = (await subject.score()).details
    assert detail.value is None


# -- generated items


class Fresh(Benchmark):
    """Sums drawn from the seed."""

    scorer = ExactMatch()
    generated = True

    def tasks(self) -> list[str]:
        return ["sums", "none"]

    def items(self, draw: Draw) -> Iterable[SealedItem]:
        return self._drawn(draw) if draw.task != "none" else []

    def _drawn(self, draw: Draw) -> Iterator[SealedItem]:
        rng = draw.rng("sums")
        for number in range(draw.limit or 10):
            a = rng.randrange(10**6)
            yield SealedItem(f"i-{number}", f"{a} + 1 =", str(a + 1), subtask="sums")


def fresh() -> SealedSession:
    card = {"name": "fresh", "version": "1", "title": "t", "description": "d", "license": "x", "source": "s"}
    return SealedSession(Fresh(DatasetCard.model_validate(card), Path()), digest="sha256:" + "0" * 64, bundle=None)


async def test_generated_items_are_a_matter_of_the_seed(opened: OpenSession) -> None:
    """Fresh for each evaluation, and the same in a replaced container."""
    digests = []
    for seed in (SEED, SEED, "0" * 32):
        async with opened(fresh(), seed=seed, task="sums", limit=4) as (subject, opening):
            assert (await subject.describe()).tasks == ("none", "sums")
            assert opening.items == 4
            digests.append(opening.items_digest)
    assert digests[0] == digests[1] != digests[2]


async def test_a_generator_that_yields_nothing_is_refused_at_open() -> None:
    """An empty evaluation would be complete at once."""
    async with connect(create_app(fresh())) as operator:
        with pytest.raises(DataError):
            await operator.open(Open(evaluation_id=new_evaluation_id(), seed=SEED, task="none"))


def test_rows_of_a_data_file_are_json_objects(tmp_path: Path) -> None:
    """A broken line is named by number and never quoted: it may hold a target."""
    (tmp_path / "data").mkdir()
    benchmark = Fresh(fresh()._benchmark.card, tmp_path)
    for broken in ('{"a": "target-1"', '["target-1"]', ""):
        (tmp_path / "data" / "x.jsonl").write_text(f'{{"a": 1}}\n{broken}\n', encoding="utf-8")
        rows = benchmark.rows("x.jsonl")
        assert next(rows) == {"a": 1}
        with pytest.raises(DataError) as refused:
            next(rows)
        assert "line 2" in refused.value.detail
        assert "target-1" not in refused.value.detail


def test_a_commitment_is_attested_where_it_was_verified(make_session: Callable[..., SealedSession]) -> None:
    """Else a card could name any: the container has both, its items and the secret of the commitment."""
    items = [SealedItem("a", "?", "x"), SealedItem("b", "?", "y")]
    salt = "5a" * 32
    rows = list(Bundle.build(items).rows())
    commitment = Committed(bytes.fromhex(salt), rows).commitment.model_dump()

    def attested(session: SealedSession, salt: str | None) -> Commitment | None:
        opening = Open(evaluation_id=new_evaluation_id(), seed=new_seed(), salt=salt)
        session.open(opening)
        assert session.open(opening).items == 2, "a repeated open is the same"
        answers = tuple(Submission(item_id=name, answer=TextAnswer(text="x")) for name in "ab")
        session.submit(Submit(evaluation_id=opening.evaluation_id, submissions=answers))
        receipt = session.score(ScoreRequest(evaluation_id=opening.evaluation_id)).receipt
        assert receipt is not None
        assert salt is None or salt not in receipt.model_dump_json()
        return verify(receipt.model_dump_json().encode()).statement.predicate.attested.commitment

    assert attested(make_session(items, ExactMatch(), commitment=commitment), salt) is not None
    assert attested(make_session(items, ExactMatch(), commitment=commitment), None) is None
    assert attested(make_session(items, ExactMatch()), salt) is None
    other = make_session([SealedItem("a", "?", "z"), items[1]], ExactMatch(), commitment=commitment)
    with pytest.raises(DataError, match="commits to"):
        attested(other, salt)
