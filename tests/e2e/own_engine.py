"""A container engine of the tests' own, which may be killed: the machine's is only asked for its images."""

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dep_mcp.containers import DockerRuntime
from dep_mcp.orchestrator.catalogue import build_spec, read_folder
from dep_mcp.testing import toy_folder

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
START_S = 60.0
POLL_S = 0.05
LOG = logging.getLogger(__name__)


@dataclass
class OwnEngine:
    """A `dockerd` with data, state, socket, containerd and network namespace of its own.

    Attributes:
        folder: All of it lies here.
        options: More of its command line.
    """

    folder: Path
    options: tuple[str, ...] = ()
    _process: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    @property
    def host(self) -> str:
        return f"unix://{self.folder}/sock"

    def docker(self, *arguments: str) -> list[str]:
        """What a command of the engine's client prints, by lines."""
        command = ["docker", "--host", self.host, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_S)
        return done.stdout.splitlines()

    def there(self) -> dict[str, list[str]]:
        """All that an evaluation could leave: containers, running or not, networks, volumes, processes, mounts."""
        return {
            "containers": [name for name in self.docker("ps", "-aq") if self._has(name)],
            "networks": sorted(self.docker("network", "ls", "--format", "{{.Name}}")),
            "volumes": self.docker("volume", "ls", "-q"),
            "shims": [text for text in self._processes().values() if "containerd-shim" in text],
            "mounts": [point for point in self._mounts() if "/overlay2/" in point],
        }

    def _has(self, container: str) -> bool:
        """Whether there is such a container: a restarted 20.10 may list one that it has just removed."""
        command = ["docker", "--host", self.host, "inspect", "--type", "container", container]
        found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_S)
        if missing := "No such container" in found.stderr:
            LOG.warning("listed, but not there: %s", container)
        return not missing

    def container_pids(self) -> list[int]:
        """The main processes of the containers that run."""
        names = self.docker("ps", "-q")
        try:
            return (
                [pid for pid in map(int, self.docker("inspect", "-f", "{{.State.Pid}}", *names)) if pid]
                if names
                else []
            )
        except subprocess.CalledProcessError:  # one has ended meanwhile
            return []

    def start(self) -> None:
        """Start it; after a kill the first start may give up waiting for the old containerd."""
        for _ in range(2):
            for name in (
                "pid",
                "exec/containerd/containerd.pid",
            ):  # a killed one's, which may be another process by now
                if (path := self.folder / name).exists() and int(path.read_text()) not in self._processes():
                    path.unlink()
            places = [f"--{name}={self.folder / path}" for name, path in (
                ("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid"), ("config-file", "config.json")
            )]  # fmt: skip
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    ["unshare", "--net", "dockerd", *places, f"--host={self.host}", "--iptables=false", *self.options],
                    env=os.environ | {"PATH": PATH},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._until(lambda: not self._runs() or self._answers())
            if self._runs() and self._answers():
                return
            self._process.kill()
            self._process.wait()
        pytest.fail((self.folder / "log").read_text()[-2000:])

    def ensure(self) -> None:
        """Start it unless it runs."""
        if not self._runs():
            self.start()

    def live_restore(self, *, on: bool) -> None:
        """Whether its containers are meant to outlive it, from here on."""
        assert self._process is not None
        (self.folder / "config.json").write_text(json.dumps({"live-restore": on}))
        self._process.send_signal(signal.SIGHUP)
        assert self._until(lambda: self.docker("info", "-f", "{{.LiveRestoreEnabled}}") == [str(on).lower()])

    def kill(self) -> None:
        """`kill -9`; its containerd dies with it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._until(lambda: not any("containerd --config" in text for text in self._processes().values()))

    def stop(self) -> None:
        """End it and all that is left of it."""
        if self._process is not None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(START_S)
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for point in reversed(self._mounts()):
            subprocess.run(["umount", "--lazy", point], check=True)

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _answers(self) -> bool:
        command = ["docker", "--host", self.host, "version"]
        return subprocess.run(command, capture_output=True, check=False, timeout=START_S).returncode == 0

    def _until(self, condition: Callable[[], bool]) -> bool:
        """Whether it comes true before the engine ends or a minute has passed."""
        deadline = time.monotonic() + START_S
        while not (holds := condition()) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return holds

    def _processes(self) -> dict[int, str]:
        """Its own, by their command lines, in which its folder stands; a dead one that nobody reaped has none."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if f"{self.folder}/" in text:
                    found[int(path.parent.name)] = text
        return found

    def _mounts(self) -> list[str]:
        points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
        return [point for point in points if f"{point}/".startswith(f"{self.folder}/")]


async def _images() -> list[str]:
    """The toy benchmark's image and its base, on the machine's engine, built there unless they are there."""
    async with DockerRuntime() as runtime:
        base = await runtime.base_image(os.environ.get("DEP_MCP_BASE_IMAGE"))
        image = await runtime.ensure_image(build_spec(read_folder(toy_folder()), {}, base))
    return [base, image.tag]


@contextmanager
def own_engine(*options: str, config: str = "{}") -> Iterator[OwnEngine]:
    """One that runs and holds the toy benchmark's image, with these options and this configuration file."""
    if os.geteuid() != 0:
        pytest.skip("an engine of one's own needs root")
    if shutil.which("dockerd", path=PATH) is None:
        pytest.skip("no dockerd here: only the machine's own engine, which must not be killed")
    with tempfile.TemporaryDirectory(prefix="dep-mcp-engine-") as folder:
        Path(folder).chmod(0o711)  # remapped users go through it
        engine = OwnEngine(Path(folder) / "engine", options)
        engine.folder.mkdir()
        # in memory: its ten thousand small files take longer to write and remove than all else does
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g", "tmpfs", str(engine.folder)], check=True)
        (engine.folder / "config.json").write_text(config)
        try:
            engine.start()
            with subprocess.Popen(["docker", "save", *asyncio.run(_images())], stdout=subprocess.PIPE) as saving:
                command = ["docker", "--host", engine.host, "load", "-q"]
                subprocess.run(command, stdin=saving.stdout, check=True, capture_output=True)
            assert saving.returncode == 0
            yield engine
        finally:
            engine.stop()
