"""The port to a container engine: `ContainerRuntime`, and what it is asked for.

No vendor is imported here; `docker_runtime` is the only door to the `docker` SDK.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class BuildSpec:
    """An image to be built from files, once per content.

    Attributes:
        name: Repository part of the tag.
        files: Path inside the build context, one of them `Dockerfile` → file on the host, or its bytes.
        build_args: Passed to the Dockerfile; part of the content. `BASE_IMAGE` counts by the id of its image,
            and is chosen if the Dockerfile names it and this doesn't.
        below: What it is built on, built first. From there on the build has no network.
    """

    name: str
    files: Mapping[str, Path | bytes]
    build_args: Mapping[str, str] = field(default_factory=dict)
    below: "BuildSpec | None" = None


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image: its tag (named by content) and the engine's content id, `sha256:…`."""

    tag: str
    digest: str


@dataclass(frozen=True, kw_only=True)
class ContainerSpec:
    """A sealed container to be started. Isolation isn't a choice: every container gets all of it.

    Attributes:
        image: The image's digest.
        labels: Set at creation, can't change; hold the orchestrator's id.
        memory_mb: Limit of memory; swap is off.
        cpus: Share of processors.
        scratch_mb: Size of `/tmp`, in memory and part of the limit above.
        stderr_bytes: How much of the end of its standard error is kept on the host.
        command: Runs instead of the image's own entry point.
        runtime: What the engine shall run it with, such as `runsc`; its default where empty.
    """

    image: str
    labels: Mapping[str, str]
    memory_mb: int = 256
    cpus: float = 1.0
    scratch_mb: int = 64
    stderr_bytes: int = 8 * 1024
    command: tuple[str, ...] = ()
    runtime: str = ""


class Container(Protocol):
    """A running sealed container, attached to before it was started."""

    id: str
    image: str
    """Digest of the image that the engine says it runs, from the inspection before its start."""

    def lines(self) -> AsyncIterator[bytes]:
        """Whole lines of its standard output; ends when the container is gone."""

    async def write(self, data: bytes) -> None:
        """Write to its standard input; waits while the container doesn't read.

        Raises:
            ContainerLostError: The container is gone.
        """

    def stderr_tail(self) -> str:
        """The end of its standard error, for the message when it dies."""

    async def exit_status(self) -> int | None:
        """Its exit status once it has ended, waited for at most a few seconds; `None` if it still runs."""


class ContainerRuntime(Protocol):
    """A container engine."""

    async def ping(self) -> str:
        """Say which engine answers, e.g. `docker 20.10.24`.

        Raises:
            EngineError: None does; the message says what to do.
        """

    async def base_image(self, explicit: str | None) -> str:
        """Choose the base that images are built on; return its tag.

        Raises:
            ImageBuildError: There is none here, and none could be pulled.
            EngineError: No engine answers.
        """

    async def ensure_image(self, spec: BuildSpec) -> Image:
        """Return the image of that content, built now if it isn't there.

        Raises:
            ImageBuildError: With the last lines of the build's output.
            EngineError: No engine answers.
        """

    def start(self, spec: ContainerSpec) -> AbstractAsyncContextManager[Container]:
        """Create, attach to, check and start a sealed container; it is gone when the block ends.

        Raises:
            HardeningError: The engine applied less than was asked for.
            EngineError: The engine refused or is gone.
        """

    async def require_effect(self, image: str) -> str:
        """Try whether the seal has effect, where the engine's isolation isn't the usual one.

        Args:
            image: With Python 3 in it.

        Raises:
            HardeningError: It has none.
            EngineError: No engine answers.
        """

    async def reap(self) -> int:
        """Remove containers whose orchestrator process is dead; return how many."""
