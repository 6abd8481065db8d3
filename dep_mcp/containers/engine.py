"""What this room needs of an engine, in its own words: the seam between `docker_runtime` and the rest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from dep_mcp.containers.wire import Wire

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, kw_only=True)
class Found:
    """An image or container that the engine knows.

    Attributes:
        id: The engine's id; of an image its content id, `sha256:…`.
        tags: Names of an image.
        labels: Its labels, for an image with those of its base.
    """

    id: str
    tags: Sequence[str] = ()
    labels: Mapping[str, str]

    @property
    def name(self) -> str:
        """What to call an image: its first tag, or its id."""
        return self.tags[0] if self.tags else self.id


@dataclass(frozen=True, kw_only=True)
class Isolation:
    """How an engine isolates, as it says itself.

    Attributes:
        runtime: Its default one.
        runtimes: All that it has.
        remapped: Whether users inside containers are others outside.
    """

    runtime: str
    runtimes: Sequence[str]
    remapped: bool


class ImageEngine(Protocol):
    """The image half of an engine. Every method raises `EngineError` if it doesn't answer."""

    async def find_image(self, name: str) -> Found | None:
        """The local image of that tag or id."""

    async def pull(self, name: str, *, timeout_s: float) -> None:
        """Fetch an image from its registry."""

    async def build(
        self,
        context: IO[bytes],
        *,
        tag: str,
        labels: Mapping[str, str],
        build_args: Mapping[str, str],
        network: bool,
        on_line: Callable[[str], None],
    ) -> str | None:
        """Build from a tar, with or without network; return what stopped it, or `None`.

        `on_line` is called in the loop's thread.
        """

    async def remove_image(self, image: str) -> None:
        """Remove it, unless something uses it."""


class ContainerEngine(Protocol):
    """The container half of an engine. Every method raises `EngineError` if it doesn't answer."""

    async def create(self, request: Mapping[str, object]) -> str:
        """Create a container from the engine's JSON; return its id."""

    async def inspect(self, container_id: str) -> Mapping[str, object]:
        """All the engine says of it."""

    async def attach(self, container_id: str) -> Wire:
        """Connect to its input, output and errors."""

    async def watch_exit(self, container_id: str) -> "asyncio.Future[int | None]":
        """Begin to wait for its next exit; registered with the engine on return."""

    async def start_container(self, container_id: str) -> None:
        """Start it."""

    async def remove(self, container_id: str) -> None:
        """Kill and remove it; returns when it is gone."""

    async def evidence(self, image: str, container_id: str) -> Mapping[str, bytes]:
        """All that is shown or stored of an image and a container that runs it, by what it is."""

    async def labelled_containers(self, label: str) -> Sequence[Found]:
        """All containers with the label, running or not."""
