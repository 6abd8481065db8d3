"""Images named by their content: found, or built once from files. Knows no vendor; asks an `ImageEngine`."""

import asyncio
import hashlib
import io
import json
import re
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

from dep_mcp.containers.engine import Found, ImageEngine
from dep_mcp.containers.port import BuildSpec, Image
from dep_mcp.protocol.errors import EngineError, ImageBuildError

CONTENT_LABEL = "org.dep-mcp.content"
BASE_NAME = "dep-mcp/base:python"
BASE_PYTHONS = ("3.13", "3.12", "3.11")
BASE_ARG = "BASE_IMAGE"
OFFICIAL_BASE = "python:3.11-slim-bookworm"
PULL_TIMEOUT_S = 300.0
SHOWN_LINES = 15
IN_MEMORY_BYTES = 16 << 20

_STEP = re.compile(r"Step \d+/\d+ : ")
_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


def content_digest(spec: BuildSpec, *, base_id: str | None) -> str:
    """SHA-256, in hex, of all that decides what the image holds.

    That is every file's path and hash, the build arguments, and the base by its id: not by its name, which
    differs from one machine to the next.
    """
    args = {name: value for name, value in spec.build_args.items() if name != BASE_ARG}
    content = {"files": sorted(_file_hashes(spec).items()), "args": sorted(args.items()), "base": base_id}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def image_tag(spec: BuildSpec, digest: str) -> str:
    """The tag of that content: `dep-mcp/<name>:<first 16 hex digits>`."""
    return f"dep-mcp/{spec.name}:{digest[:16]}"


def write_context(spec: BuildSpec, out: IO[bytes]) -> None:
    """Write the build context as a tar that depends on content alone: no times, owners or host modes."""
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, source in sorted(spec.files.items()):
            with _opened(source) as stream:
                member = tarfile.TarInfo(path)
                member.size = stream.seek(0, io.SEEK_END)
                stream.seek(0)
                member.mode = 0o755 if stream.read(2) == b"#!" else 0o644
                stream.seek(0)
                tar.addfile(member, stream)


def _opened(source: Path | bytes) -> AbstractContextManager[IO[bytes]]:
    return nullcontext(io.BytesIO(source)) if isinstance(source, bytes) else source.open("rb")


def _file_hashes(spec: BuildSpec) -> dict[str, str]:
    hashes = {}
    for path, source in spec.files.items():
        with _opened(source) as stream:
            digest = hashlib.sha256()
            while block := stream.read(1 << 20):
                digest.update(block)
            hashes[path] = digest.hexdigest()
    return hashes


async def base_image(engine: ImageEngine, explicit: str | None = None) -> Found:
    """Choose the base image: the named one, else the official one, else one that `dep-mcp setup` made.

    Args:
        engine: Where to look.
        explicit: A tag or id that must be used, pulled if it isn't there.

    Raises:
        ImageBuildError: There is none, and none could be pulled.
        EngineError: No engine answers.
    """
    name = explicit or OFFICIAL_BASE
    if found := await engine.find_image(name):
        return found
    if explicit is None:
        for version in BASE_PYTHONS:  # by name: an engine takes long to list many images
            if found := await engine.find_image(f"{BASE_NAME}{version}"):
                return found
    try:
        await engine.pull(name, timeout_s=PULL_TIMEOUT_S)
    except EngineError as exc:
        message = f"there is no base image {name} here, and pulling it failed: {exc.detail}\n"
        advice = "Run `dep-mcp setup`, which builds a base image without a registry, or name one that is here."
        raise ImageBuildError(message + advice) from exc
    if found := await engine.find_image(name):
        return found
    message = f"base image {name} was pulled, but isn't there; check the engine's disk"
    raise ImageBuildError(message)


