"""Evaluates models on benchmarks, several pairs at once: what `run` and `resume` do."""

import asyncio
import gc
import math
import signal
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from dep_mcp.cli.plan import Plan
from dep_mcp.cli.progress import event, shown
from dep_mcp.cli.session import Outcome, Session
from dep_mcp.cli.views import err
from dep_mcp.cli.wiring import Host
from dep_mcp.models import Caller, Limiter
from dep_mcp.orchestrator import find_data, require, require_unchanged
from dep_mcp.protocol import Evaluation, EvaluationState, ModelCard, Record
from dep_mcp.protocol.errors import ResumeRefusedError, UsageError

Started = Callable[[list[str]], None]
MakeCaller = Callable[[], Caller]
_TWICE_S = 0.05
"""Two signals closer than this are one: `timeout` and terminals send theirs to a process and to its group."""


class Budget:
    """What a run may cost.

    Args:
        most_usd: At most; `None` for whatever it takes.
    """

    def __init__(self, most_usd: float | None) -> None:
        self._most_usd = most_usd
        self._spent_usd = 0.0
        self.sessions: list[Session] = []

    def record(self, record: Record) -> None:
        """Count what an answer cost; once too much is spent, or a price isn't known, everything pauses."""
        if self._most_usd is None:
            return
        self._spent_usd += record.cost_usd or 0.0
        cause = None
        if record.cost_usd is None and record.submission.answer.kind != "failure":
            cause = "no price is known for its model: give `prices` in its card, or run without --max-cost"
        elif self._spent_usd >= self._most_usd:
            cause = f"the {self._most_usd:g} USD of --max-cost are spent ({self._spent_usd:.4f} USD)"
        if cause is not None:
            for session in self.sessions:
                session.stop(cause)


