"""Runs in a sealed container of a base image, as `python3 -c`: says of each limit whether it holds.

An engine may accept a flag, show it when it is asked, and have a runtime that does nothing of the kind.
"""

import ctypes
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

_PTRACE, _PTRACE_ATTACH = {"x86_64": 101, "aarch64": 117}.get(os.uname().machine, -1), 16
_CHUNK = 1 << 20


def _status() -> dict[str, str]:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 (starts faster)
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def _listed(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208 (starts faster)
    except OSError:
        return []


def _refused(deed: Callable[[], object], *errors: int) -> str:
    """Empty if it fails as it should, else what happened."""
    try:
        deed()
    except OSError as error:
        return "" if error.errno in errors else f"it failed otherwise: {error}"
    return "it succeeded"


def _write(path: str, size: int) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 (as above)
        file.writelines(bytes(min(_CHUNK, size - start)) for start in range(0, size, _CHUNK))


def _fill(size: int) -> None:
    try:
        for number in range(4):
            _write(f"/tmp/fill-{number}", size // 4 + _CHUNK)  # noqa: S108 (inside the container)
    finally:
        for number in range(4):
            if os.path.exists(f"/tmp/fill-{number}"):  # noqa: PTH110, S108 (as above)
                os.unlink(f"/tmp/fill-{number}")  # noqa: PTH108, S108 (as above)


def _execute() -> None:
    shutil.copy("/bin/true", "/tmp/true")  # noqa: S108 (as above)
    os.chmod("/tmp/true", 0o755)  # noqa: PTH101, S103, S108 (that is the attempt)
    subprocess.run(["/tmp/true"], check=True)  # noqa: S108 (as above)


def _trace() -> None:
    if ctypes.CDLL(None, use_errno=True).syscall(_PTRACE, _PTRACE_ATTACH, 1, 0, 0) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


def _processes(most: int) -> str:
    """Children that wait for our end."""
    held, children = os.pipe(), 0
    try:
        while children < most:
            if os.fork() == 0:
                os.close(held[1])
                os.read(held[0], 1)
                os._exit(0)
            children += 1
    except OSError:
        return ""
    finally:
        os.close(held[1])
        for _ in range(children):
            os.wait()
    return f"{children} processes could be started"


def _memory(most: int) -> str:
    """A child that takes more than there is must be killed, or refused."""
    child = os.fork()
    if child == 0:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123 (it goes first)
            file.write("1000")
        try:
            held = [bytes(b"x" * _CHUNK) for _ in range(most // _CHUNK + 64)]
        except MemoryError:
            os._exit(0)
        os._exit(len(held) and 1)
    _, status = os.waitpid(child, 0)
    gone = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return "" if gone or os.WEXITSTATUS(status) == 0 else f"{most >> 20} MiB and more could be taken"


def main(memory: int, processes: int, scratch: int, file_size: int) -> dict[str, str]:
    """What doesn't hold, by the requirement's name; empty where it does."""
    status, names = _status(), [name for name in _listed("/sys/class/net") if name != "lo"]
    return {
        "no network": f"interfaces: {', '.join(names)}" if names else "",
        "no capabilities": ""
        if int(status.get("CapBnd", "1"), 16) == int(status.get("CapEff", "1"), 16) == 0
        else "some are left",
        "user": "it runs as root" if os.getuid() == 0 else "",
        "no new privileges": "" if status.get("NoNewPrivs") == "1" else "they can be had",
        "read-only root": "" if os.statvfs("/").f_flag & os.ST_RDONLY else "it can be written",
        "system calls": _refused(_trace, errno.EPERM)
        or _refused(lambda: socket.socket(socket.AF_INET).close(), errno.EPERM, errno.EAFNOSUPPORT),
        "scratch space": _refused(_execute, errno.EACCES, errno.EPERM)
        or _refused(lambda: _fill(scratch), errno.ENOSPC),
        "fsize limit": _refused(lambda: _write("/tmp/large", file_size + _CHUNK), errno.EFBIG),  # noqa: S108 (as above)
        "process limit": _processes(processes + 16),
        "memory limit": _memory(memory),
        "users": " ".join(open("/proc/self/uid_map").readline().split()),  # noqa: PTH123 (as above)
    }


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    print(json.dumps(main(*map(int, sys.argv[1:]))), flush=True)  # noqa: T201 (what it is for)
