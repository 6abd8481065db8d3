"""The loop over the real server code and the real store; only the container and the model are scripted."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pytest

from dep_mcp.client import SubjectClient
from dep_mcp.containers import Image
from dep_mcp.models import Breaker, Caller, Limiter, RetryPolicy
from dep_mcp.orchestrator import Orchestrator, Prepared
from dep_mcp.orchestrator.catalogue import read_folder
from dep_mcp.protocol import Evaluation, Item, ItemPage, Limits, ModelCard, ScoreReport
from dep_mcp.protocol.errors import DepError, EngineError, EvaluationPausedError, ModelCallError
from dep_mcp.receipts import SigningKey, countersigned
from dep_mcp.results import Store
from dep_mcp.runner import Progress, Runner
from dep_mcp.server.benchmark import Draw
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.loading import load_benchmark
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeRuntime, Script, ScriptedModel, toy_folder

MODEL = ModelCard(name="scripted", adapter="scripted", model="scripted")
FAST = RetryPolicy(attempts=4, base_s=0.001, most_s=0.002)


def right(item: Item, _call: int) -> str:
    return f"target-{int(item.item_id.removeprefix('toy-')) + 1}"


def toy_session() -> SealedSession:
    benchmark = load_benchmark(toy_folder())
    bundle = Bundle.build(benchmark.items(Draw()))
    return SealedSession(benchmark, digest=bundle.digest, bundle=bundle)


@dataclass
class Bench:
    store: Store
    runtime: FakeRuntime
    orchestrator: Orchestrator

    async def create(self, **options: object) -> Evaluation:
        image = Image(tag="toy", digest="sha256:" + "0" * 64)
        prepared = Prepared(benchmark=read_folder(toy_folder()), task=None, image=image)
        return await self.orchestrator.create(prepared, MODEL, **options)

    async def run(
        self,
        evaluation: Evaluation,
        script: Script,
        *,
        model: ScriptedModel | None = None,
        concurrency: int = 8,
        watch: Callable[[Runner, ScriptedModel, Progress], None] | None = None,
        **options: Any,
    ) -> tuple[ScoreReport, Progress]:
        progress, model = Progress(), model or ScriptedModel(script)
        flow = Limiter(Limits(concurrency=concurrency)).flow()
        caller = Caller(adapter=model, flow=flow, **{"timeout_s": 10, "policy": FAST} | options)
        endpoint = await self.orchestrator.endpoint(evaluation, lambda _event, _text: None)
        async with endpoint:
            runner = Runner(evaluation, endpoint=endpoint, journal=self.store, caller=caller, progress=progress)
            if watch is not None:
                watch(runner, model, progress)
            return await runner.run(), progress


@asynccontextmanager
async def bench(folder: Path) -> AsyncGenerator[Bench]:
    async with Store.open(folder / "store.sqlite") as store:
        runtime = FakeRuntime(toy_session)
        yield Bench(
            store,
            runtime,
            Orchestrator(
                runtime,
                store,
                owner="me",
                dead=lambda _owner: False,
                sign=partial(countersigned, key=SigningKey.mint()),
            ),
        )


async def test_every_item_is_answered_and_scored(tmp_path: Path) -> None:
    """The main job."""
    async with bench(tmp_path) as b:
        report, progress = await b.run(await b.create(epochs=2), right)
    assert (report.overall.value, report.overall.n, report.counts.scored) == (1.0, 300, 600)
    assert progress.answered == progress.total == 600


async def test_a_benchmark_that_hands_out_items_without_end_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call costs money: no more are made than the benchmark said that it has items."""
    well = SubjectClient.get_items

    async def get_items(client: SubjectClient, cursor: str | None = None) -> ItemPage:
        return (await well(client, cursor)).model_copy(update={"next_cursor": "0"})

    monkeypatch.setattr(SubjectClient, "get_items", get_items)
    model = ScriptedModel(right)
    async with asyncio.timeout(30), bench(tmp_path) as b:
        with pytest.raises(DepError, match="more items than the 300"):
            await b.run(await b.create(), right, model=model)
    assert model.calls.total() <= 300


