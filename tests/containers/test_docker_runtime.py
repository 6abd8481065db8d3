"""The life of containers on a real engine: nothing lost, nothing left."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.containers import BuildSpec, ContainerSpec, DockerRuntime, Image, Owner
from dep_mcp.containers.attached import AttachedContainer
from dep_mcp.protocol.errors import (
    ContainerLostError,
    EngineError,
    HardeningError,
    ImageBuildError,
)

pytestmark = pytest.mark.docker

Ask = Callable[..., Awaitable[str]]
Inspect = Callable[[str], Mapping[str, Any] | None]

ROOT = Path(__file__).parents[2]
CLIENT = """
import asyncio, sys
from dep_mcp.containers import ContainerSpec, DockerRuntime

async def main():
    spec = ContainerSpec(image=sys.argv[1], labels={})
    async with DockerRuntime() as runtime, runtime.start(spec) as container:
        print(container.id, runtime.orchestrator_id, flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""


def a_client(image: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", CLIENT, image]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True)


async def gone(inspect: Inspect, container_id: str, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if inspect(container_id) is None:
            return True
        await asyncio.sleep(0.05)
    return False


def test_importing_the_room_loads_no_vendor() -> None:
    """`dep-mcp --help` must not wait for an SDK."""
    code = "import sys, dep_mcp.containers; assert not {'docker', 'requests'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


async def test_the_engine_says_its_name(runtime: DockerRuntime) -> None:
    """The first question of `doctor`."""
    assert (await runtime.ping()).split()[0] in {"docker", "podman"}


@pytest.mark.parametrize("turn", range(5))
async def test_the_first_bytes_are_not_lost(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask, turn: int) -> None:
    """The program greets before anyone could attach to it after its start."""
    del turn
    async with runtime.start(spec) as container:
        assert await ask(container) == "first line, before anything was asked"


async def test_large_lines_pass_both_ways(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask) -> None:
    """A page of items is megabytes on one line."""
    size = 4 << 20
    async with runtime.start(spec) as container:
        await ask(container)

        assert len(await ask(container, f"large {size}")) == size
        assert await ask(container, "length " + "x" * size) == str(size)


async def test_a_container_waits_for_a_slow_reader(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask) -> None:
    """50 MB that nobody reads must not come to lie in this process; and none of it may be lost."""
    async with runtime.start(spec) as container:
        await ask(container)
        await container.write(b"flood 50000\n")
        await asyncio.sleep(1)

        assert isinstance(container, AttachedContainer)
        assert container._lines._size < 4 << 20
        async with asyncio.timeout(60):
            number = 0
            async for line in container.lines():
                assert int(line) == number
                number += 1
                if number == 50_000:
                    break


async def test_errors_are_drained_while_nobody_reads_lines(
    runtime: DockerRuntime, spec: ContainerSpec, ask: Ask
) -> None:
    """A library that logs much would else stop its server; only the end is kept."""
    async with runtime.start(spec) as container:
        await ask(container)
        await container.write(b"flood-errors 5000000\necho there\n")

        assert await ask(container) == "flooded"
        assert await ask(container) == "there"
        assert container.stderr_tail() == "e" * 8192


async def test_a_dying_container_ends_its_lines_with_last_words(
    runtime: DockerRuntime, spec: ContainerSpec, ask: Ask
) -> None:
    """They are all that explains a server that died on its data."""
    async with runtime.start(spec) as container:
        await ask(container)
        await container.write(b"die 7\n")

        assert [line async for line in container.lines()] == []
        assert container.stderr_tail() == "last words\n"
        assert await container.exit_status() == 7
        with pytest.raises(ContainerLostError, match="status 7"):
            await container.write(b"echo\n")


async def test_an_image_that_ends_at_once_is_no_special_case(
    runtime: DockerRuntime, base: str, spec: ContainerSpec
) -> None:
    """Its exit status is known although it is removed before anyone could ask."""
    files = {"Dockerfile": b'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCMD ["python3", "-c", "exit(3)"]\n'}
    brief = await runtime.ensure_image(BuildSpec(name="test-brief", files=files, build_args={"BASE_IMAGE": base}))

    async with runtime.start(replace(spec, image=brief.digest)) as container:
        assert [line async for line in container.lines()] == []
        assert await container.exit_status() == 3


async def test_a_blocked_write_ends_when_the_container_does(
    runtime: DockerRuntime, spec: ContainerSpec, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's buffers fill when the program doesn't read; a wait for ever would hang the runner."""
    monkeypatch.setattr("dep_mcp.containers.attached.QUIET_S", 0.5)
    async with runtime.start(spec) as container:
        await ask(container)
        await container.write(b"hold\n")
        writing = asyncio.create_task(container.write(b"x" * (64 << 20)))
        await asyncio.sleep(0.5)
        killed = await asyncio.to_thread(subprocess.run, ["docker", "kill", container.id], capture_output=True)

        assert killed.returncode == 0
        async with asyncio.timeout(20):
            with pytest.raises(ContainerLostError):
                await writing


async def test_a_container_is_gone_after_its_block(
    runtime: DockerRuntime, spec: ContainerSpec, inspect: Inspect, ask: Ask
) -> None:
    """Whatever is left costs memory until a reboot."""
    async with runtime.start(spec) as container:
        await ask(container)
        assert inspect(container.id) is not None

    assert inspect(container.id) is None
    assert await container.exit_status() == 0


async def test_a_container_is_gone_after_an_error(
    runtime: DockerRuntime, spec: ContainerSpec, inspect: Inspect
) -> None:
    """The error comes through as it was."""
    with pytest.raises(ZeroDivisionError):
        async with runtime.start(spec) as container:
            raise ZeroDivisionError

    assert inspect(container.id) is None


async def test_a_container_that_ignores_its_end_is_killed(
    runtime: DockerRuntime, spec: ContainerSpec, inspect: Inspect, ask: Ask
) -> None:
    """Two seconds of grace, then force."""
    async with runtime.start(spec) as container:
        await ask(container)
        await container.write(b"hang\n")
        began = time.monotonic()

    assert inspect(container.id) is None
    assert time.monotonic() - began < 8


async def test_a_container_is_gone_after_cancellation(
    runtime: DockerRuntime, spec: ContainerSpec, inspect: Inspect, ask: Ask
) -> None:
    """Ctrl-C is the commonest end of an evaluation."""
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def work() -> None:
        async with runtime.start(spec) as container:
            await ask(container)
            started.set_result(container.id)
            await asyncio.sleep(600)

    task = asyncio.create_task(work())
    container_id = await started
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert inspect(container_id) is None


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05, 0.1])
async def test_a_start_that_is_cancelled_leaves_nothing(
    runtime: DockerRuntime, spec: ContainerSpec, after_s: float
) -> None:
    """A thread may be creating the container just then."""
    marked = replace(spec, labels={"org.dep-mcp.test": f"cancelled-{after_s}"})

    async def work() -> None:
        async with runtime.start(marked):
            await asyncio.sleep(600)

    task = asyncio.create_task(work())
    await asyncio.sleep(after_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    left = await runtime._engine.labelled_containers(f"org.dep-mcp.test=cancelled-{after_s}")
    assert left == []


async def test_many_start_at_once(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask) -> None:
    """The threads that wait for exits must not starve those that start."""

    async def work(number: int) -> str:
        async with runtime.start(spec) as container:
            await ask(container)
            return await ask(container, f"echo {number}")

    async with asyncio.TaskGroup() as tasks:
        works = [tasks.create_task(work(number)) for number in range(12)]

    assert [int(one.result()) for one in works] == list(range(12))


async def test_an_engine_that_applies_less_starts_nothing(
    runtime: DockerRuntime, spec: ContainerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some engines ignore what they don't know; that must stop the evaluation, not weaken it."""
    engine = runtime._engine
    create = engine.create
    ids: list[str] = []

    async def create_weaker(request: dict[str, Any]) -> str:
        request["HostConfig"]["CapDrop"] = []
        ids.append(await create(request))
        return ids[-1]

    monkeypatch.setattr(engine, "create", create_weaker)
    with pytest.raises(HardeningError, match="CapDrop"):
        async with runtime.start(spec):
            pytest.fail("it was started")

    with pytest.raises(EngineError):
        await engine.inspect(ids[0])


async def test_an_image_with_a_volume_is_refused(runtime: DockerRuntime, base: str, spec: ContainerSpec) -> None:
    """A volume is a writable place on the host, which an image can ask for by itself."""
    files = {"Dockerfile": b"ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nVOLUME /data\n"}
    image = await runtime.ensure_image(BuildSpec(name="test-volume", files=files, build_args={"BASE_IMAGE": base}))

    with pytest.raises(HardeningError, match="Mounts"):
        async with runtime.start(replace(spec, image=image.digest)):
            pytest.fail("it was started")


async def test_a_missing_image_says_so(runtime: DockerRuntime, spec: ContainerSpec) -> None:
    """Someone pruned the engine between build and start."""
    with pytest.raises(EngineError, match="image"):
        async with runtime.start(replace(spec, image="sha256:" + "0" * 64)):
            pytest.fail("it was started")


async def test_a_killed_client_leaves_nothing(image: Image, inspect: Inspect) -> None:
    """Its input ends with its client, the server ends with its input, the engine removes it."""
    with a_client(image.digest) as client:
        assert client.stdout is not None
        container_id = client.stdout.readline().split()[0]
        assert inspect(container_id) is not None
        client.send_signal(signal.SIGKILL)

        assert await gone(inspect, container_id, within_s=10)


async def test_the_reaper_removes_orphans_only(
    runtime: DockerRuntime, spec: ContainerSpec, image: Image, inspect: Inspect, ask: Ask
) -> None:
    """An orphan is a container of a dead process that doesn't end at the end of its input."""
    with a_client(image.digest) as client:
        assert client.stdout is not None
        living, owner = client.stdout.readline().split()
        identity = Owner.parse(owner)
        assert identity is not None
        dead = str(replace(identity, started="1"))
        async with DockerRuntime(dead) as theirs, theirs.start(spec) as orphan, runtime.start(spec) as ours:
            for container in (orphan, ours):
                await ask(container)

            assert await runtime.reap() == 1

            assert inspect(orphan.id) is None
            assert inspect(ours.id) is not None
            assert inspect(living) is not None
        client.kill()
        assert await gone(inspect, living, within_s=10)


@pytest.mark.parametrize("host", ["unix:///nonexistent/docker.sock", "tcp://127.0.0.1:1"])
async def test_no_engine_says_what_to_do(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """The first thing that goes wrong on a new machine; it must go wrong at once."""
    monkeypatch.setenv("DOCKER_HOST", host)
    began = time.monotonic()
    async with DockerRuntime() as runtime:
        for attempt in (runtime.ping(), runtime.reap(), runtime.base_image(None)):
            with pytest.raises(EngineError, match="dep-mcp setup") as failure:
                await attempt
            assert host in failure.value.detail

    assert time.monotonic() - began < 5


async def test_an_image_is_found_again(
    runtime: DockerRuntime, build_spec: BuildSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`dep-mcp run` asks for it every time."""
    first = await runtime.ensure_image(build_spec)
    monkeypatch.setattr(runtime._engine, "build", None)
    began = time.monotonic()

    assert await runtime.ensure_image(build_spec) == first
    assert time.monotonic() - began < 0.5


async def test_two_builders_at_once_end_with_one_image(base: str) -> None:
    """Two evaluations of one benchmark started on a fresh machine."""
    files = {
        "Dockerfile": b"ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN head -c 8 /dev/urandom > /x\n",
        "y": os.urandom(8),
    }
    spec = BuildSpec(name="test-race", files=files, build_args={"BASE_IMAGE": base})
    heard: list[str] = []
    async with DockerRuntime(on_build=heard.append) as one, DockerRuntime() as other:
        images = await asyncio.gather(one.ensure_image(spec), other.ensure_image(spec), one.ensure_image(spec))
        last = await one.ensure_image(spec)

    await asyncio.to_thread(subprocess.run, ["docker", "rmi", "-f", last.tag], capture_output=True, check=True)
    assert {image.tag for image in images} == {last.tag}
    assert sum("Successfully built" in line for line in heard) == 1
    assert any("RUN head" in line for line in heard)


@pytest.mark.parametrize(
    ("line", "shown"),
    [(b"RUN echo so far; exit 3", "exit 3"), (b"NONSENSE", "NONSENSE"), (b"COPY absent /", "absent")],
)
async def test_a_broken_dockerfile_shows_its_line(runtime: DockerRuntime, base: str, line: bytes, shown: str) -> None:
    """A benchmark's author sees what to mend, without a second look at the engine."""
    files = {"Dockerfile": b"ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\n" + line + b"\n"}
    spec = BuildSpec(name="test-broken", files=files, build_args={"BASE_IMAGE": base})

    with pytest.raises(ImageBuildError, match="test-broken") as failure:
        await runtime.ensure_image(spec)

    assert shown in failure.value.detail
