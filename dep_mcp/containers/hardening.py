"""The seal as data: one table that is asked for at creation, checked in `docker inspect`, shown by `doctor`.

A path such as `HostConfig.Memory` names a field of the engine's own JSON, which reads the same in the create
request and in the inspection; so applying and verifying cannot drift apart. No vendor is imported here.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dep_mcp.containers.port import ContainerSpec
from dep_mcp.protocol.errors import HardeningError

USER = "65532:65532"
PIDS = 64
MIB = 1 << 20

Wanted = Callable[[ContainerSpec], object]
Holds = Callable[[object, object], bool]


@cache
def seccomp_profile() -> str:
    """The allow-list of system calls as compact JSON; the API takes the text, not a path."""
    text = (files("dep_mcp.containers") / "seccomp.json").read_text(encoding="utf-8")
    return json.dumps(json.loads(text), separators=(",", ":"))


def _equal(got: object, want: object) -> bool:
    return got == want


def _nothing(got: object, want: object) -> bool:
    """Engines spell an absent list, flag or string in several ways."""
    del want
    return not got


def _something(got: object, want: object) -> bool:
    del want
    return bool(got)


def _own(got: object, want: object) -> bool:
    """A namespace of the container's own, which is the default and so spelled in several ways."""
    del want
    return got in {None, "", "private"}


def _includes(got: object, want: object) -> bool:
    if isinstance(got, Mapping) and isinstance(want, Mapping):
        return want.items() <= got.items()
    return isinstance(got, list) and isinstance(want, list) and all(one in got for one in want)


def _only_all(got: object, want: object) -> bool:
    del want
    return isinstance(got, list) and "ALL" in {str(one).upper().removeprefix("CAP_") for one in got}


def _no_new_privileges(got: object, want: object) -> bool:
    """Engines echo the option with and without its value."""
    del want
    return isinstance(got, list) and not {"no-new-privileges:true", "no-new-privileges"}.isdisjoint(got)


def _same_profile(got: object, want: object) -> bool:
    """Exactly one profile, compared as JSON: a second one, or `unconfined`, would replace ours."""
    if not (isinstance(got, list) and isinstance(want, list)):
        return False
    profiles = [one for one in got if str(one).startswith("seccomp")]
    try:
        return [_profile(one) for one in profiles] == [_profile(one) for one in want]
    except ValueError:
        return False


def _profile(option: str) -> object:
    return json.loads(option.partition("=")[2])


def _confined(got: object, want: object) -> bool:
    del want
    return got != "unconfined"


def _restart(got: object, want: object) -> bool:
    del want
    return got in {None, "", "no"}


def _runtime(got: object, want: object) -> bool:
    return not want or got == want


def _image(got: object, want: object) -> bool:
    """Only a digest can be compared; a tag says nothing about content."""
    return got == want or not str(want).startswith("sha256:")


@dataclass(frozen=True)
class Requirement:
    """One line of the seal.

    Attributes:
        name: What it is called in messages and by `dep-mcp doctor`.
        path: Where it stands in the engine's JSON; `Config.` is the top level of a create request.
        why: What could happen without it.
        want: The value that is asked for, from the spec.
        holds: Whether an inspected value satisfies the wanted one.
        asked: Whether it is part of the create request; otherwise it's the engine's default, only checked.
    """

    name: str
    path: str
    why: str
    want: Wanted
    holds: Holds = _equal
    asked: bool = True

    def got(self, inspect: Mapping[str, object]) -> object:
        """The inspected value; `None` where the engine names no such field."""
        value: object = inspect
        for key in self.path.split("."):
            value = value.get(key) if isinstance(value, Mapping) else None
        return value


def _always(value: object) -> Wanted:
    return lambda _spec: value


def _absent(name: str, path: str, why: str, holds: Holds = _nothing) -> Requirement:
    return Requirement(name, path, why, _always(None), holds, asked=False)


def _limit(name: str, value: Callable[[ContainerSpec], int], why: str) -> Requirement:
    def wanted(spec: ContainerSpec) -> object:
        return [{"Name": name, "Soft": value(spec), "Hard": value(spec)}]

    return Requirement(f"{name} limit", "HostConfig.Ulimits", why, wanted, _includes)


def _memory(spec: ContainerSpec) -> int:
    return spec.memory_mb * MIB


def _scratch(spec: ContainerSpec) -> dict[str, str]:
    return {"/tmp": f"rw,noexec,nosuid,nodev,size={spec.scratch_mb}m,mode=1777"}  # noqa: S108 (inside the container)


def _file_size(spec: ContainerSpec) -> int:
    return spec.scratch_mb // 2 * MIB


def _cpus(spec: ContainerSpec) -> int:
    return round(spec.cpus * 1_000_000_000)


