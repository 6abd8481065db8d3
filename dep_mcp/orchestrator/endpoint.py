"""A sealed benchmark endpoint that outlives its container.

One task owns container and connection. When a call finds them gone, a new container is started and opened
with the same seed, the answers of the journal are replayed, and the call is made again. The runner sees
nothing of it but a delay.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from dep_mcp.client import OperatorClient, SubjectClient, connect, line_transport
from dep_mcp.containers import Container, ContainerRuntime, ContainerSpec
from dep_mcp.orchestrator.countersigning import Scored
from dep_mcp.protocol import Description, ItemPage, Open, Opened, ScoreResult, Submission, Submitted
from dep_mcp.protocol.errors import ContainerLostError, DepError, ReceiptError

Value = TypeVar("Value")

START_TIMEOUT_S = 120.0
MOST_REPLACEMENTS = 3
KILLED = 137


class Journal(Protocol):
    """What the endpoint needs of whoever keeps the answers."""

    async def fix_items(self, opened: Opened) -> None:
        """Record what `open` fixed; raises when another container had fixed something else."""

    def submissions(self) -> AsyncIterator[tuple[Submission, ...]]:
        """Everything answered so far, in pages of at most 100."""


class SealedEndpoint:
    """The subject tools of one evaluation, over containers that are replaced when lost.

    Args:
        runtime: Starts containers.
        spec: The container.
        opening: The operator's `open`.
        journal: The answers to be replayed.
        on_event: Told what happened to containers, for the log.
    """

    def __init__(
        self,
        runtime: ContainerRuntime,
        spec: ContainerSpec,
        opening: Open,
        journal: Journal,
        on_event: Callable[[str, str], None],
    ) -> None:
        self._runtime = runtime
        self._spec = spec
        self._opening = opening
        self._journal = journal
        self._on_event = on_event
        self._client: asyncio.Future[SubjectClient] = asyncio.get_running_loop().create_future()
        self._lost = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self._replayed: asyncio.Task[None] | None = None
        self._served = False
        self.opened: Opened | None = None
        self.container_id: str | None = None
        self._image = ""
        self.scored: Scored | None = None
        """The first score, once there is one: what a later container says can't replace it."""

    async def __aenter__(self) -> Self:
        """Start the first container.

        Raises:
            EngineError: It can't be started; or it died at start, with the last it said.
            DepError: The benchmark refused to open.
        """
        self._owner = asyncio.create_task(self._own())
        try:
            await self._current()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the container."""
        await self._stop()

    async def _stop(self) -> None:
        if self._owner is not None:
            self._owner.cancel()
            await asyncio.wait([self._owner])
        if self._client.done() and not self._client.cancelled():
            self._client.exception()  # seen: the one who waited for it has raised it already

    async def describe(self) -> Description:
        """See `SubjectClient.describe`."""
        return await self._call(SubjectClient.describe)

    async def get_items(self, cursor: str | None = None) -> ItemPage:
        """See `SubjectClient.get_items`.

        Raises:
            DepError: The page is empty, or of another number of items than were opened.
        """
        page = await self._call(lambda client: client.get_items(cursor))
        if not page.items or self.opened is None or page.total != self.opened.items:
            msg = "the benchmark gave a page without items, or of others than it opened"
            raise DepError(msg)
        return page

    async def submit(self, submissions: tuple[Submission, ...]) -> Submitted:
        """See `SubjectClient.submit`."""
        return await self._call(lambda client: client.submit(submissions))

    async def score(self, cursor: str | None = None) -> ScoreResult:
        """See `SubjectClient.score`; waits until a new container knows all earlier answers."""
        return await self._call(lambda client: self._score(client, cursor))

    async def _current(self) -> SubjectClient:
        return await asyncio.shield(self._client)

    async def _call(self, call: Callable[[SubjectClient], Awaitable[Value]]) -> Value:
        while True:
            client = await self._current()
            try:
                return await call(client)
            except ContainerLostError:
                if self._client.done() and not self._client.exception() and self._client.result() is client:
                    self._client = asyncio.get_running_loop().create_future()
                    self._lost.set()

    async def _own(self) -> None:
        """Start containers, one after the other, until cancelled or out of patience."""
        for number in range(MOST_REPLACEMENTS + 1):
            self._lost.clear()
            try:
                await self._serve("container_started" if number == 0 else "container_replaced")
            except ContainerLostError as error:
                self._on_event("container_lost", error.detail)
                self._forget()
                if self._served and number < MOST_REPLACEMENTS:
                    continue
                self._client.set_exception(error)
                return
            except Exception as error:  # noqa: BLE001 (handed to whoever waits for the endpoint)
                self._forget()
                self._client.set_exception(error)
                return

    def _forget(self) -> None:
        """Drop a client whose connection ended by itself, before any call found it gone."""
        if self._client.done():
            self._client = asyncio.get_running_loop().create_future()

    async def _serve(self, event: str) -> None:
        """Serve with one container until it is lost; ends by an exception only."""
        async with self._runtime.start(self._spec) as container:
            self.container_id, self._image = container.id, container.image
            self._on_event(event, container.id)
            try:
                async with (
                    asyncio.timeout(START_TIMEOUT_S) as deadline,
                    connect(line_transport(container)) as operator,
                ):
                    await self._fix(operator)
                    deadline.reschedule(None)  # each call of the replay has a deadline of its own
                    self._on_event("container_ready", container.id)
                    self._served = True
                    await self._replay(operator.subject(self._opening.evaluation_id))
                raise _gone()
            except ContainerLostError as error:
                await self._runtime.ping()  # an engine that is gone says so itself
                raise await _with_last_words(container, error) from error
            except TimeoutError:
                msg = f"the benchmark's container didn't answer within {START_TIMEOUT_S:.0f} s of its start"
                raise await _with_last_words(container, ContainerLostError(msg)) from None

    async def _fix(self, operator: OperatorClient) -> None:
        opened = await operator.open(self._opening)
        limit = self._opening.limit
        if opened.epochs != self._opening.epochs or (limit is not None and opened.items > limit):
            msg = f"the benchmark opened more than was asked for: {opened.items} items, {opened.epochs} epochs"
            raise DepError(msg)
        await self._journal.fix_items(opened)
        self.opened = opened

    async def _replay(self, subject: SubjectClient) -> None:
        """Serve, and meanwhile submit again what the journal holds; ends when the container is lost."""
        replayed = self._replayed = asyncio.create_task(self._submit_again(subject))
        lost = asyncio.create_task(self._lost.wait())
        try:
            self._client.set_result(subject)
            await asyncio.wait((replayed, lost), return_when=asyncio.FIRST_COMPLETED)
            if not lost.done():
                await replayed
                await lost
        finally:
            replayed.cancel()
            lost.cancel()
            await asyncio.wait((replayed, lost))

    async def _submit_again(self, subject: SubjectClient) -> None:
        async for submissions in self._journal.submissions():
            await subject.submit(submissions)

    async def _score(self, client: SubjectClient, cursor: str | None) -> ScoreResult:
        opened, image, replayed = self.opened, self._image, self._replayed  # of this client's container
        if replayed is not None:
            await asyncio.wait([replayed])
            if replayed.cancelled():
                raise _gone()
        result = await client.score(cursor)
        if result.report is None or opened is None:
            return result
        if result.receipt is None:
            msg = "the benchmark gave a score without a receipt"
            raise ReceiptError(msg)
        if self.scored is None:
            self.scored = Scored(report=result.report, receipt=result.receipt, opened=opened, image=image)
        elif self.scored.report != result.report:
            msg = "a replaced container scored the same answers otherwise: the first score stands"
            raise ReceiptError(msg)
        return result.model_copy(update={"receipt": self.scored.receipt})


def _gone() -> ContainerLostError:
    return ContainerLostError("the benchmark's container is gone")


async def _with_last_words(container: Container, error: ContainerLostError) -> ContainerLostError:
    status = await container.exit_status()
    how = "no exit status" if status is None else f"exit status {status}"
    if status == KILLED:
        how += ": killed, perhaps for lack of memory"
    return ContainerLostError(
        f"{error.detail} ({how}). Its last words: {container.stderr_tail().strip()[-2000:] or 'none'}"
    )
