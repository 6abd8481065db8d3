"""The life of a sealed container on any engine: create, check, attach, start, hang up, remove."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from dep_mcp.containers.attached import AttachedContainer
from dep_mcp.containers.effect import require_effect
from dep_mcp.containers.engine import ContainerEngine, ImageEngine, Isolation
from dep_mcp.containers.hardening import create_request, require
from dep_mcp.containers.images import ImageBuilder, base_image
from dep_mcp.containers.owner import Owner, this_process
from dep_mcp.containers.port import BuildSpec, Container, ContainerSpec, Image
from dep_mcp.containers.waiting import to_the_end
from dep_mcp.protocol.errors import EngineError, HardeningError

OWNER_LABEL = "org.dep-mcp.orchestrator"
CREATED_LABEL = "org.dep-mcp.created"
GRACE_S = 2.0
USUAL_RUNTIME = "runc"

_log = logging.getLogger(__name__)


class Engine(ImageEngine, ContainerEngine, Protocol):
    """A whole engine."""

    async def ping(self) -> str:
        """Say which engine answers."""

    async def isolation(self) -> Isolation:
        """How it isolates, as it says itself."""

    async def close(self) -> None:
        """Close the connections to it."""


class SealedRuntime:
    """Implements the port's `ContainerRuntime` on an engine.

    Args:
        engine: Where containers run; closed with the runtime.
        orchestrator_id: Owner of the containers, from `this_process()`, which is the default.
        on_build: Called with every line of an image build.
        runtime: What containers are run with, such as `runsc`; the engine's default where empty.
        remapped: Refuse an engine whose users inside containers are the same outside.
    """

    def __init__(
        self,
        engine: Engine,
        orchestrator_id: str | None = None,
        *,
        on_build: Callable[[str], None] | None = None,
        runtime: str = "",
        remapped: bool = False,
    ) -> None:
        self._engine = engine
        self._runtime = runtime
        self._remapped = remapped
        self._probed = False
        self._images = ImageBuilder(engine, on_build)
        self.orchestrator_id = orchestrator_id or this_process()

    async def __aenter__(self) -> Self:
        """Connect to nothing yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections to the engine."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections to the engine; the next call opens them again."""
        await self._engine.close()

    async def ping(self) -> str:
        """Say which engine answers, e.g. `docker 20.10.24`.

        Raises:
            EngineError: None does; the message says what to do.
        """
        return await self._engine.ping()

    async def base_image(self, explicit: str | None = None) -> str:
        """Choose the base that images are built on; return its tag.

        Raises:
            ImageBuildError: There is none here, and none could be pulled.
            EngineError: No engine answers.
        """
        return (await base_image(self._engine, explicit)).name

    async def ensure_image(self, spec: BuildSpec) -> Image:
        """Return the image of that content, built now if it isn't there.

        Raises:
            ImageBuildError: With the failing step and the last lines of the build's output.
            EngineError: No engine answers.
        """
        return await self._images.ensure(spec)

    @asynccontextmanager
    async def start(self, spec: ContainerSpec) -> AsyncGenerator[Container]:
        """Create, check, attach to and start a sealed container; it is gone when the block ends.

        Raises:
            HardeningError: The engine applied less than was asked for.
            EngineError: The engine refused or is gone.
        """
        ours = {
            OWNER_LABEL: self.orchestrator_id,
            CREATED_LABEL: datetime.now(UTC).isoformat(timespec="seconds"),
        }
        life = _Life(self._engine, replace(spec, labels={**spec.labels, **ours}, runtime=self._runtime))
        try:
            # cancelled half-way, a thread could create a container that nobody knows of
            yield await to_the_end(life.begin())
        finally:
            await to_the_end(life.end())

    async def require_effect(self, image: str, *, always: bool = False) -> str:
        """Try in a container whether the seal has effect, once, where the engine's isolation isn't the usual one.

        That is where another runtime than runc, or users that are others outside, were asked for or are the engine's
        default. runc does what an inspection shows.

        Args:
            image: With Python 3 in it, such as the base.
            always: Try it with runc too.

        Returns:
            The runtime's name, and whether users are remapped.

        Raises:
            HardeningError: It has none; or the engine hasn't what was asked for.
            EngineError: No engine answers, or it starts no such container.
        """
        found = await self._engine.isolation()
        name = self._runtime or found.runtime
        if name not in found.runtimes:
            msg = f"the engine has no runtime {name!r}; it has: {', '.join(found.runtimes)}"
            raise HardeningError(msg)
        if self._remapped and not found.remapped:
            msg = "the engine doesn't remap users: start dockerd with --userns-remap, or unset DEP_MCP_USERNS"
            raise HardeningError(msg)
        usual = name == USUAL_RUNTIME and not found.remapped
        if always or not (usual or self._probed):
            await require_effect(self.start, image, runtime=name, remapped=found.remapped)
            self._probed = True
        return f"{name}, users {'are others outside' if found.remapped else 'as outside'}"

    async def evidence(self, image: str, container_id: str) -> Mapping[str, bytes]:
        """All that the engine shows or stores of an image and a running container, by what it is.

        Args:
            image: Digest.
            container_id: Of a container that runs it.

        Raises:
            EngineError: No engine answers.
        """
        return await self._engine.evidence(image, container_id)

    async def remove_image(self, image: str) -> None:
        """Remove an image; what still uses it keeps it.

        Raises:
            EngineError: No engine answers.
        """
        await self._engine.remove_image(image)

    async def reap(self) -> int:
        """Remove containers whose orchestrator process is dead; return how many.

        Only processes of this host and process-id namespace are judged; others are left alone.
        """
        count = 0
        for container in await self._engine.labelled_containers(OWNER_LABEL):
            owner = Owner.parse(container.labels.get(OWNER_LABEL, ""))
            if owner is not None and owner.is_dead():
                await self._engine.remove(container.id)
                count += 1
        return count


class _Life:
    """One container from creation to removal; knows how far it got."""

    def __init__(self, engine: ContainerEngine, spec: ContainerSpec) -> None:
        self._engine = engine
        self._spec = spec
        self._id: str | None = None
        self._attached: AttachedContainer | None = None

    async def begin(self) -> AttachedContainer:
        self._id = await self._engine.create(create_request(self._spec))
        inspected = await self._engine.inspect(self._id)
        require(inspected, self._spec)
        exited = await self._engine.watch_exit(self._id)
        # before the start, or its first bytes are lost
        wire = await self._engine.attach(self._id)
        self._attached = AttachedContainer(
            self._id,
            wire,
            exited,
            image=str(inspected.get("Image", "")),
            stderr_bytes=self._spec.stderr_bytes,
        )
        await self._engine.start_container(self._id)
        return self._attached

    async def end(self) -> None:
        """Leave nothing behind; an engine that is gone is left to its own clean-up at the end of input."""
        if self._attached is not None:
            await self._attached.hang_up(GRACE_S)
        if self._id is None:
            return
        try:
            await self._engine.remove(self._id)
        except EngineError as exc:
            _log.warning("container %s could not be removed: %s", self._id[:12], exc)
