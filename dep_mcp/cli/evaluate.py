"""Evaluates models on benchmarks, one pair after the other: what `run` and `resume` do."""

import asyncio
import gc
import signal
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dep_mcp.cli.progress import shown
from dep_mcp.cli.views import err
from dep_mcp.cli.wiring import Host
from dep_mcp.models import Caller, Limiter, ModelAdapter
from dep_mcp.orchestrator import Prepared, find_data, require, require_unchanged
from dep_mcp.protocol import Evaluation, EvaluationState, Generation, ModelCard, ScoreReport
from dep_mcp.protocol.errors import (
    ContainerLostError,
    DepError,
    EvaluationPausedError,
    ModelCallError,
    StoreError,
)
from dep_mcp.runner import Progress, Runner

_PAUSING = (402, 429)
"""Statuses that money or time mends."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `run` was asked for.

    Attributes:
        benchmarks: Names, `name:task`, or folders.
        models: Names.
        data: Files or folders that hold benchmarks' data.
        limit: Items of each benchmark at most.
        epochs: Repetitions of each item.
        seed: Instead of a fresh secret one, to repeat an evaluation.
        generation: Settings that override those of the cards.
        api_base: Address of the models' endpoint.
        concurrency: Calls in flight at most, instead of the card's.
    """

    benchmarks: Sequence[str]
    models: Sequence[str]
    data: Sequence[Path] = ()
    limit: int | None = None
    epochs: int = 1
    seed: str | None = None
    generation: Generation | None = None
    api_base: str | None = None
    concurrency: int | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How one evaluation ended.

    Attributes:
        evaluation: As the store has it now.
        report: Its score, if it completed.
        error: Why it didn't.
        seconds: Wall time of this run.
    """

    evaluation: Evaluation
    report: ScoreReport | None
    error: DepError | None
    seconds: float


async def run(host: Host, plan: Plan) -> list[Outcome]:
    """Evaluate every model on every benchmark; stops early only when one pauses.

    Raises:
        DepError: Something was found wrong before the first evaluation began.
    """
    cards = [_card(host, name, plan) for name in plan.models]
    folders = [host.catalogue.resolve(name) for name in plan.benchmarks]
    for folder, _ in folders:
        find_data(folder, host.data_places(folder, plan.data))
        for card in cards:
            require(card, folder.card.request, folder.card.name)
    err().print(f"engine: {await host.runtime.ping()}")
    await host.runtime.reap()
    prepared = [await host.prepare(folder, task, list(plan.data)) for folder, task in folders]
    outcomes = []
    for card in cards:
        async with _called(host, card) as call:
            for benchmark in prepared:
                evaluation = await _create(host, benchmark, card, plan)
                outcomes.append(await _evaluate(host, evaluation, call()))
                if outcomes[-1].evaluation.state is EvaluationState.PAUSED:
                    return outcomes
    return outcomes


async def resume(host: Host, prefix: str, data: Sequence[Path]) -> Outcome:
    """Go on with an evaluation that was paused, failed, or whose process died.

    Raises:
        ResumeRefusedError: Something that matters changed.
        UsageError: It is completed, or another process runs it.
    """
    evaluation = await host.store.evaluation(prefix)
    before = evaluation.settings.model
    card = host.models.current(before)
    await host.runtime.ping()
    await host.runtime.reap()
    image = await host.current_image(evaluation.settings, list(data))
    require_unchanged(evaluation, card, image)
    async with _called(host, card) as call:  # a missing key or a dead endpoint changes nothing
        evaluation = await host.orchestrator.reopen(evaluation, card, image)
        return await _evaluate(host, evaluation, call())


def _card(host: Host, name: str, plan: Plan) -> ModelCard:
    card = host.models.resolve(name, plan.api_base)
    if plan.concurrency is None:
        return card
    return card.model_copy(update={"limits": card.limits.model_copy(update={"concurrency": plan.concurrency})})


async def _create(host: Host, benchmark: Prepared, card: ModelCard, plan: Plan) -> Evaluation:
    return await host.orchestrator.create(
        benchmark, card, limit=plan.limit, epochs=plan.epochs, seed=plan.seed, generation=plan.generation
    )


def _spare_collector() -> None:
    """What was loaded lives as long as the process: searching it for garbage over and over costs a tenth of a call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@asynccontextmanager
async def _called(host: Host, card: ModelCard) -> AsyncGenerator[Callable[[], Caller]]:
    """Makes callers of a checked model that share its endpoint; its local server, if any, runs while the block does."""
    async with host.served(card) as reachable:
        adapter: ModelAdapter = host.adapter(reachable)
        async with adapter:
            await adapter.check()
            limiter = Limiter(card.limits)
            _spare_collector()
            yield lambda: Caller(adapter=adapter, flow=limiter.flow(), timeout_s=card.limits.timeout_s)


async def _evaluate(host: Host, evaluation: Evaluation, caller: Caller) -> Outcome:
    begin, report, failure = time.monotonic(), None, None
    progress = Progress()
    log = host.logger(evaluation.evaluation_id)

    def on_fault(status: int, detail: str) -> None:
        progress.faults[status] = progress.faults.get(status, 0) + 1
        log.warning("model_call_failed", status=status, detail=detail[:500])

    caller.on_fault = on_fault
    settings = evaluation.settings
    title = f"{settings.model.name} on {settings.benchmark}" + (f":{settings.task}" if settings.task else "")
    err().print(f"evaluation {evaluation.evaluation_id}: {title}")
    log.info("running", settings=settings.model_dump(mode="json"))
    try:
        endpoint = await host.orchestrator.endpoint(evaluation, lambda event, text: log.info(event, text=text))
        async with host.orchestrator.held(evaluation), shown(title, progress, caller.flow), endpoint:
            runner = Runner(evaluation, endpoint=endpoint, journal=host.store, caller=caller, progress=progress)
            with _pausing(runner, caller):
                report = await runner.run()
        await host.orchestrator.complete(evaluation, report)
    except DepError as error:
        failure = error
        await _finish(host, evaluation, error)
    except asyncio.CancelledError:
        await asyncio.shield(_finish(host, evaluation, EvaluationPausedError("interrupted")))
        err().print(f"what was answered is kept; go on with: dep-mcp resume {evaluation.evaluation_id}")
        raise
    evaluation = await host.store.evaluation(evaluation.evaluation_id)
    log.info(evaluation.state, cause=evaluation.cause, report=report and report.model_dump(mode="json"))
    return Outcome(evaluation=evaluation, report=report, error=failure, seconds=time.monotonic() - begin)


async def _finish(host: Host, evaluation: Evaluation, error: DepError) -> None:
    resumable = isinstance(error, EvaluationPausedError | ContainerLostError | StoreError) or (
        isinstance(error, ModelCallError) and error.status in _PAUSING
    )
    state = EvaluationState.PAUSED if resumable else EvaluationState.FAILED
    try:
        await host.orchestrator.finish(evaluation, state, error.detail)
    except StoreError:
        # A full disk can't take the transition either: the row says `running`, its owner is gone, resume takes it up.
        err().print(f"the store can't record that {evaluation.evaluation_id} stopped")


@contextmanager
def _pausing(runner: Runner, caller: Caller) -> Iterator[None]:
    """Ctrl-C pauses: calls in flight end first. A second one aborts."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupted() -> None:
        if caller.flow.stopping.is_set() and task is not None:
            task.cancel()
        else:
            runner.stop()
            err().print(f"pausing: {caller.flow.in_flight} calls in flight end first; Ctrl-C again drops them")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