async def test_wrong_answers_are_told_from_right_ones(tmp_path: Path) -> None:
    """A score of a model that is right on the even sums only is one half, and the sub-tasks say where."""
    async with bench(tmp_path) as b:
        evaluation = await b.create()
        report, _ = await b.run(evaluation, lambda item, n: right(item, n) if int(item.item_id[4:]) % 2 == 0 else "no")
    assert report.overall.value == 0.5
    assert {name: part.value for name, part in report.subtasks.items()} == {"even": 1.0, "odd": 0.0}


async def test_faults_of_the_provider_are_never_wrong_answers(tmp_path: Path) -> None:
    """429 and 500 on a third of the calls: every item answered in the end, none scored wrong for it."""

    def flaky(item: Item, call: int) -> str | ModelCallError:
        number = int(item.item_id[4:])
        if call == 1 and number % 3 == 0:
            return ModelCallError("busy", 429 if number % 2 else 500, retry_after_s=0.001)
        return right(item, call)

    async with bench(tmp_path) as b:
        report, _ = await b.run(await b.create(), flaky)
    assert report.overall.value == 1.0
    assert report.counts.failed == 0


async def test_an_item_whose_attempts_run_out_is_a_failure_with_bounds(tmp_path: Path) -> None:
    """It isn't scored 0: the score is over the rest, and both bounds are given."""

    def one_bad(item: Item, call: int) -> str | ModelCallError:
        return ModelCallError("broken", 500) if item.item_id == "toy-7" else right(item, call)

    async with bench(tmp_path) as b:
        evaluation = await b.create(limit=None)
        report, _ = await b.run(evaluation, one_bad)
        (failure,) = await b.store.failures(evaluation.evaluation_id)
    assert (report.overall.value, report.counts.failed) == (1.0, 1)
    assert report.ranked == pytest.approx(299 / 300)
    assert report.upper == 1.0
    assert (failure.submission.item_id, failure.attempts, failure.detail) == ("toy-7", 4, "broken")


async def test_items_that_always_fail_are_failures_while_others_are_answered(tmp_path: Path) -> None:
    """Tried again and again, they come last and many in a row: a pause would come again at every resume."""
    async with bench(tmp_path) as b:
        evaluation = await b.create()
        model = ScriptedModel(
            lambda item, call: ModelCallError("hangs", 500) if int(item.item_id[4:]) % 25 == 0 else right(item, call),
            latency_s=0.002,
        )
        policy = RetryPolicy(attempts=3, base_s=0.3, most_s=0.3)
        report, progress = await b.run(evaluation, right, model=model, policy=policy)
    assert (report.overall.value, report.counts.failed, progress.failed) == (1.0, 12, 12)


async def test_a_provider_that_is_down_pauses_and_leaves_no_failures(tmp_path: Path) -> None:
    """Nothing of it counts, so that a resume can answer everything."""
    async with bench(tmp_path) as b:
        evaluation = await b.create()
        with pytest.raises(EvaluationPausedError):
            await b.run(evaluation, lambda _item, _call: ModelCallError("down", 503))
        totals = await b.store.totals(evaluation.evaluation_id)
    assert (totals.answered, totals.failed) == (0, 0)


async def test_a_provider_on_which_every_call_times_out_pauses_after_a_while(tmp_path: Path) -> None:
    """The more calls hang, the fewer are sent at once: by attempts alone, the end would be hours away."""
    endless = RetryPolicy(attempts=10**6, base_s=0.001, most_s=0.002)
    async with bench(tmp_path) as b:
        evaluation = await b.create()
        model = ScriptedModel(
            lambda item, call: ModelCallError("hangs", 408) if int(item.item_id[4:]) else right(item, call)
        )
        async with asyncio.timeout(10):
            with pytest.raises(EvaluationPausedError, match="20 calls"):
                await b.run(evaluation, right, model=model, policy=endless, breaker=Breaker(calls=20, seconds=0.0))
        totals = await b.store.totals(evaluation.evaluation_id)
        assert totals.failed == 0
        report, _ = await b.run(evaluation, right)
    assert (report.overall.value, report.counts.scored) == (1.0, 300)


