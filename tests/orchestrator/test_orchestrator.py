"""The life of an evaluation: created with settings that are fixed for good, taken up again or refused."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dep_mcp.containers import Image
from dep_mcp.orchestrator import Orchestrator, Prepared, orchestrator
from dep_mcp.orchestrator.catalogue import read_folder
from dep_mcp.orchestrator.orchestrator import merge
from dep_mcp.protocol import Envelope, Evaluation, EvaluationState, Generation, ModelCard, RequestKind
from dep_mcp.protocol.errors import DataError, ResumeRefusedError, UsageError
from dep_mcp.results import Store
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeRuntime, toy_folder

MODEL = ModelCard(name="m", adapter="replay", model="m")
IMAGE = Image(tag="toy", digest="sha256:" + "0" * 64)


def no_session() -> SealedSession:
    raise AssertionError


def never(_envelope: Envelope) -> Envelope:
    raise AssertionError


def prepared(name: str = "toy") -> Prepared:
    return Prepared(benchmark=read_folder(toy_folder(name)), task=None, image=IMAGE)


def of(store: Store, owner: str = "me", *, dead: bool = False) -> Orchestrator:
    return Orchestrator(FakeRuntime(no_session), store, owner=owner, dead=lambda _owner: dead, sign=never)


@asynccontextmanager
async def evaluation_in(
    tmp_path: Path, state: EvaluationState | None = EvaluationState.PAUSED
) -> AsyncGenerator[tuple[Store, Orchestrator, Evaluation]]:
    async with Store.open(tmp_path / "store.sqlite") as store:
        mine = of(store)
        evaluation = await mine.create(prepared(), MODEL)
        if state is not None:
            await mine.finish(evaluation, state, "test")
        yield store, mine, await store.evaluation(evaluation.evaluation_id)


# -- create


async def test_the_settings_of_an_evaluation_are_recorded_whole(tmp_path: Path) -> None:
    """Everything that would change its number."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        evaluation = await of(store).create(prepared(), MODEL, limit=5, epochs=2, seed="5eed" * 8)
        assert await store.seed(evaluation.evaluation_id) == "5eed" * 8
    settings = evaluation.settings
    assert (settings.benchmark, settings.limit, settings.epochs, settings.model) == ("toy", 5, 2, MODEL)
    assert (settings.image_digest, settings.generation.max_tokens) == (IMAGE.digest, 16)
    assert evaluation.state is EvaluationState.RUNNING


async def test_every_evaluation_has_a_seed_of_its_own(tmp_path: Path) -> None:
    """Where none is given."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        ids = [(await of(store).create(prepared(), MODEL)).evaluation_id for _ in range(3)]
        assert len({await store.seed(evaluation_id) for evaluation_id in ids}) == 3


async def test_a_model_that_cannot_answer_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    """A chat model can't weigh options."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        with pytest.raises(UsageError):
            await of(store).create(prepared("toy_choice"), MODEL)
        assert await store.evaluations() == []
        able = MODEL.model_copy(update={"requests": (RequestKind.CHOICE,)})
        assert (await of(store).create(prepared("toy_choice"), able)).state is EvaluationState.RUNNING


def test_later_settings_of_generation_win_field_by_field_where_given() -> None:
    """Benchmark, then model card, then flags; a default that nobody wrote wins over nothing."""
    merged = merge(Generation(temperature=0.7, max_tokens=16), None, Generation(max_tokens=64), Generation(seed=1))
    assert merged == Generation(temperature=0.7, max_tokens=64, seed=1)
    assert merge(Generation(temperature=0.7), Generation(temperature=None)).temperature is None
    assert merge() == Generation()


async def test_missing_data_ends_before_an_image_is_built(tmp_path: Path) -> None:
    """Building takes minutes."""
    (tmp_path / "benchmark.py").write_text("", encoding="utf-8")
    card = "name: x\nversion: '1'\ntitle: t\ndescription: d\nlicense: x\nsource: s\n"
    data = f"data: [{{name: x.jsonl, sha256: {'a' * 64}}}]\n"
    (tmp_path / "dataset_card.yaml").write_text(card + data, encoding="utf-8")
    async with Store.open(tmp_path / "store.sqlite") as store:
        with pytest.raises(DataError):
            await of(store).prepare(read_folder(tmp_path), None, data=[], base_image=None)
        made = await of(store).prepare(read_folder(toy_folder()), None, data=[], base_image=None)
    assert (made.task, made.image.tag) == (None, "benchmark-toy")


# -- reopen