async def run(host: Host, plan: Plan, *, events: bool = False, started: Started = lambda _ids: None) -> list[Outcome]:
    """Evaluate every model on every benchmark; how one pair ends doesn't touch the others.

    Args:
        host: What this process works with.
        plan: What to evaluate.
        events: Tell what happens as JSON lines on standard output.
        started: Told the evaluations' ids once they exist.

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
    async with AsyncExitStack() as stack:
        limiters: dict[tuple[str | None, ...], Limiter] = {}
        callers = [await stack.enter_async_context(_called(host, card, limiters, cache=plan.cache)) for card in cards]
        made = []
        for card, call in zip(cards, callers, strict=True):
            await _tell_neighbours(host, card)
            for benchmark in prepared:
                evaluation = await host.orchestrator.create(
                    benchmark,
                    card,
                    limit=plan.limit,
                    epochs=plan.epochs,
                    seed=plan.seed,
                    generation=plan.generation,
                    identity=plan.identity,
                    final=plan.final,
                )
                made.append((evaluation, call))
        return await _together(host, made, plan, events=events, started=started)


async def resume(
    host: Host, prefix: str, data: Sequence[Path], *, fork: bool = False, retry_failed: bool = False
) -> Outcome:
    """Go on with an evaluation that was paused, failed, or whose process died.

    Args:
        host: What this process works with.
        prefix: Its id, or the end of it.
        data: The benchmark's data, where it was given to `run`.
        fork: Start a new evaluation of the same selection under what is current now; no answer is used again.
        retry_failed: Of a completed one: start a new evaluation with its answers, and send only its failures again.

    Raises:
        ResumeRefusedError: Something that matters changed.
        UsageError: It is completed, or another process runs it.
    """
    evaluation = await host.store.evaluation(prefix)
    card = host.models.current(evaluation.settings.model)
    await host.runtime.ping()
    await host.runtime.reap()
    if fork:
        return await _fork(host, evaluation, card, data)
    image = await host.current_image(evaluation.settings, list(data))
    if retry_failed:
        await _require_failures(host, evaluation)
    require_unchanged(evaluation, card, image, completed=retry_failed)
    async with _called(host, card, {}) as call:  # a missing key or a dead endpoint changes nothing
        if retry_failed:
            evaluation = await host.orchestrator.retry_failed(evaluation)
        else:
            evaluation = await host.orchestrator.reopen(evaluation, card, image)
        (outcome,) = await _together(host, [(evaluation, call)], None)
        return outcome


async def _fork(host: Host, before: Evaluation, card: ModelCard, data: Sequence[Path]) -> Outcome:
    settings = before.settings
    folder, _ = host.catalogue.resolve(settings.benchmark_path or settings.benchmark)
    benchmark = await host.prepare(folder, settings.task, list(data))
    async with _called(host, card, {}) as call:
        evaluation = await host.orchestrator.create(
            benchmark,
            card,
            limit=settings.limit,
            epochs=settings.epochs,
            generation=settings.generation,
            identity=settings.identity,
            final=settings.final,
            cause=f"forked from {before.evaluation_id}, none of whose answers are used",
        )
        (outcome,) = await _together(host, [(evaluation, call)], None)
        return outcome


async def _require_failures(host: Host, evaluation: Evaluation) -> None:
    if evaluation.state is not EvaluationState.COMPLETED:
        msg = f"evaluation {evaluation.evaluation_id} is {evaluation.state}: `resume` alone sends its failures again"
        raise UsageError(msg)
    if not await host.store.failures(evaluation.evaluation_id, 1):
        msg = f"evaluation {evaluation.evaluation_id} has no failed item to send again"
        raise ResumeRefusedError(msg)


async def _together(
    host: Host,
    made: Sequence[tuple[Evaluation, MakeCaller]],
    plan: Plan | None,
    *,
    events: bool = False,
    started: Started = lambda _ids: None,
) -> list[Outcome]:
    """Run evaluations side by side, as many at once as the plan allows."""
    budget = Budget(None if plan is None else plan.max_cost_usd)
    on_event = event if events else lambda _name, **_values: None
    sessions = [
        Session(host, evaluation, call(), on_record=budget.record, on_event=on_event) for evaluation, call in made
    ]
    budget.sessions = sessions
    for session in sessions:
        err().print(f"evaluation {session.id}: {session.title}")
    started([session.id for session in sessions])
    gate, running = asyncio.Semaphore(plan.parallel if plan else 1), list[Session]()

    async def one(session: Session) -> Outcome:
        async with gate:
            running.append(session)
            try:
                return await session.run()
            finally:
                running.remove(session)

    with _pausing(sessions):
        async with shown(lambda: [session.meter.now() for session in running], events=events):
            return list(await asyncio.gather(*map(one, sessions)))


def _card(host: Host, name: str, plan: Plan) -> ModelCard:
    card = host.models.resolve(name, plan.api_base)
    if plan.concurrency is None:
        return card
    return card.model_copy(update={"limits": card.limits.model_copy(update={"concurrency": plan.concurrency})})


async def _tell_neighbours(host: Host, card: ModelCard) -> None:
    """Say that limits aren't shared with other processes, where one uses the same endpoint right now."""
    for evaluation in await host.store.evaluations():
        same = _endpoint(evaluation.settings.model) == _endpoint(card)
        running = same and evaluation.state is EvaluationState.RUNNING
        if running and await host.is_run_elsewhere(evaluation.evaluation_id):
            err().print(
                f"another process evaluates {card.name} too ({evaluation.evaluation_id}): their limits aren't shared;"
                " each finds out by itself what the endpoint bears"
            )
            return


def _endpoint(card: ModelCard) -> tuple[str | None, ...]:
    return card.adapter, card.api_base, card.model


def _spare_collector() -> None:
    """What was loaded lives as long as the process: searching it for garbage over and over costs a tenth of a call."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@asynccontextmanager
async def _called(
    host: Host, card: ModelCard, limiters: dict[tuple[str | None, ...], Limiter], *, cache: bool = False
) -> AsyncGenerator[MakeCaller]:
    """Makes callers of a checked model that share its endpoint; its local server, if any, runs while the block does."""
    async with host.served(card) as reachable, host.adapter(reachable, cache=cache) as adapter:
        await adapter.check()
        limiter = limiters.setdefault(_endpoint(card), Limiter(card.limits))
        _spare_collector()
        yield lambda: Caller(adapter=adapter, flow=limiter.flow(), timeout_s=card.limits.timeout_s)


@contextmanager
def _pausing(sessions: Sequence[Session]) -> Iterator[None]:
    """Ctrl-C pauses: calls in flight end first. A second one aborts."""
    loop, task, asked_at = asyncio.get_running_loop(), asyncio.current_task(), math.inf

    def interrupted() -> None:
        nonlocal asked_at
        if asked_at < math.inf:
            if task is not None and loop.time() - asked_at > _TWICE_S:
                task.cancel()
            return
        asked_at = loop.time()
        in_flight = sum(session.in_flight for session in sessions)
        for session in sessions:
            session.stop("stopped on request")
        err().print(f"pausing: {in_flight} calls in flight end first; Ctrl-C again drops them")

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