@pytest.mark.parametrize("status", [401, 402, 403, 404])
async def test_hopeless_calls_end_the_evaluation_at_once(tmp_path: Path, status: int) -> None:
    """After at most the calls in flight."""
    model = ScriptedModel(lambda _item, _call: ModelCallError("no", status))
    async with bench(tmp_path) as b:
        with pytest.raises(ModelCallError):
            await b.run(await b.create(), right, model=model)
    assert model.calls.total() <= 8


async def test_malformed_requests_stop_after_twenty(tmp_path: Path) -> None:
    """A model that takes no such request would otherwise be paid for every item."""
    model = ScriptedModel(lambda _item, _call: ModelCallError("bad request", 400))
    async with bench(tmp_path) as b:
        with pytest.raises(ModelCallError):
            await b.run(await b.create(), right, model=model)
    assert 20 <= model.calls.total() <= 28


async def test_stopping_lets_calls_in_flight_end_and_resume_sends_the_rest(tmp_path: Path) -> None:
    """No answer is paid for twice."""
    model = ScriptedModel(right, latency_s=0.002)

    def stop_soon(runner: Runner, model: ScriptedModel, _progress: Progress) -> None:
        async def stop() -> None:
            while model.calls.total() < 50:
                await asyncio.sleep(0)
            runner.stop()

        stops.append(asyncio.create_task(stop()))

    stops: list[asyncio.Task[None]] = []
    async with bench(tmp_path) as b:
        evaluation = await b.create()
        with pytest.raises(EvaluationPausedError):
            await b.run(evaluation, right, model=model, watch=stop_soon)
        assert 50 <= model.calls.total() < 300
        report, progress = await b.run(evaluation, right, model=model)
    assert report.overall.value == 1.0
    assert progress.kept >= 50
    assert set(model.calls.values()) == {1}
    assert len(model.calls) == 300


async def test_a_lost_container_is_replaced_and_no_call_repeated(tmp_path: Path) -> None:
    """The answers of the journal are replayed to the new container."""
    model = ScriptedModel(right, latency_s=0.001)

    def kill_soon(_runner: Runner, model: ScriptedModel, _progress: Progress) -> None:
        async def kill() -> None:
            while model.calls.total() < 100:
                await asyncio.sleep(0)
            runtime.containers[-1].kill()

        kills.append(asyncio.create_task(kill()))

    kills: list[asyncio.Task[None]] = []
    async with bench(tmp_path) as b:
        runtime = b.runtime
        report, _ = await b.run(await b.create(), right, model=model, watch=kill_soon)
    assert report.overall.value == 1.0
    assert len(runtime.containers) == 2
    assert set(model.calls.values()) == {1}


async def test_an_engine_that_goes_away_lets_calls_in_flight_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are paid for; resume sends only what had no answer."""
    model = ScriptedModel(right, latency_s=0.01)

    def refuse(_spec: object) -> NoReturn:
        msg = "no container engine answers"
        raise EngineError(msg)

    def end_soon(_runner: Runner, model: ScriptedModel, _progress: Progress) -> None:
        async def end() -> None:
            while model.calls.total() < 100:
                await asyncio.sleep(0)
            monkeypatch.setattr(runtime, "start", refuse)
            runtime.containers[-1].kill()

        ends.append(asyncio.create_task(end()))

    ends: list[asyncio.Task[None]] = []
    async with bench(tmp_path) as b:
        runtime, evaluation = b.runtime, await b.create()
        with pytest.raises(EngineError, match="no container engine answers"):
            await b.run(evaluation, right, model=model, watch=end_soon)
        assert 100 <= model.calls.total() < 300
        assert (await b.store.totals(evaluation.evaluation_id)).answered == model.calls.total()
        monkeypatch.undo()
        report, _ = await b.run(evaluation, right, model=model)
    assert report.overall.value == 1.0
    assert len(model.calls) == 300
    assert set(model.calls.values()) == {1}


async def test_no_target_leaves_the_container(tmp_path: Path) -> None:
    """Every byte that the client received, searched for the planted targets."""
    async with bench(tmp_path) as b:
        await b.run(await b.create(), lambda _item, _call: "wrong")
    left = b"\n".join(line for container in b.runtime.containers for line in container.left)
    assert b"toy-299" in left
    assert b"target-" not in left
