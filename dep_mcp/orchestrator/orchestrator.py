"""Creates evaluations, walks them through their life cycle, and gives each a sealed endpoint."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol

from dep_mcp import __version__
from dep_mcp.client import connect, line_transport
from dep_mcp.containers import ContainerRuntime, ContainerSpec, Image
from dep_mcp.orchestrator.catalogue import BenchmarkFolder, build_spec, find_data
from dep_mcp.orchestrator.countersigning import Countersign, Scored, claims_of, countersign
from dep_mcp.orchestrator.endpoint import SealedEndpoint
from dep_mcp.protocol import (
    PAGE_ITEMS,
    PROTOCOL_VERSION,
    Commitment,
    DataKey,
    Envelope,
    Evaluation,
    EvaluationState,
    Generation,
    ModelCard,
    Open,
    Opened,
    Recipient,
    Record,
    RequestKind,
    ScoreReport,
    Settings,
    Submission,
    Turn,
    new_evaluation_id,
    new_seed,
)
from dep_mcp.protocol.errors import ResumeRefusedError, UnknownNameError, UsageError

RENEWAL_S = 15.0
"""How often a running evaluation renews its lease."""


class EvaluationStore(Protocol):
    """What the orchestrator needs of the store."""

    async def create(self, evaluation_id: str, settings: Settings, seed: str, cause: str = "created") -> None:
        """Add an evaluation, running."""

    async def evaluation(self, prefix: str) -> Evaluation:
        """One evaluation."""

    async def transition(
        self, evaluation_id: str, state: EvaluationState, cause: str, *, owner: str | None = None
    ) -> None:
        """Move it to another state, if its owner still holds it."""

    async def take_turn(self, evaluation_id: str, settings: Settings) -> tuple[Turn, tuple[Turn, ...]]:
        """Count it among the evaluations of its identity; its turn and the others."""

    async def complete(
        self, evaluation_id: str, report: ScoreReport, receipt: Envelope, *, owner: str | None = None
    ) -> None:
        """Record the score with its receipt and close it."""

    async def claim(self, evaluation_id: str, owner: str, dead: Callable[[str], bool]) -> None:
        """Make this process its only runner."""

    async def release(self, evaluation_id: str, owner: str) -> None:
        """Give the claim back."""

    async def seed(self, evaluation_id: str) -> str:
        """Its secret seed."""

    async def fork(self, source: str, evaluation_id: str) -> int:
        """Copy the answers of another evaluation; return how many."""

    async def fix_items(self, evaluation_id: str, opened: Opened) -> None:
        """Record its item set."""

    def journal(self, evaluation_id: str, *, page: int = 100) -> AsyncIterator[list[Record]]:
        """Its answers, in pages."""

    def digests(self, evaluation_id: str) -> AsyncIterator[list[bytes | None]]:
        """Of its answers, in its order, in pages; `None` for a failure."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A benchmark ready to be started.

    Attributes:
        benchmark: Its folder and card.
        task: The part asked for.
        image: Built from it.
    """

    benchmark: BenchmarkFolder
    task: str | None
    image: Image


@dataclass(frozen=True)
class _Journal:
    store: EvaluationStore
    evaluation_id: str

    async def fix_items(self, opened: Opened) -> None:
        await self.store.fix_items(self.evaluation_id, opened)

    async def submissions(self) -> AsyncIterator[tuple[Submission, ...]]:
        async for records in self.store.journal(self.evaluation_id, page=PAGE_ITEMS):
            yield tuple(record.submission for record in records)


DataKeys = Callable[[Recipient], DataKey]
"""From whom a bundle is encrypted to, to the key that decrypts it."""


def _no_keys(recipient: Recipient) -> DataKey:
    msg = f"this benchmark is sealed to {recipient}, and this process was given no keys"
    raise UnknownNameError(msg)


Salts = Callable[[Commitment], str | None]
"""From a commitment to its secret, if this process has it."""


def _no_salt(commitment: Commitment) -> None:
    del commitment


class Orchestrator:
    """Owns images, containers and the life cycle of evaluations.

    Args:
        runtime: The container engine.
        store: Where evaluations are kept.
        owner: Identifies this process, for claims and labels.
        dead: Whether the process of an owner is known to have ended.
        sign: Adds the signature of the benchmark's owner to a receipt.
        data_key: Finds the key of a sealed benchmark.
        salt: Finds the secret of a commitment.
    """

    def __init__(
        self,
        runtime: ContainerRuntime,
        store: EvaluationStore,
        *,
        owner: str,
        dead: Callable[[str], bool],
        sign: Countersign,
        data_key: DataKeys = _no_keys,
        salt: Salts = _no_salt,
    ) -> None:
        self._runtime = runtime
        self._store = store
        self._owner = owner
        self._dead = dead
        self._sign = sign
        self._data_key = data_key
        self._salt = salt

    async def prepare(
        self, benchmark: BenchmarkFolder, task: str | None, *, data: list[Path], base_image: str | None
    ) -> Prepared:
        """Check the data and build the image, once per content.

        Raises:
            DataError: A data file is missing or isn't the one pinned.
            ImageBuildError: The build failed.
            UnknownNameError: No task of that name; lists the nearest. Or it is sealed, and its key isn't here.
        """
        if benchmark.card.sealed:
            self._data_key(benchmark.card.sealed.recipient)  # before anything is built or begun
        files = find_data(benchmark, data)
        base = await self._runtime.base_image(base_image)
        await self._runtime.require_effect(base)
        image = await self._runtime.ensure_image(build_spec(benchmark, files, base))
        if task is not None:
            await self._check_task(benchmark, task, image)
        return Prepared(benchmark=benchmark, task=task, image=image)

    async def _check_task(self, benchmark: BenchmarkFolder, task: str, image: Image) -> None:
        """Ask the benchmark itself for its tasks, before an evaluation of a misspelt one exists."""
        resources = benchmark.card.resources
        spec = ContainerSpec(image=image.digest, labels={}, memory_mb=resources.memory_mb, cpus=resources.cpus)
        async with self._runtime.start(spec) as container, connect(line_transport(container)) as operator:
            tasks = (await operator.describe()).tasks
        if task not in tasks:
            near = ", ".join(get_close_matches(task, tasks, 3, 0.4)) or ", ".join(tasks[:10]) or "it has none"
            msg = f"{benchmark.card.name} has no task {task!r}; nearest: {near}"
            raise UnknownNameError(msg)

    async def create(  # noqa: PLR0913 (each changes the number)
        self,
        prepared: Prepared,
        model: ModelCard,
        *,
        limit: int | None = None,
        epochs: int = 1,
        seed: str | None = None,
        generation: Generation | None = None,
        identity: str | None = None,
        final: bool = False,
        cause: str = "created",
    ) -> Evaluation:
        """Create an evaluation, running, with a seed of its own and settings fixed for good.

        Raises:
            UsageError: The model can't answer what the benchmark asks.
        """
        card = prepared.benchmark.card
        require(model, card.request, card.name)
        settings = Settings(
            benchmark=card.name,
            benchmark_version=card.version,
            benchmark_path=str(prepared.benchmark.folder) if prepared.benchmark.by_path else None,
            task=prepared.task,
            limit=limit,
            epochs=epochs,
            image_tag=prepared.image.tag,
            image_digest=prepared.image.digest,
            memory_mb=card.resources.memory_mb,
            cpus=card.resources.cpus,
            publish_seed=card.publish_seed,
            identity=identity,
            final=final,
            commitment=card.commitment,
            sealed_to=card.sealed.recipient if card.sealed else None,
            model=model,
            generation=merge(card.generation, model.generation, generation),
            package_version=__version__,
            protocol=PROTOCOL_VERSION,
        )
        return await self._add(settings, seed or new_seed(), cause)

    async def _add(self, settings: Settings, seed: str, cause: str) -> Evaluation:
        evaluation_id = new_evaluation_id()
        await self._store.create(evaluation_id, settings, seed, cause)
        await self._store.claim(evaluation_id, self._owner, self._dead)
        return await self._store.evaluation(evaluation_id)

    async def retry_failed(self, evaluation: Evaluation) -> Evaluation:
        """Create an evaluation of the same items with the answers of another one, to send its failures again.

        Settings, seed and image are the same, and its cause names where the answers come from.
        """
        seed = await self._store.seed(evaluation.evaluation_id)
        source = evaluation.evaluation_id
        fork = await self._add(evaluation.settings, seed, f"forked from {source}, whose answers are kept")
        await self._store.fork(source, fork.evaluation_id)
        return fork

    async def reopen(self, evaluation: Evaluation, model: ModelCard, image: Image) -> Evaluation:
        """Take up a paused, failed or abandoned evaluation; arguments and refusals as of `require_unchanged`.

        Raises:
            UsageError: Another process runs it.
        """
        require_unchanged(evaluation, model, image)
        await self._store.claim(evaluation.evaluation_id, self._owner, self._dead)
        if (await self._store.evaluation(evaluation.evaluation_id)).state is EvaluationState.RUNNING:
            gone = "the process that ran it ended without a word"
            await self._store.transition(evaluation.evaluation_id, EvaluationState.PAUSED, gone)
        await self._store.transition(evaluation.evaluation_id, EvaluationState.RUNNING, "resumed")
        return await self._store.evaluation(evaluation.evaluation_id)

    async def endpoint(self, evaluation: Evaluation, on_event: Callable[[str, str], None]) -> SealedEndpoint:
        """The sealed endpoint of an evaluation, which takes its turn; enter it to start the container."""
        settings = evaluation.settings
        turn, earlier = None, tuple[Turn, ...]()
        if settings.identity is not None:
            turn, earlier = await self._store.take_turn(evaluation.evaluation_id, settings)
        opening = Open(
            evaluation_id=evaluation.evaluation_id,
            seed=await self._store.seed(evaluation.evaluation_id),
            task=settings.task,
            limit=settings.limit,
            epochs=settings.epochs,
            data_key=self._data_key(settings.sealed_to) if settings.sealed_to else None,
            salt=self._salt(settings.commitment) if settings.commitment else None,
            claims=claims_of(settings),
            turn=turn,
            earlier=earlier,
        )
        spec = container_spec(settings)
        return SealedEndpoint(self._runtime, spec, opening, _Journal(self._store, evaluation.evaluation_id), on_event)

    @asynccontextmanager
    async def held(self, evaluation: Evaluation) -> AsyncGenerator[None]:
        """Renew this process's lease of an evaluation while the block runs; cancels the block when it is lost."""
        block = asyncio.current_task()

        async def renew() -> None:
            try:
                while True:
                    await asyncio.sleep(RENEWAL_S)
                    await self._store.claim(evaluation.evaluation_id, self._owner, self._dead)
            except UsageError:  # this process slept so long that another one took over
                if block is not None:
                    block.cancel()

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            await asyncio.wait([renewal])

    async def finish(self, evaluation: Evaluation, state: EvaluationState, cause: str) -> None:
        """Pause or fail an evaluation, and let other processes take it up."""
        await self._store.transition(evaluation.evaluation_id, state, cause, owner=self._owner)
        await self._store.release(evaluation.evaluation_id, self._owner)

    async def complete(self, evaluation: Evaluation, scored: Scored) -> None:
        """Countersign the receipt, record the score with it, and close the evaluation.

        Raises:
            ReceiptError: The receipt says what isn't so.
        """
        receipt = await countersign(
            evaluation.evaluation_id,
            evaluation.settings,
            scored,
            self._store.digests(evaluation.evaluation_id),
            self._sign,
        )
        await self._store.complete(evaluation.evaluation_id, scored.report, receipt, owner=self._owner)
        await self._store.release(evaluation.evaluation_id, self._owner)


