"""What tests of real containers share: an engine, and a tiny image whose program does as it is told."""

import asyncio
import json
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.containers import BuildSpec, Container, ContainerSpec, DockerRuntime, Image
from dep_mcp.protocol.errors import ImageBuildError

PROGRAM = Path(__file__).parent / "program.py"
DOCKERFILE = b"""ARG BASE_IMAGE
FROM ${BASE_IMAGE}
COPY program.py /app/program.py
CMD ["python3", "-u", "/app/program.py"]
"""

Ask = Callable[..., Awaitable[str]]
Inspect = Callable[[str], Mapping[str, Any] | None]


@pytest.fixture
async def runtime() -> AsyncIterator[DockerRuntime]:
    async with DockerRuntime() as runtime:
        yield runtime


@pytest.fixture
async def base(runtime: DockerRuntime) -> str:
    """The base that a user would get, else one that some other tool of this machine made."""
    try:
        return await runtime.base_image(None)
    except ImageBuildError:
        command = ["docker", "images", "--filter", "label=docker-up", "--format", "{{.Repository}}:{{.Tag}}"]
        found = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        local = [tag for tag in found.stdout.split() if tag.startswith("local/")]
        return local[0] if local else pytest.skip("no base image: run `dep-mcp setup`")


@pytest.fixture
def build_spec(base: str) -> BuildSpec:
    return BuildSpec(
        name="test-program",
        files={"Dockerfile": DOCKERFILE, "program.py": PROGRAM},
        build_args={"BASE_IMAGE": base},
    )


@pytest.fixture
async def image(runtime: DockerRuntime, build_spec: BuildSpec) -> Image:
    return await runtime.ensure_image(build_spec)


@pytest.fixture
def spec(image: Image) -> ContainerSpec:
    return ContainerSpec(image=image.digest, labels={"org.dep-mcp.test": "containers"}, memory_mb=128)


@pytest.fixture
def ask() -> Ask:
    """Send one line to the program and return the line it answers."""

    async def ask(container: Container, request: str | None = None) -> str:
        if request is not None:
            await container.write(request.encode() + b"\n")
        lines = container.lines()
        assert isinstance(lines, AsyncGenerator)
        async with asyncio.timeout(30), aclosing(lines):
            line: bytes = await anext(lines)
        return line.decode()

    return ask


@pytest.fixture
def inspect() -> Inspect:
    """What the engine's own client says of a container; `None` once it is gone."""

    def inspect(container_id: str) -> Mapping[str, Any] | None:
        command = ["docker", "inspect", "--type", "container", container_id]
        found = json.loads(subprocess.run(command, capture_output=True, check=False).stdout or "[]")
        return found[0] if found else None

    return inspect
