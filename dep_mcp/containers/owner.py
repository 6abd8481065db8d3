"""Who owns a container: an identity of a process that no later one can have, and whether it still lives."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from uuid import uuid4

_PROC = Path("/proc")
_NO_HOST = "unknown"
_HIDDEN = "hidden"
_GONE = "gone"


@dataclass(frozen=True)
class Owner:
    """A process, told from any other by what `/proc` says of it.

    Attributes:
        host: Boot id of its kernel, and its process-id namespace: a process id means nothing outside either.
        pid: Its process id.
        started: Its start in clock ticks since boot; a reused process id has another.
    """

    host: str
    pid: int
    started: str

    def __str__(self) -> str:
        """Write it as a label; `parse` reads it back."""
        return f"{self.host}/{self.pid}/{self.started}"

    @classmethod
    def parse(cls, text: str) -> "Owner | None":
        """Read an identity back; `None` if it isn't one."""
        host, _, rest = text.partition("/")
        pid, _, started = rest.partition("/")
        return cls(host, int(pid), started) if host and pid.isdecimal() and started else None

    def is_dead(self) -> bool:
        """Whether the process is known to have ended: `False` in doubt, as for another host's process."""
        if self.host == _NO_HOST or self.host != _this_host():
            return False
        return not _exists(self.pid) or _started(self.pid) not in {self.started, _HIDDEN}


@cache
def _this_host() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        namespace = str((_PROC / "self/ns/pid").readlink())
    except OSError:  # no Linux
        return _NO_HOST
    return f"{boot}.{''.join(filter(str.isdecimal, namespace))}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True


def _started(pid: int) -> str:
    """When the process started; `_HIDDEN` if `/proc` doesn't show it, `_GONE` for its unburied remains."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return _HIDDEN
    state, *fields = stat.rpartition(")")[2].split()  # a program's name may hold spaces and parentheses
    return _GONE if state in "ZX" else fields[18]


def this_process() -> str:
    """The identity of the calling process, as put on its containers."""
    started = _started(os.getpid())
    return str(Owner(_this_host(), os.getpid(), uuid4().hex if started == _HIDDEN else started))