def container_spec(settings: Settings) -> ContainerSpec:
    """What the container of an evaluation with these settings is; it is the same for all of a benchmark."""
    return ContainerSpec(
        image=settings.image_digest,
        labels={"org.dep-mcp.benchmark": settings.benchmark},
        memory_mb=settings.memory_mb,
        cpus=settings.cpus,
    )


def require_unchanged(evaluation: Evaluation, model: ModelCard, image: Image, *, completed: bool = False) -> None:
    """Refuse to go on with an evaluation whose number would be another one.

    Args:
        evaluation: Which.
        model: The model's card as it reads now.
        image: The benchmark's image as its folder gives it now.
        completed: It may be completed: its answers go into another one.

    Raises:
        ResumeRefusedError: Something that matters changed; names it.
        UsageError: It is completed.
    """
    settings = evaluation.settings
    if evaluation.state is EvaluationState.COMPLETED and not completed:
        msg = f"evaluation {evaluation.evaluation_id} is completed; `dep-mcp show` prints its score"
        raise UsageError(msg)
    changed = _differences(settings.model, model)
    if settings.image_digest != image.digest:
        changed.append("the benchmark's image (code, data or libraries)")
    if settings.protocol != PROTOCOL_VERSION:
        changed.append(f"dep-mcp's protocol ({settings.protocol}, now {PROTOCOL_VERSION})")
    if changed:
        msg = (
            f"{' and '.join(changed)} changed since the evaluation began: `dep-mcp resume --fork` starts a new one"
            " that uses none of its answers"
        )
        raise ResumeRefusedError(msg)


def _differences(before: ModelCard, now: ModelCard) -> list[str]:
    """What the model's card says otherwise now; neither a description nor a price changes a number."""
    free = {"description", "license", "prices", "limits"}
    old, new = before.model_dump(exclude=free), now.model_dump(exclude=free)
    return [f"the model's card ({name}: {old[name]!r}, now {new[name]!r})" for name in old if old[name] != new[name]]


def require(model: ModelCard, request: RequestKind, benchmark: str) -> None:
    """Refuse a model that can't answer what a benchmark asks.

    Raises:
        UsageError: Says what its card lacks.
    """
    if request not in model.requests:
        able = ", ".join(model.requests)
        msg = f"{benchmark} asks for {request} (one log-likelihood per option); the card of {model.name} says: {able}"
        raise UsageError(msg)


def merge(*layers: Generation | None) -> Generation:
    """Settings of generation, the later layers winning field by field where they were given."""
    values: dict[str, object] = {}
    for layer in layers:
        if layer is not None:
            values |= layer.model_dump(exclude_unset=True)
    return Generation.model_validate(values)