_SECURITY = "HostConfig.SecurityOpt"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("no network", "HostConfig.NetworkMode", "targets could be sent out", _always("none")),
    _absent("no ports", "HostConfig.PortBindings", "the server could be reached past the client"),
    _absent("no published ports", "HostConfig.PublishAllPorts", "the server could be reached past the client"),
    Requirement("read-only root", "HostConfig.ReadonlyRootfs", "scorers could be changed", _always(value=True)),
    Requirement("scratch space", "HostConfig.Tmpfs", "a larger or executable /tmp holds tools", _scratch),
    _absent("no mounts", "Mounts", "a volume outlives the container or shows host files"),
    _absent("no binds", "HostConfig.Binds", "host files would be visible"),
    _absent("no shared volumes", "HostConfig.VolumesFrom", "another container's files would be visible"),
    _absent("no devices", "HostConfig.Devices", "a device is a way to the host"),
    _absent("no device requests", "HostConfig.DeviceRequests", "a device is a way to the host"),
    _absent("no device rules", "HostConfig.DeviceCgroupRules", "a device is a way to the host"),
    Requirement("no capabilities", "HostConfig.CapDrop", "root's powers, piecewise", _always(["ALL"]), _only_all),
    _absent("no added capabilities", "HostConfig.CapAdd", "root's powers, piecewise"),
    Requirement("not privileged", "HostConfig.Privileged", "switches the seal off", _always(value=False)),
    Requirement("user", "Config.User", "root inside is one bug from root outside", _always(USER)),
    _absent("no added groups", "HostConfig.GroupAdd", "a group may read what the user may not"),
    Requirement(
        "no new privileges",
        _SECURITY,
        "a setuid program would raise the user",
        _always(["no-new-privileges:true"]),
        _no_new_privileges,
    ),
    Requirement(
        "system calls",
        _SECURITY,
        "ptrace, io_uring and non-local sockets are open in the default profile",
        lambda _spec: ["seccomp=" + seccomp_profile()],
        _same_profile,
    ),
    _absent("AppArmor not switched off", "AppArmorProfile", "an engine with AppArmor confines by it", _confined),
    _absent("masked paths", "HostConfig.MaskedPaths", "/proc/kcore and the like show the host", _something),
    _absent("read-only paths", "HostConfig.ReadonlyPaths", "/proc/sys changes the host's kernel", _something),
    Requirement("no shared memory", "HostConfig.IpcMode", "a channel between containers", _always("none")),
    _absent("own processes", "HostConfig.PidMode", "the host's processes would be visible", _own),
    _absent("own host name", "HostConfig.UTSMode", "the host's name could be changed", _own),
    _absent("own users", "HostConfig.UsernsMode", "switches an engine's user mapping off", _own),
    Requirement("process limit", "HostConfig.PidsLimit", "a fork bomb stops the host", _always(PIDS)),
    Requirement("memory limit", "HostConfig.Memory", "a leak stops the host", _memory),
    Requirement("no swap", "HostConfig.MemorySwap", "swap puts targets on the host's disk", _memory),
    _absent("killed when out of memory", "HostConfig.OomKillDisable", "it would hang instead"),
    Requirement("processor limit", "HostConfig.NanoCpus", "a loop starves the other evaluations", _cpus),
    _limit("nofile", lambda _spec: 256, "open files exhaust the host's tables"),
    _limit("core", lambda _spec: 0, "a core dump puts targets on the host's disk"),
    _limit("fsize", _file_size, "one file fills the scratch space"),
    Requirement("no log", "HostConfig.LogConfig.Type", "the engine would store all traffic", _always("none")),
    Requirement("init", "HostConfig.Init", "process 1 must reap children and obey signals", _always(value=True)),
    Requirement("own input", "Config.OpenStdin", "the only way in", _always(value=True)),
    Requirement("input ends", "Config.StdinOnce", "it must end when its client dies", _always(value=True)),
    Requirement("no terminal", "Config.Tty", "a terminal mixes output and errors", _always(value=False)),
    Requirement("removed at exit", "HostConfig.AutoRemove", "nothing may stay behind", _always(value=True)),
    _absent("no restart", "HostConfig.RestartPolicy.Name", "a restarted server has lost its evaluation", _restart),
    Requirement("labels", "Config.Labels", "the reaper finds it by them", lambda spec: dict(spec.labels), _includes),
    Requirement("runtime", "HostConfig.Runtime", "another one isolates less", lambda spec: spec.runtime, _runtime),
    Requirement("image", "Image", "another image, other targets", lambda spec: spec.image, _image, asked=False),
)
"""Every line of the seal, in the order `dep-mcp doctor` shows them."""


def create_request(spec: ContainerSpec) -> dict[str, object]:
    """The body of the engine's create call: all that is asked for, from the table."""
    host: dict[str, object] = {}
    body: dict[str, object] = {
        "Image": spec.image,
        "Env": ["HOME=/tmp"],
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "HostConfig": host,
    }
    if spec.command:
        body["Entrypoint"] = list(spec.command)
    for requirement in REQUIREMENTS:
        if requirement.asked:
            where, _, path = requirement.path.partition(".")
            _put(host if where == "HostConfig" else body, path.split("."), requirement.want(spec))
    return body


def _put(body: dict[str, object], keys: list[str], value: object) -> None:
    """Set a nested field; lists are joined, since some options share one."""
    *parents, last = keys
    for key in parents:
        inner = body.setdefault(key, {})
        assert isinstance(inner, dict)  # noqa: S101  # narrows a type: the table above decides it
        body = inner
    present = body.get(last)
    body[last] = [*present, *value] if isinstance(present, list) and isinstance(value, list) else value


def verify(inspect: Mapping[str, object], spec: ContainerSpec) -> list[str]:
    """Compare what the engine applied with what was asked; one line for every requirement that doesn't hold.

    Args:
        inspect: The engine's inspection of the container.
        spec: What it was created from, with all its labels.
    """
    return [
        f"{one.name} ({one.path}): asked {_short(one.want(spec))}, got {_short(one.got(inspect))}; {one.why}"
        for one in REQUIREMENTS
        if not one.holds(one.got(inspect), one.want(spec))
    ]


def require(inspect: Mapping[str, object], spec: ContainerSpec) -> None:
    """Insist on the seal.

    Raises:
        HardeningError: The engine applied less than was asked for; lists every field.
    """
    if problems := verify(inspect, spec):
        lines = "\n  ".join(problems)
        message = (
            f"the engine applied less isolation than was asked for, so nothing was started:\n  {lines}\n"
            "Use an engine that supports these (`dep-mcp doctor` checks them)."
        )
        raise HardeningError(message)


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