@pytest.mark.parametrize("state", [EvaluationState.PAUSED, EvaluationState.FAILED, None], ids=str)
async def test_an_evaluation_is_taken_up_again(tmp_path: Path, state: EvaluationState | None) -> None:
    """Paused, failed, or abandoned while it ran (its process was killed)."""
    async with evaluation_in(tmp_path, state) as (store, _, evaluation):
        other = of(store, "other", dead=True)
        assert (await other.reopen(evaluation, MODEL, IMAGE)).state is EvaluationState.RUNNING
        causes = [cause for _, _, cause in await store.transitions(evaluation.evaluation_id)]
    left = "the process that ran it ended without a word" if state is None else "test"
    assert causes == ["created", left, "resumed"]


async def test_what_another_process_paused_meanwhile_runs_again(tmp_path: Path) -> None:
    """Between the look at it and the claim lies the building of an image."""
    async with evaluation_in(tmp_path, EvaluationState.PAUSED) as (store, _, evaluation):
        seen = evaluation.model_copy(update={"state": EvaluationState.RUNNING})
        assert (await of(store, "other").reopen(seen, MODEL, IMAGE)).state is EvaluationState.RUNNING


async def test_what_another_process_completed_meanwhile_is_final(
    tmp_path: Path,
) -> None:
    """It would be scored again, and its report replaced."""
    async with evaluation_in(tmp_path, EvaluationState.COMPLETED) as (store, _, evaluation):
        seen = evaluation.model_copy(update={"state": EvaluationState.RUNNING})
        with pytest.raises(UsageError):
            await of(store, "other").reopen(seen, MODEL, IMAGE)
        assert (await store.evaluation(evaluation.evaluation_id)).state is EvaluationState.COMPLETED


async def test_a_completed_evaluation_is_final(tmp_path: Path) -> None:
    """Its score was given."""
    async with evaluation_in(tmp_path) as (_, mine, evaluation):
        done = evaluation.model_copy(update={"state": EvaluationState.COMPLETED})
        with pytest.raises(UsageError):
            await mine.reopen(done, MODEL, IMAGE)


@pytest.mark.parametrize(
    ("model", "image", "named"),
    [
        (MODEL.model_copy(update={"model": "m-2"}), IMAGE, ["model"]),
        (MODEL.model_copy(update={"generation": Generation(temperature=1)}), IMAGE, ["model"]),
        (MODEL, Image(tag="toy", digest="sha256:" + "1" * 64), ["image"]),
        (MODEL.model_copy(update={"model": "m-2"}), Image(tag="toy", digest="sha256:" + "1" * 64), ["model", "image"]),
    ],
)
async def test_a_resume_after_a_change_is_refused_and_the_change_named(
    tmp_path: Path, model: ModelCard, image: Image, named: list[str]
) -> None:
    """Half the answers of one model and half of another are no result."""
    async with evaluation_in(tmp_path) as (store, mine, evaluation):
        with pytest.raises(ResumeRefusedError) as error:
            await mine.reopen(evaluation, model, image)
        assert all(name in error.value.detail for name in named)
        assert (await store.evaluation(evaluation.evaluation_id)).state is EvaluationState.PAUSED


async def test_another_protocol_refuses_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image was built for the old one."""
    monkeypatch.setattr(orchestrator, "PROTOCOL_VERSION", "9.0")
    async with evaluation_in(tmp_path) as (_, mine, evaluation):
        old = evaluation.settings.model_copy(update={"protocol": "0.1"})
        with pytest.raises(ResumeRefusedError):
            await mine.reopen(evaluation.model_copy(update={"settings": old}), MODEL, IMAGE)


async def test_an_evaluation_that_runs_elsewhere_is_not_taken_up(tmp_path: Path) -> None:
    """Two runners would pay for every answer twice."""
    async with evaluation_in(tmp_path, None) as (store, _, evaluation):
        with pytest.raises(UsageError):
            await of(store, "other").reopen(evaluation, MODEL, IMAGE)


# -- held


async def test_a_lost_lease_cancels_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine slept, and another took over: going on would pay twice."""
    monkeypatch.setattr(orchestrator, "RENEWAL_S", 0.01)
    async with evaluation_in(tmp_path, None) as (store, mine, evaluation):

        async def run() -> None:
            async with mine.held(evaluation):
                await store.claim(evaluation.evaluation_id, "other", lambda _owner: True)
                await asyncio.Event().wait()

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(run())


async def test_a_lease_is_renewed_while_the_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no longer."""
    monkeypatch.setattr(orchestrator, "RENEWAL_S", 0.001)
    async with evaluation_in(tmp_path, None) as (store, mine, evaluation):
        leases = set()
        async with asyncio.timeout(10), mine.held(evaluation):
            while len(leases) < 3:
                leases.add(await store._do(lambda db: db.execute("SELECT lease FROM evaluations").fetchone()[0]))
        assert len(asyncio.all_tasks()) == 1
