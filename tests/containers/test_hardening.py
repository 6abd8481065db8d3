"""The table of the seal: what it asks for is complete, and anything less is noticed."""

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from dep_mcp.containers.hardening import (
    REQUIREMENTS,
    Requirement,
    create_request,
    require,
    seccomp_profile,
    verify,
)
from dep_mcp.containers.port import ContainerSpec
from dep_mcp.protocol.errors import HardeningError

SPEC = ContainerSpec(image="sha256:" + "a" * 64, labels={"owner": "me"}, memory_mb=200, cpus=0.5, runtime="runsc")

WEAKER: Mapping[str, list[object]] = {
    "no network": ["bridge", "host", "default", None],
    "no ports": [{"80/tcp": [{"HostPort": "80"}]}],
    "no published ports": [True],
    "read-only root": [False, None],
    "scratch space": [{"/tmp": "rw,size=64m"}, {}, None, {"/tmp": "", "/var": ""}],
    "no mounts": [[{"Type": "volume", "Destination": "/data"}]],
    "no binds": [["/:/host"]],
    "no shared volumes": [["other"]],
    "no devices": [[{"PathOnHost": "/dev/kvm"}]],
    "no device requests": [[{"Driver": "nvidia"}]],
    "no device rules": [["c 1:1 rwm"]],
    "no capabilities": [[], None, ["NET_RAW"]],
    "no added capabilities": [["SYS_ADMIN"]],
    "not privileged": [True, None],
    "user": ["", "0", "root", "65532"],
    "no added groups": [["0"]],
    "no new privileges": [[], None, ["no-new-privileges:false"]],
    "system calls": [[], None, ["seccomp=unconfined"], ["seccomp={}"], ["seccomp"]],
    "AppArmor not switched off": ["unconfined"],
    "masked paths": [[], None],
    "read-only paths": [[], None],
    "no shared memory": ["shareable", "host", "private", ""],
    "own processes": ["host", "container:abc"],
    "own host name": ["host"],
    "own users": ["host"],
    "process limit": [0, -1, None, 1000],
    "memory limit": [0, 1 << 40],
    "no swap": [-1, 0, 1 << 40],
    "killed when out of memory": [True],
    "processor limit": [0, 1_000_000_000],
    "nofile limit": [[], None, [{"Name": "nofile", "Soft": 256, "Hard": 1024}]],
    "core limit": [[], [{"Name": "core", "Soft": 0, "Hard": -1}]],
    "fsize limit": [[], [{"Name": "fsize", "Soft": -1, "Hard": -1}]],
    "no log": ["json-file", "journald"],
    "init": [False, None],
    "own input": [False],
    "input ends": [False, None],
    "no terminal": [True],
    "removed at exit": [False],
    "no restart": ["always", "unless-stopped"],
    "labels": [{}, None, {"owner": "you"}],
    "runtime": ["runc", "", None],
    "image": ["sha256:" + "b" * 64],
}
FORBIDDEN = [
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "pidfd_getfd",
    "io_uring_setup",
    "io_uring_enter",
    "userfaultfd",
    "memfd_create",
    "memfd_secret",
    "keyctl",
    "add_key",
    "request_key",
    "mount",
    "umount2",
    "unshare",
    "setns",
    "shmget",
    "semget",
    "msgget",
    "ipc",
    "bpf",
    "perf_event_open",
    "socketcall",
    "init_module",
    "kexec_load",
    "reboot",
    "swapon",
]
CASES = [(one, value) for one in REQUIREMENTS for value in WEAKER[one.name]]


def an_inspection() -> dict[str, Any]:
    """What an engine says of a container on which everything was applied."""
    request = create_request(SPEC)
    host = request.pop("HostConfig")
    assert isinstance(host, dict)
    host |= {"MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"], "Binds": None, "PidMode": ""}
    return {"Image": SPEC.image, "Mounts": [], "AppArmorProfile": "", "Config": request, "HostConfig": host}


def put(inspection: dict[str, Any], path: str, value: object) -> None:
    *parents, last = path.split(".")
    for key in parents:
        inspection = inspection.setdefault(key, {})
    inspection[last] = value


def test_what_was_asked_for_satisfies_the_check() -> None:
    """A check that nothing passes would stop every evaluation."""
    assert verify(an_inspection(), SPEC) == []
    require(an_inspection(), SPEC)


def test_every_requirement_has_a_weakened_case() -> None:
    """So that a new line of the table can't go untested."""
    assert [one.name for one in REQUIREMENTS] == list(WEAKER)


@pytest.mark.parametrize(("requirement", "value"), CASES, ids=lambda x: getattr(x, "name", repr(x)[:30]))
def test_anything_less_is_noticed(requirement: Requirement, value: object) -> None:
    """One flag that an engine ignores is enough to lose the targets."""
    weakened = copy.deepcopy(an_inspection())
    put(weakened, requirement.path, value)

    problems = verify(weakened, SPEC)

    assert any(problem.startswith(requirement.name) for problem in problems)
    with pytest.raises(HardeningError, match=requirement.path):
        require(weakened, SPEC)


def test_an_engine_that_says_nothing_is_not_trusted() -> None:
    """An empty inspection must fail on everything that was asked for."""
    failed = verify({}, SPEC)

    assert len(failed) >= sum(one.asked for one in REQUIREMENTS)


def test_a_second_profile_is_noticed() -> None:
    """Of two seccomp options the engine takes the last."""
    inspection = an_inspection()
    inspection["HostConfig"]["SecurityOpt"].append("seccomp=unconfined")

    assert [problem.split(" (")[0] for problem in verify(inspection, SPEC)] == ["system calls"]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_profile_lacks_what_reads_other_processes_or_leaves(name: str) -> None:
    """The engine's default profile allows ptrace and io_uring."""
    profile = json.loads(seccomp_profile())
    allowed = {n for group in profile["syscalls"] if group["action"] == "SCMP_ACT_ALLOW" for n in group["names"]}

    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    assert name not in allowed


def test_the_profile_allows_only_local_sockets_and_one_call_table() -> None:
    """The 32-bit table has `socketcall`, whose arguments a filter can't see."""
    profile = json.loads(seccomp_profile())
    socket = [group for group in profile["syscalls"] if "socket" in group["names"]]

    assert [group["args"] for group in socket] == [[{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]]
    assert all(not arch["subArchitectures"] for arch in profile["archMap"])
