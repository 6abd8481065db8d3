"""The only composition root: which runtime, store and adapters one process uses."""

import importlib
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from dep_mcp.cli.views import err
from dep_mcp.containers import DockerRuntime, Image, Owner, this_process
from dep_mcp.models import CachedAdapter, ModelAdapter, Models
from dep_mcp.orchestrator import BenchmarkFolder, Catalogue, Orchestrator, OwnerKeys, Prepared
from dep_mcp.protocol import ModelCard, Settings
from dep_mcp.protocol.errors import DataError, StoreError, UnknownNameError
from dep_mcp.results import Store
from dep_mcp.settings import HostSettings, secret

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager


class Host:
    """What this process works with.

    Args:
        settings: Where things lie.
        store: Open.
        runtime: The container engine.
    """

    def __init__(self, settings: HostSettings, store: Store, runtime: DockerRuntime) -> None:
        self.settings = settings
        self.store = store
        self.runtime = runtime
        self.models = Models(settings.plugins)
        self.catalogue = Catalogue(settings.plugins)
        self.owner = this_process()
        self.keys = OwnerKeys(settings.keys)
        self.orchestrator = Orchestrator(
            runtime,
            store,
            owner=self.owner,
            dead=_is_dead,
            sign=self.keys.countersign,
            data_key=self.keys.data_key,
            salt=self.keys.known_salt,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: HostSettings) -> AsyncGenerator["Host"]:
        """Open the store and make the rest.

        Raises:
            StoreError: The home folder can't be written.
        """
        runtime = DockerRuntime(on_build=_Building(), runtime=settings.runtime, remapped=settings.remapped)
        async with Store.open(settings.store) as store, runtime:
            yield cls(settings, store, runtime)

    async def prepare(self, folder: BenchmarkFolder, task: str | None, data: list[Path]) -> Prepared:
        """Build a benchmark's image, saying so when it takes long."""
        data = self.data_places(folder, data)
        return await self.orchestrator.prepare(folder, task, data=data, base_image=self.settings.base_image)

    def data_places(self, folder: BenchmarkFolder, given: Sequence[Path]) -> list[Path]:
        """Where a benchmark's data is looked for: what was given first, then what `data pull` fetched."""
        return [*given, self.settings.data / folder.card.name]

    async def current_image(self, settings: Settings, data: list[Path]) -> Image:
        """The image that the benchmark's folder gives now; of a benchmark whose source is gone, the one it had."""
        try:
            folder, _ = self.catalogue.resolve(settings.benchmark_path or settings.benchmark)
            return (await self.prepare(folder, settings.task, data)).image
        except (UnknownNameError, DataError) as error:
            err().print(f"using the image of the first run, since it can't be built again: {error.detail}")
            return Image(tag=settings.image_tag, digest=settings.image_digest)

    def adapter(self, card: ModelCard, *, cache: bool = False) -> ModelAdapter:
        """The adapter of a card, with its key from the environment."""
        adapter = self.models.adapter(card, secret(card.api_key_env) if card.api_key_env else None)
        return CachedAdapter(adapter, card, self.settings.home / "cache.sqlite") if cache else adapter

    def served(self, card: ModelCard) -> "AbstractAsyncContextManager[ModelCard]":
        """The card with an address that answers: of a local server, while the block runs; else as it is."""
        if card.serve is None:
            return nullcontext(card)
        process = importlib.import_module(f"dep_mcp.adapters.{card.serve}.process")
        served: AbstractAsyncContextManager[ModelCard] = process.serve(
            card,
            cache_dir=self.settings.weights,
            log_path=self.settings.logs / f"{card.serve}.log",
            say=err().print,
        )
        return served

    def logger(self, evaluation_id: str) -> structlog.stdlib.BoundLogger:
        """A logger into the evaluation's own file, one JSON object a line; never to the terminal."""
        path = self.log_path(evaluation_id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            msg = f"{path}: {error}. Free some space or set DEP_MCP_HOME to a folder that can be written."
            raise StoreError(msg) from error
        logger: Any = structlog.wrap_logger(
            _DiskTolerant(file),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
            evaluation_id=evaluation_id,
        )
        bound: structlog.stdlib.BoundLogger = logger
        return bound

    async def is_run_elsewhere(self, evaluation_id: str) -> bool:
        """Whether another process that lives runs an evaluation."""
        owner = await self.store.owner(evaluation_id)
        return owner is not None and owner != self.owner and not _is_dead(owner)

    def log_path(self, evaluation_id: str) -> Path:
        """Where an evaluation's log lies."""
        return self.settings.logs / f"{evaluation_id}.jsonl"


class _Building:
    """Says once that an image is being built, since that takes up to some minutes."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, line: str) -> None:
        del line
        if not self._said:
            err().print("building the benchmark's image (once for each content; some minutes at most)")
        self._said = True


def _is_dead(owner: str) -> bool:
    process = Owner.parse(owner)
    return process is not None and process.is_dead()


class _DiskTolerant(structlog.WriteLogger):
    """Loses log lines rather than an evaluation when the disk is full; the store reports that itself."""

    def msg(self, message: str) -> None:
        try:
            super().msg(message)
        except OSError:
            return

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg
