"""Whether a seal has effect: the probe against weakened containers, and against engines that isolate otherwise."""

import json
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from dep_mcp.containers import DockerRuntime
from dep_mcp.containers.effect import SCRATCH_MB, require_effect
from dep_mcp.containers.hardening import MIB, PIDS, create_request
from dep_mcp.containers.port import ContainerSpec
from dep_mcp.protocol.errors import HardeningError
from tests.e2e.own_engine import OwnEngine, own_engine

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""


def without(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Changes one field of the engine's create request."""

    def change(request: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        for key in parents:
            request = request[key]
        request[last] = value

    return change


def ulimits(request: dict[str, Any]) -> None:
    host = request["HostConfig"]
    host["Ulimits"] = [one for one in host["Ulimits"] if one["Name"] != "fsize"]


def unconfined(request: dict[str, Any]) -> None:
    request["HostConfig"]["SecurityOpt"] = ["no-new-privileges:true", "seccomp=unconfined"]


def new_privileges(request: dict[str, Any]) -> None:
    host = request["HostConfig"]
    host["SecurityOpt"] = [option for option in host["SecurityOpt"] if not option.startswith("no-new")]


def memory(request: dict[str, Any]) -> None:
    request["HostConfig"] |= {"Memory": 512 * MIB, "MemorySwap": 512 * MIB}


WEAKENED: dict[str, Callable[[dict[str, Any]], None]] = {
    "no network": without("HostConfig.NetworkMode", "bridge"),
    "no capabilities": without("HostConfig.CapDrop", []),
    "user": without("User", "0:0"),
    "no new privileges": new_privileges,
    "read-only root": without("HostConfig.ReadonlyRootfs", value=False),
    "system calls": unconfined,
    "scratch space": without("HostConfig.Tmpfs", {"/tmp": f"rw,exec,nosuid,nodev,size={SCRATCH_MB}m,mode=1777"}),
    "fsize limit": ulimits,
    "process limit": without("HostConfig.PidsLimit", 10 * PIDS),
    "memory limit": memory,
}


class Weakened:
    """Runs the probe as an engine would on which one flag doesn't take."""

    def __init__(self, change: Callable[[dict[str, Any]], None]) -> None:
        self._change = change
        self._said, self._words = b"", ""

    @asynccontextmanager
    async def __call__(self, spec: ContainerSpec) -> AsyncGenerator["Weakened"]:
        request: Any = create_request(spec)
        self._change(request)
        request["HostConfig"] |= {"AutoRemove": False, "LogConfig": {"Type": "json-file"}}
        with docker.APIClient() as client:
            made = client.create_container_from_config(request)["Id"]
            try:
                client.start(made)
                client.wait(made, timeout=60)
                self._said = client.logs(made, stderr=False)
                self._words = client.logs(made, stdout=False).decode()
            finally:
                client.remove_container(made, force=True)
        yield self

    async def lines(self) -> AsyncGenerator[bytes]:
        for line in self._said.splitlines():
            yield line

    def stderr_tail(self) -> str:
        return self._words


@pytest.mark.parametrize("name", WEAKENED)
async def test_a_flag_without_effect_is_noticed_from_inside(name: str) -> None:
    """An engine that shows a flag and doesn't apply it; whoever trusts inspections alone would trust it."""
    async with DockerRuntime() as runtime:
        base = await runtime.base_image(os.environ.get("DEP_MCP_BASE_IMAGE"))
    start: Any = Weakened(WEAKENED[name])
    with pytest.raises(HardeningError, match=f"{name}: "):
        await require_effect(start, base, runtime="weakened", remapped=False)
    start = Weakened(lambda _request: None)
    with pytest.raises(HardeningError, match="users: "):
        await require_effect(start, base, runtime="weakened", remapped=True)
    await require_effect(start, base, runtime="weakened", remapped=False)


async def test_what_the_engine_lacks_is_refused_by_name() -> None:
    """Before anything is started."""
    async with DockerRuntime(runtime="nosuch") as runtime:
        with pytest.raises(HardeningError, match="nosuch"):
            await runtime.require_effect("any")
    async with DockerRuntime(remapped=True) as runtime:
        with pytest.raises(HardeningError, match="remap"):
            await runtime.require_effect("any")


def test_users_that_are_others_outside_are_used_and_checked(cli: Cli, toy_answers: Path) -> None:
    """A whole evaluation on an engine with remapped users, which the other engine's absence of is refused."""
    for path in (Path("/etc/subuid"), Path("/etc/subgid")):
        if "nobody:" not in (path.read_text() if path.exists() else ""):
            with path.open("a") as file:
                file.write("nobody:200000:65536\n")
    with own_engine("--userns-remap=nobody:nogroup") as engine:
        settings = {"DOCKER_HOST": engine.host, "DEP_MCP_USERNS": "1"}
        doctor = cli("doctor", **settings)
        assert "others outside" in doctor.stdout, doctor.stdout
        done = evaluate(cli, toy_answers, **settings)
        assert done.returncode == 0, done.stderr
        assert [document["report"]["overall"]["value"] for document in json.loads(done.stdout)] == [1.0]
    refused = evaluate(cli, toy_answers, DEP_MCP_USERNS="1")
    assert refused.returncode == 2
    assert "remap" in refused.stderr


def evaluate(cli: Cli, answers: Path, **settings: str) -> Any:
    model = answers.with_name("model.py")
    model.write_text(
        "def answer(messages, generation):\n    return f\"target-{int(messages[-1]['content'].split(' + ')[0]) + 1}\"\n"
    )
    return cli("run", "-b", "toy", "-m", f"callable:{model}:answer", "--json", "--limit", "50", **settings)


RUNSC = {
    "runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--platform=ptrace", "--ignore-cgroups", "--network=none"]}
}


@pytest.fixture(scope="module")
def gvisor() -> Any:
    """An engine that has gVisor's runtime, with its limits of memory and processes off."""
    if shutil.which("runsc") is None:
        pytest.skip("gVisor's runsc isn't here: apt-get install runsc")
    with own_engine(config=json.dumps({"runtimes": RUNSC})) as engine:
        yield engine


def test_a_runtime_that_applies_less_is_refused_with_the_reason(cli: Cli, toy_answers: Path, gvisor: OwnEngine) -> None:
    """Its inspection shows the limit of memory; a program inside can take what it likes."""
    refused = evaluate(cli, toy_answers, DOCKER_HOST=gvisor.host, DEP_MCP_RUNTIME="runsc")
    assert refused.returncode == 2
    for named in ("under runtime runsc", "memory limit: ", "process limit: ", "system calls: "):
        assert named in refused.stderr, refused.stderr
    well = evaluate(cli, toy_answers, DOCKER_HOST=gvisor.host)
    assert well.returncode == 0, well.stderr
