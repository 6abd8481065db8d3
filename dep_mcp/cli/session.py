"""One evaluation in this process: run, watched, and ended in the state that fits what happened."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dep_mcp.cli.meter import Meter
from dep_mcp.cli.views import err
from dep_mcp.cli.wiring import Host
from dep_mcp.models import Caller
from dep_mcp.orchestrator import Scored
from dep_mcp.protocol import Evaluation, EvaluationState, Record, ScoreReport
from dep_mcp.protocol.errors import (
    DepError,
    EngineError,
    EvaluationCancelledError,
    EvaluationPausedError,
    ModelCallError,
    StoreError,
)
from dep_mcp.runner import Progress, Runner

_PAUSING = (402, 429)
"""Statuses that money or time mends."""
_BEAT_S = 1.0
"""How often progress is published and wishes of other processes are read."""


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


class Session:
    """Runs one evaluation.

    Args:
        host: What this process works with.
        evaluation: Which; held by this process.
        caller: Its model.
        on_record: Told of each answer and declared failure.
        on_event: Told what happens, by name and values.
    """

    def __init__(
        self,
        host: Host,
        evaluation: Evaluation,
        caller: Caller,
        *,
        on_record: Callable[[Record], None] = lambda _record: None,
        on_event: Callable[..., None] = lambda _name, **_values: None,
    ) -> None:
        self._host = host
        self._evaluation = evaluation
        self._caller = caller
        self._on_record = on_record
        self._on_event = on_event
        self._progress = Progress()
        self._log = host.logger(evaluation.evaluation_id)
        self._cause: str | None = None
        self._cancelled = False
        caller.on_fault = self._on_fault
        self.id = evaluation.evaluation_id
        self.title = name_of(evaluation)
        self.meter = Meter(self.title, self._progress, caller.flow)

    @property
    def in_flight(self) -> int:
        """Calls in flight."""
        return self._caller.flow.in_flight

    def stop(self, cause: str) -> None:
        """Send nothing more; calls in flight end first, then the evaluation pauses for this cause."""
        self._cause = self._cause or cause
        self._caller.flow.stop()

    async def run(self) -> Outcome:
        """Run it to its end, whichever that is."""
        begin, report, failure = time.monotonic(), None, None
        self._on_event("started", evaluation_id=self.id, title=self.title)
        self._log.info("running", settings=self._evaluation.settings.model_dump(mode="json"))
        try:
            scored = await self._score()
            await self._host.orchestrator.complete(self._evaluation, scored)
            report = scored.report
        except DepError as error:
            failure = error
            if isinstance(error, EvaluationPausedError) and self._cause is not None:
                failure = EvaluationPausedError(self._cause)
            await self._finish(failure)
        except asyncio.CancelledError:
            if not self._cancelled:
                await asyncio.shield(self._finish(EvaluationPausedError("interrupted")))
                err().print(f"what was answered is kept; go on with: dep-mcp resume {self.id}")
                raise
            if (task := asyncio.current_task()) is not None:
                task.uncancel()
            failure = EvaluationCancelledError("cancelled on request")
            await self._finish(failure)
        return await self._ended(report, failure, time.monotonic() - begin)

    async def _score(self) -> Scored:
        if self._caller.flow.stopping.is_set():
            msg = "stopped before it began"
            raise EvaluationPausedError(msg)
        host, evaluation = self._host, self._evaluation
        endpoint = await host.orchestrator.endpoint(evaluation, lambda event, text: self._log.info(event, text=text))
        beating = asyncio.create_task(self._beat(asyncio.current_task()))
        try:
            async with host.orchestrator.held(evaluation), endpoint:
                runner = Runner(
                    evaluation,
                    endpoint=endpoint,
                    journal=host.store,
                    caller=self._caller,
                    progress=self._progress,
                    on_record=self._on_record,
                )
                await runner.run()
                assert endpoint.scored is not None  # noqa: S101  # narrows a type: the runner has just asked for it
                return endpoint.scored
        finally:
            beating.cancel()
            await asyncio.wait([beating])

    async def _beat(self, running: asyncio.Task[object] | None) -> None:
        while True:
            wish = None
            with suppress(StoreError):  # a full disk: the journal says so itself
                wish = await self._host.store.beat(self.id, self.meter.now().model_dump_json())
            if wish == "pause":
                self.stop("paused on request")
            elif wish == "cancel" and running is not None:
                self._cancelled = True
                running.cancel()
                return
            await asyncio.sleep(_BEAT_S)

    def _on_fault(self, status: int, detail: str) -> None:
        faults = self._progress.faults
        faults[status] = faults.get(status, 0) + 1
        self._log.warning("model_call_failed", status=status, detail=detail[:500])
        self._on_event("call_failed", evaluation_id=self.id, status=status, detail=detail[:500])

    async def _finish(self, error: DepError) -> None:
        resumable = (
            isinstance(error, EvaluationPausedError | StoreError)
            or (isinstance(error, EngineError) and error.retryable)
            or (isinstance(error, ModelCallError) and error.status in _PAUSING)
        )
        state = EvaluationState.PAUSED if resumable else EvaluationState.FAILED
        try:
            await self._host.orchestrator.finish(self._evaluation, state, error.detail)
        except StoreError:
            # A full disk can't take the transition either: the row says `running`, its owner is gone, resume takes it.
            err().print(f"the store can't record that {self.id} stopped")

    async def _ended(self, report: ScoreReport | None, failure: DepError | None, seconds: float) -> Outcome:
        evaluation = await self._host.store.evaluation(self.id)
        with suppress(StoreError):
            await self._host.store.beat(self.id, self.meter.now().model_dump_json())
        told = report and report.model_dump(mode="json")
        self._log.info(evaluation.state, cause=evaluation.cause, durable_ms=_quantiles(self._progress), report=told)
        self._on_event(str(evaluation.state), evaluation_id=self.id, cause=evaluation.cause, report=told)
        return Outcome(evaluation=evaluation, report=report, error=failure, seconds=seconds)


def name_of(evaluation: Evaluation) -> str:
    """Model and benchmark, for people."""
    settings = evaluation.settings
    return f"{settings.model.name} on {settings.benchmark}" + (f":{settings.task}" if settings.task else "")


def _quantiles(progress: Progress) -> dict[str, int]:
    """Within how many milliseconds of their arrival half, 99 % and all of the answers were durable."""
    waits = progress.durable_ms
    found: dict[str, int] = {}
    seen, total = 0, waits.total()
    for waited, count in sorted(waits.items()):
        seen += count
        for name, share in (("p50", 0.5), ("p99", 0.99), ("max", 1.0)):
            if seen >= share * total:
                found.setdefault(name, waited)
    return found
