"""Runs in the sealed container: greets, then does what each line of input says, answering in one line."""
# It attacks the container it runs in, so much is wrong on purpose.
# ruff: noqa: ANN001, ANN002, ANN201, ANN202, C901, PTH101, PTH123, S103, SIM115, T201
# mypy: ignore-errors

import ctypes
import os
import shutil
import socket
import subprocess
import sys
import time


def attempt(deed):
    """Say `done`, or the name of the error that stopped it."""
    try:
        deed()
    except OSError as exc:
        return os.strerror(exc.errno) if exc.errno else type(exc).__name__
    return "done"


def syscall(number, *args):
    def deed():
        if ctypes.CDLL(None, use_errno=True).syscall(number, *args) == -1:
            raise OSError(ctypes.get_errno(), "syscall")

    return deed


def write(path, size=1):
    def deed():
        with open(path, "wb") as file:
            file.write(b"x" * size)

    return deed


def run_from_tmp():
    shutil.copy("/bin/true", "/tmp/true")
    os.chmod("/tmp/true", 0o755)
    subprocess.run(["/tmp/true"], check=True)


def fork_bomb():
    """Children that wait for our end; how many came into being."""
    held, children = os.pipe(), 0
    try:
        while children < 1000:
            if os.fork() == 0:
                os.close(held[1])
                os.read(held[0], 1)
                os._exit(0)
            children += 1
    except OSError:
        pass
    os.close(held[1])
    return str(children)


def open_files():
    held = []
    while len(held) < 10_000:
        held.append(open("/dev/null"))


def status(*names):
    with open("/proc/self/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return " ".join(fields[name] for name in names)


def hog():
    held = []
    while True:
        held.append(b"x" * (8 << 20))


ATTEMPTS = {
    "inet": lambda: attempt(lambda: socket.socket(socket.AF_INET).close()),
    "inet6": lambda: attempt(lambda: socket.socket(socket.AF_INET6).close()),
    "netlink": lambda: attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close()),
    "unix": lambda: attempt(lambda: socket.socket(socket.AF_UNIX).close()),
    "write-root": lambda: attempt(write("/app/x")),
    "write-etc": lambda: attempt(write("/etc/passwd")),
    "write-tmp": lambda: attempt(write("/tmp/x")),
    "exec-tmp": lambda: attempt(run_from_tmp),
    "fill-tmp": lambda: [attempt(write(f"/tmp/{n}", 30 << 20)) for n in range(4)][-1],
    "large-file": lambda: attempt(write("/tmp/large", 33 << 20)),
    "open-files": lambda: attempt(open_files),
    "setuid": lambda: attempt(lambda: os.setuid(0)),
    "setgid": lambda: attempt(lambda: os.setgid(0)),
    "chown": lambda: attempt(lambda: os.chown("/tmp/x", 0, 0)),
    "ptrace": lambda: attempt(syscall(101, 16, 1, 0, 0)),
    "process-vm-readv": lambda: attempt(syscall(310, 1, 0, 0, 0, 0, 0)),
    "memfd": lambda: attempt(syscall(319, b"x", 0)),
    "io-uring": lambda: attempt(syscall(425, 1, 0)),
    "userfaultfd": lambda: attempt(syscall(323, 0)),
    "keyctl": lambda: attempt(syscall(250, 0, 0, 0, 0, 0)),
    "add-key": lambda: attempt(syscall(248, b"user", b"x", b"y", 1, -1)),
    "unshare": lambda: attempt(syscall(272, 0x10000000)),
    "mount": lambda: attempt(syscall(165, b"none", b"/tmp", b"tmpfs", 0, None)),
    "bpf": lambda: attempt(syscall(321, 0, 0, 0)),
    "perf": lambda: attempt(syscall(298, 0, 0, -1, -1, 0)),
    "shmget": lambda: attempt(syscall(29, 0, 4096, 0o1600)),
    "clone-newuser": lambda: attempt(syscall(56, 0x10000000 | 17, 0, 0, 0, 0)),
    "fork-bomb": fork_bomb,
    "status": lambda: status("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Uid"),
    "interfaces": lambda: " ".join(name for _, name in socket.if_nameindex()),
    "hog": hog,
}


def main():
    print("first line, before anything was asked")
    for line in sys.stdin:
        word, _, rest = line.strip().partition(" ")
        if word in ATTEMPTS:
            print(ATTEMPTS[word]())
        elif word == "echo":
            print(rest)
        elif word == "large":
            print("x" * int(rest))
        elif word == "length":
            print(len(rest))
        elif word == "flood-errors":
            sys.stderr.write("e" * int(rest))
            print("flooded")
        elif word == "flood":
            for number in range(int(rest)):
                print(f"{number:0>1000}")
        elif word == "die":
            print("last words", file=sys.stderr)
            os._exit(int(rest))
        elif word == "hang":
            while True:
                sys.stdin.read()
                time.sleep(0.1)
        elif word == "hold":
            time.sleep(600)


if __name__ == "__main__":
    main()
