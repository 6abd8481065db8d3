"""Runs a command and measures its whole process tree: `python bench/measure.py OUT.json COMMAND …`.

A process of its own, so that nothing else is among its children. It adopts orphans, since what a worker of a worker
spent would else be lost. SIGUSR1 kills the command as `kill -9` does. Standard library only.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_SAMPLE_S = 0.1
_GRACE_S = 10.0


def descendants(pid: int) -> list[int]:
    """All processes below one, as far as they can be seen."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def rss_mb(pids: list[int]) -> float:
    """Resident memory of processes together; pages that they share count once for each."""
    total = 0.0
    for pid in pids:
        try:
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
        except (OSError, IndexError):
            continue
    return total


class Peak(threading.Thread):
    """Samples the memory of all descendants."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mb = 0.0

    def run(self) -> None:
        """Sample for ever."""
        while True:
            self.mb = max(self.mb, rss_mb(descendants(os.getpid())))
            time.sleep(_SAMPLE_S)


def main(out: str, *command: str) -> None:
    """Run, measure, write."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    peak = Peak()
    begin = time.time()
    child = subprocess.Popen(command)  # noqa: S603 (our own)
    signal.signal(signal.SIGUSR1, lambda *_: child.kill())
    peak.start()
    cpu_s, ended, code = 0.0, begin, 0
    while True:
        try:
            pid, status, usage = os.wait4(-1, 0)
        except ChildProcessError:
            break
        cpu_s += usage.ru_utime + usage.ru_stime
        if pid == child.pid:
            child.returncode = code = os.waitstatus_to_exitcode(status)
            ended = time.time()
            threading.Timer(_GRACE_S, _end_orphans).start()
    measured = {"code": code, "cpu_s": cpu_s, "rss_mb": peak.mb, "started_at": begin, "ended_at": ended}
    Path(out).write_text(json.dumps(measured), encoding="utf-8")
    os._exit(0)  # not wait for the timer


def _end_orphans() -> None:
    for pid in descendants(os.getpid()):
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