class ImageBuilder:
    """Finds or builds images.

    Args:
        engine: Where they are.
        on_build: Called with every line of a build's output.
    """

    def __init__(self, engine: ImageEngine, on_build: Callable[[str], None] | None = None) -> None:
        self._engine = engine
        self._on_build = on_build
        self._turns: dict[str, asyncio.Lock] = {}

    async def ensure(self, spec: BuildSpec) -> Image:
        """Return the image of that content, built now if it isn't there.

        A build in another process at the same time is harmless: both end under one tag.

        Raises:
            ImageBuildError: With the failing step and the last lines of the build's output.
            EngineError: No engine answers.
        """
        args, digest = await self._content(spec)
        tag = image_tag(spec, digest)
        async with self._turns.setdefault(tag, asyncio.Lock()):
            image = await self._find(tag, digest)
            if image is None:
                if spec.below is not None:
                    args = {**args, BASE_ARG: (await self.ensure(spec.below)).tag}
                await self._build(spec, tag, digest, args)
                image = await self._find(tag, digest)
        if image is None:
            message = f"image {tag} was built, but isn't there; check the engine's disk (`docker system df`)"
            raise ImageBuildError(message)
        return image

    async def _content(self, spec: BuildSpec) -> tuple[Mapping[str, str], str]:
        """The build arguments, and the digest of all that decides what the image holds, its base included."""
        args, base_id = await self._with_base(spec)
        if spec.below is not None:
            _, base_id = await self._content(spec.below)
        try:
            return args, await asyncio.to_thread(content_digest, spec, base_id=base_id)
        except OSError as exc:
            message = f"a file of image {spec.name} can't be read: {exc}"
            raise ImageBuildError(message) from exc

    async def _with_base(self, spec: BuildSpec) -> tuple[Mapping[str, str], str | None]:
        """The build arguments with the base filled in, if the Dockerfile asks for one."""
        dockerfile = spec.files.get("Dockerfile")
        if dockerfile is None or not _NAME.fullmatch(spec.name):
            message = f"image {spec.name!r} needs a lower-case name and a file `Dockerfile` in its context"
            raise ImageBuildError(message)
        text = dockerfile if isinstance(dockerfile, bytes) else await asyncio.to_thread(dockerfile.read_bytes)
        if BASE_ARG.encode() not in text or spec.below is not None:
            return spec.build_args, None
        base = await base_image(self._engine, spec.build_args.get(BASE_ARG))
        return {**spec.build_args, BASE_ARG: base.name}, base.id

    async def _find(self, tag: str, digest: str) -> Image | None:
        found = await self._engine.find_image(tag)
        if found is None or found.labels.get(CONTENT_LABEL) != digest:
            return None
        return Image(tag=tag, digest=found.id)

    async def _build(self, spec: BuildSpec, tag: str, digest: str, args: Mapping[str, str]) -> None:
        output = BuildOutput(self._on_build)
        with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as context:
            await asyncio.to_thread(write_context, spec, context)
            context.seek(0)
            problem = await self._engine.build(
                context,
                tag=tag,
                labels={CONTENT_LABEL: digest},
                build_args=args,
                network=spec.below is None,
                on_line=output.add,
            )
        if problem is not None:
            shown = "\n  ".join(output.last())
            message = f"building {tag} failed: {problem}\n  {shown}\n"
            raise ImageBuildError(
                message + "Mend what these lines name: the benchmark's code, its data, or its requirements.txt."
            )


class BuildOutput:
    """Remembers the end of a build's output and the step it was in."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        self._on_line = on_line
        self._step = ""
        self._last: deque[str] = deque(maxlen=SHOWN_LINES)

    def add(self, line: str) -> None:
        """Take one line."""
        if _STEP.match(line):
            self._step = line
        self._last.append(line)
        if self._on_line is not None:
            self._on_line(line)

    def last(self) -> list[str]:
        """The last lines, led by their step if it has scrolled out of them."""
        lines = list(self._last)
        return lines if not self._step or self._step in lines else [self._step, "…", *lines]
