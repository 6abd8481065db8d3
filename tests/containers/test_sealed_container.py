"""The seal on a real engine: what it applied, and what a program inside can't do."""

import platform
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from dep_mcp.containers import ContainerSpec, DockerRuntime, verify
from dep_mcp.protocol.errors import ContainerLostError

pytestmark = pytest.mark.docker

Ask = Callable[..., Awaitable[str]]
Inspect = Callable[[str], Mapping[str, Any] | None]

NOT_PERMITTED = "Operation not permitted"
DENIED = {
    "inet": NOT_PERMITTED,
    "inet6": NOT_PERMITTED,
    "netlink": NOT_PERMITTED,
    "write-root": "Read-only file system",
    "write-etc": "Read-only file system",
    "exec-tmp": "Permission denied",
    "fill-tmp": "No space left on device",
    "large-file": "File too large",
    "open-files": "Too many open files",
    "setuid": NOT_PERMITTED,
    "setgid": NOT_PERMITTED,
    "ptrace": NOT_PERMITTED,
    "process-vm-readv": NOT_PERMITTED,
    "memfd": NOT_PERMITTED,
    "io-uring": NOT_PERMITTED,
    "userfaultfd": NOT_PERMITTED,
    "keyctl": NOT_PERMITTED,
    "add-key": NOT_PERMITTED,
    "unshare": NOT_PERMITTED,
    "mount": NOT_PERMITTED,
    "bpf": NOT_PERMITTED,
    "perf": NOT_PERMITTED,
    "shmget": NOT_PERMITTED,
    "clone-newuser": NOT_PERMITTED,
}


async def test_every_flag_is_applied_to_the_running_container(
    runtime: DockerRuntime, spec: ContainerSpec, inspect: Inspect, ask: Ask
) -> None:
    """Literally, from the engine's own client: not what was asked for, but what is."""
    async with runtime.start(spec) as container:
        await ask(container)
        found = inspect(container.id)
    assert found is not None

    host, config = found["HostConfig"], found["Config"]
    assert found["State"]["Running"]
    assert host["NetworkMode"] == "none"
    assert list(found["NetworkSettings"]["Networks"]) == ["none"]
    assert host["ReadonlyRootfs"] is True
    assert host["Tmpfs"] == {"/tmp": "rw,noexec,nosuid,nodev,size=64m,mode=1777"}
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert host["SecurityOpt"][0] == "no-new-privileges:true"
    assert host["SecurityOpt"][1].startswith("seccomp={")
    assert len(host["SecurityOpt"]) == 2
    assert host["IpcMode"] == "none"
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"]) == ("", "", "")
    assert host["PidsLimit"] == 64
    assert host["Memory"] == host["MemorySwap"] == 128 << 20
    assert host["NanoCpus"] == 1_000_000_000
    assert {(one["Name"], one["Soft"], one["Hard"]) for one in host["Ulimits"]} == {
        ("nofile", 256, 256),
        ("core", 0, 0),
        ("fsize", 32 << 20, 32 << 20),
    }
    assert host["LogConfig"]["Type"] == "none"
    assert host["Init"] is True
    assert host["AutoRemove"] is True
    assert found["Mounts"] == []
    assert not host["Binds"]
    assert not host["Devices"]
    assert not host["PortBindings"]
    assert config["User"] == "65532:65532"
    assert (config["OpenStdin"], config["StdinOnce"], config["Tty"]) == (True, True, False)
    assert config["Labels"]["org.dep-mcp.orchestrator"] == runtime.orchestrator_id
    assert config["Labels"]["org.dep-mcp.created"].endswith("+00:00")
    assert config["Labels"]["org.dep-mcp.test"] == "containers"
    assert verify(found, spec) == []


async def test_the_kernel_agrees(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask) -> None:
    """An inspection is what the engine says; this is what the process has."""
    async with runtime.start(spec) as container:
        await ask(container)

        assert await ask(container, "status") == f"{'0' * 16} {'0' * 16} 1 2 65532\t65532\t65532\t65532"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the program calls the kernel by number")
@pytest.mark.parametrize(("deed", "answer"), DENIED.items())
async def test_an_attack_from_inside_fails(
    runtime: DockerRuntime, spec: ContainerSpec, ask: Ask, deed: str, answer: str
) -> None:
    """Code inside may be a scorer with a bug, or a program that a model wrote."""
    async with runtime.start(spec) as container:
        await ask(container)

        assert await ask(container, deed) == answer


@pytest.mark.parametrize("deed", ["unix", "write-tmp"])
async def test_what_a_server_needs_still_works(
    runtime: DockerRuntime, spec: ContainerSpec, ask: Ask, deed: str
) -> None:
    """An event loop needs a socket pair, libraries a scratch file."""
    async with runtime.start(spec) as container:
        await ask(container)

        assert await ask(container, deed) == "done"


async def test_a_fork_bomb_is_bounded(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask) -> None:
    """And the container still answers afterwards."""
    async with runtime.start(spec) as container:
        await ask(container)

        assert 0 < int(await ask(container, "fork-bomb")) < 64
        assert await ask(container, "echo alive") == "alive"


async def test_a_memory_hog_is_killed_and_lost(runtime: DockerRuntime, spec: ContainerSpec, ask: Ask) -> None:
    """The host lives, and the orchestrator hears of it as a loss that it can mend."""
    async with runtime.start(spec) as container:
        await ask(container)
        await container.write(b"hog\n")

        assert [line async for line in container.lines()] == []
        assert await container.exit_status() == 137
        with pytest.raises(ContainerLostError, match="137"):
            await container.write(b"echo\n")
