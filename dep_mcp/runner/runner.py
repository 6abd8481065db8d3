"""The loop: items go to the model, answers to the journal, then to the benchmark; at the end, the score.

An answer is durable before it counts. What has an answer is never sent again. Memory is bounded by the
queues, whose lengths are a few times the number of calls in flight.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from dep_mcp.models import Called, Caller, Completion, Ticket
from dep_mcp.protocol import (
    PAGE_ITEMS,
    DeclaredFailure,
    Evaluation,
    FetchedPage,
    Item,
    ItemPage,
    Prices,
    Record,
    ScoreReport,
    ScoreResult,
    Submission,
    Submitted,
)
from dep_mcp.protocol.errors import DepError, EngineError, EvaluationPausedError, ModelCallError, SealError
from dep_mcp.runner.failures import Failures

_OPEN = 32
"""Items besides twice the calls in flight that may wait for a retry or for the disk."""
_GATHER_S = 0.05
"""How long answers are gathered for one call of `submit`."""


class Endpoint(Protocol):
    """The subject tools of a benchmark."""

    async def get_items(self, cursor: str | None = None) -> ItemPage:
        """One page."""

    async def submit(self, submissions: tuple[Submission, ...]) -> Submitted:
        """Submit answers."""

    async def score(self, cursor: str | None = None) -> ScoreResult:
        """The score."""


class Journal(Protocol):
    """Where answers become durable."""

    async def append(self, evaluation_id: str, record: Record) -> None:
        """Write one answer; durable when it returns."""

    async def answered(self, evaluation_id: str, position: int, items: int) -> set[tuple[int, int]]:
        """Which (place, epoch) of so many items from a place on have an answer."""

    async def pages(self, evaluation_id: str) -> list[FetchedPage]:
        """The pages fetched so far, in order."""

    async def add_page(self, evaluation_id: str, page: FetchedPage) -> None:
        """Remember a page."""


@dataclass
class Progress:
    """How far an evaluation is; changed in place as it goes.

    Attributes:
        total: Items × epochs; 0 until known.
        kept: Answers from before this run.
        answered: Answers of this run.
        failed: Declared failures of this run.
        faults: Refused and failed calls by status; retried ones too.
        prompt_tokens: Of this run, as far as the provider said.
        completion_tokens: Of this run, as far as the provider said.
        cost_usd: Of this run, as far as prices are known.
        unpriced: Answers and failures of this run whose price isn't known.
        durable_ms: How long answers waited to be durable, in milliseconds: how many waited how long.
    """

    total: int = 0
    kept: int = 0
    answered: int = 0
    failed: int = 0
    faults: dict[int, int] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0
    durable_ms: Counter[int] = field(default_factory=Counter)

    @property
    def done(self) -> int:
        """How many of the total need no further call."""
        return self.kept + self.answered + self.failed


class Runner:
    """Runs one evaluation.

    Args:
        evaluation: Which.
        endpoint: Its benchmark.
        journal: Its answers.
        caller: Its model.
        progress: Told of everything.
        on_record: Told of each answer and declared failure that is kept.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        *,
        endpoint: Endpoint,
        journal: Journal,
        caller: Caller,
        progress: Progress,
        on_record: Callable[[Record], None] = lambda _record: None,
    ) -> None:
        self._on_record = on_record
        self._prices = evaluation.settings.model.prices
        self._evaluation = evaluation
        self._endpoint = endpoint
        self._journal = journal
        self._caller = caller
        self._progress = progress
        self._pages: asyncio.Queue[tuple[int, tuple[Item, ...]] | None] = asyncio.Queue(2)
        self._durable: asyncio.Queue[Submission | None] = asyncio.Queue(10 * PAGE_ITEMS)
        self._failures = Failures()
        self._open = self._undurable = 0
        self._ended = asyncio.Event()
        self._fatal: DepError | None = None

    def stop(self) -> None:
        """Start no further call; those in flight are waited for, and `run` then raises that it paused."""
        self._caller.flow.stop()

    async def run(self) -> ScoreReport:
        """Answer everything that has no answer, submit, score.

        Raises:
            EvaluationPausedError: Stopped, or the provider is down; `resume` goes on.
            ModelCallError: No call can succeed: credentials, model name, money, or every request is malformed.
            EngineError: The benchmark's container died again and again, or its engine is gone.
            StoreError: The disk is full.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                submitter = tasks.create_task(self._submit())
                fetcher = tasks.create_task(self._fetch())
                async with asyncio.TaskGroup() as calls:
                    await self._dispatch(calls)
                fetcher.cancel()  # stopped before the last page
                if self._fatal is None:
                    await self._settle()
                await self._durable.put(None)
                await submitter
        except BaseExceptionGroup as group:
            raise _first(group) from group
        if self._fatal is not None:
            raise self._fatal
        if self._caller.flow.stopping.is_set():
            msg = "stopped on request"
            raise EvaluationPausedError(msg)
        return await self._score()

    async def _dispatch(self, calls: asyncio.TaskGroup) -> None:
        """Start a call for each item as the endpoint's flow control lets it.

        Calls in flight and answers on their way to the disk together are never more than the concurrency that was set:
        so many, and no more, are sent again after a `kill -9`.
        """
        flow = self._caller.flow
        async for place, item, epoch in self._missing():
            while self._open >= 2 * flow.size + _OPEN or flow.in_flight + self._undurable >= flow.most:
                self._ended.clear()
                await self._ended.wait()
            ticket = await flow.admit()
            if ticket is None:
                return
            self._open += 1
            flow.left = self._progress.total - self._progress.done - self._open
            calls.create_task(self._answer(place, item, epoch, ticket))

    async def _answer(self, place: int, item: Item, epoch: int, ticket: Ticket) -> None:
        """Call the model until the item has an answer or a declared failure, and keep that.

        An error that no other call could better stops the evaluation: what is in flight is paid for, and is kept.
        """
        try:
            called = await self._caller.call(item, self._evaluation.settings.generation, epoch=epoch, ticket=ticket)
            if called is not None:
                down = called.exhausted and not called.others_answered
                await self._take(_record(place, item, epoch, called, self._prices), perhaps_down=down)
        except (ModelCallError, EvaluationPausedError) as error:
            self._end(error)
        finally:
            self._open -= 1
            self._ended.set()

    def _end(self, error: DepError) -> None:
        """Start no further call, and end with the first such error once those in flight have ended."""
        self._fatal = self._fatal or error
        self.stop()

    async def _take(self, record: Record, *, perhaps_down: bool) -> None:
        if perhaps_down:
            self._failures.hold(record, self._caller.flow.size)
            return
        failed = isinstance(record.submission.answer, DeclaredFailure)
        if failed and not self._has_answers and (error := self._failures.malformed(record)):
            self._end(error)  # before the disk is waited for, or more such calls would leave meanwhile
        await self._keep(record)
        if not failed:
            await self._settle()

    async def _fetch(self) -> None:
        """Fetch the pages that aren't answered yet, a little ahead of the calls."""
        known = await self._journal.pages(self._evaluation.evaluation_id)
        epochs = self._evaluation.settings.epochs
        todo = deque((page.position, page.cursor) for page in known if page.answered < page.items * epochs)
        last = known[-1] if known else FetchedPage(position=0, items=0, cursor=None, next_cursor="")
        self._progress.kept = sum(page.answered for page in known if page.answered == page.items * epochs)
        self._progress.total = self._progress.kept
        if last.next_cursor is not None:
            todo.append((last.position + last.items, last.next_cursor or None))
        while todo:
            position, cursor = todo.popleft()
            try:
                page = await self._endpoint.get_items(cursor)
            except EngineError as error:
                self._end(error)
                break
            if position + len(page.items) > page.total:  # or a hostile benchmark has us pay for items without end
                msg = f"the benchmark hands out more items than the {page.total} that there are"
                raise DepError(msg)
            self._progress.total = page.total * epochs
            if position >= last.position + last.items:
                last = FetchedPage(
                    position=position, items=len(page.items), cursor=cursor, next_cursor=page.next_cursor
                )
                await self._journal.add_page(self._evaluation.evaluation_id, last)
                if page.next_cursor is not None:
                    todo.append((position + len(page.items), page.next_cursor))
            await self._pages.put((position, page.items))
        await self._pages.put(None)

    async def _missing(self) -> AsyncIterator[tuple[int, Item, int]]:
        """What has no answer: place, item, epoch."""
        while (fetched := await self._pages.get()) is not None:
            first, items = fetched
            there = await self._journal.answered(self._evaluation.evaluation_id, first, len(items))
            self._progress.kept += len(there)
            for place, item in enumerate(items, first):
                for epoch in range(1, self._evaluation.settings.epochs + 1):
                    if (place, epoch) not in there:
                        yield place, item, epoch

    async def _keep(self, record: Record) -> None:
        began = time.monotonic()
        self._undurable += 1
        try:
            await self._journal.append(self._evaluation.evaluation_id, record)
        finally:
            self._undurable -= 1
            self._ended.set()
        progress = self._progress
        progress.durable_ms[int(1000 * (time.monotonic() - began))] += 1
        if isinstance(record.submission.answer, DeclaredFailure):
            progress.failed += 1
        else:
            progress.answered += 1
        progress.prompt_tokens += record.usage.prompt_tokens or 0
        progress.completion_tokens += record.usage.completion_tokens or 0
        progress.cost_usd += record.cost_usd or 0.0
        progress.unpriced += record.cost_usd is None
        self._on_record(record)
        await self._durable.put(record.submission)

    async def _settle(self) -> None:
        for record in self._failures.settled(answered=self._has_answers):
            await self._keep(record)

    @property
    def _has_answers(self) -> bool:
        return self._progress.answered + self._progress.kept > 0

    async def _submit(self) -> None:
        """Submit what is durable, a hundred at once or what has come within a moment."""
        open_ = True
        while open_:
            batch = [await self._durable.get()]
            if batch[0] is not None and self._durable.qsize() < PAGE_ITEMS - 1:
                await asyncio.sleep(_GATHER_S)
            while not self._durable.empty() and len(batch) < PAGE_ITEMS:
                batch.append(self._durable.get_nowait())
            open_ = batch[-1] is not None
            submissions = tuple(submission for submission in batch if submission is not None)
            try:
                if submissions:
                    _check(await self._endpoint.submit(submissions))
            except EngineError as error:  # they are in the journal, where answers to calls in flight go too
                self._end(error)

    async def _score(self) -> ScoreReport:
        result = await self._endpoint.score()
        if result.report is None:
            msg = f"the benchmark says that {result.missing} submissions are missing; resume sends them"
            raise EvaluationPausedError(msg)
        return result.report


def _record(place: int, item: Item, epoch: int, called: Called, prices: Prices | None) -> Record:
    completion = called.completion
    return Record(
        submission=Submission(item_id=item.item_id, epoch=epoch, answer=completion.answer),
        position=place,
        attempts=called.attempts,
        usage=completion.usage,
        cost_usd=_cost_usd(completion, prices),
        model=completion.model,
        latency_s=completion.latency_s,
        reasoning=completion.reasoning,
        cached=completion.cached,
        detail=called.detail,
        at=datetime.now(UTC),
    )


def _cost_usd(completion: Completion, prices: Prices | None) -> float | None:
    """By the card's prices, else what the adapter knows."""
    usage = completion.usage
    if prices is None or usage.prompt_tokens is None or usage.completion_tokens is None:
        return completion.cost_usd
    return (usage.prompt_tokens * prices.input_usd + usage.completion_tokens * prices.output_usd) / 1e6


def _check(submitted: Submitted) -> None:
    if submitted.rejected:
        first = submitted.rejected[0]
        msg = f"the benchmark refused {len(submitted.rejected)} submissions; {first.item_id}: {first.detail}"
        raise SealError(msg)


def _first(group: BaseExceptionGroup) -> BaseException:
    """The most telling error of a group: ours before any other."""
    found: list[BaseException] = []

    def walk(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for part in error.exceptions:
                walk(part)
        else:
            found.append(error)

    walk(group)
    return next((error for error in found if isinstance(error, DepError)), found[0])
