"""The store on a full file system: a message that names it, and an evaluation that goes on once there is room."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import faulty_provider

pytestmark = pytest.mark.docker

Cli = Any
"""The fixture's class, in conftest."""

MODEL = "openai-compatible/faulty"
LONG = "x" * 20_000
ITEMS = 300
SIZE_MB = 24
IN_FLIGHT = 8


class SmallDisk:
    """A file system of its own, with a file that takes up what shall not be free.

    Args:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = {"DEP_MCP_HOME": str(folder / "home")}
        self._ballast = folder / "ballast"

    def leave(self, free: int) -> None:
        """Leave so many bytes free."""
        with self._ballast.open("ab") as file:
            taken = shutil.disk_usage(self.folder).free - free
            if taken > 0:
                os.posix_fallocate(file.fileno(), file.tell(), taken)

    def fill(self) -> None:
        """Leave nothing free: the blocks that the file's own index took may be fewer than feared."""
        self.leave(65536)
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def clear(self) -> None:
        """Make room."""
        self._ballast.unlink()


def mounted(command: list[str], folder: Path) -> Iterator[SmallDisk]:
    folder.mkdir()
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system can't be mounted here: {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    """In memory, and a real one on a loop-back device, which allocates its blocks late."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    if request.param == "tmpfs":
        yield from mounted(["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs"], tmp_path / "small")
        return
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4 here")
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(SIZE_MB * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    yield from mounted(["mount", "-o", "loop", str(image)], tmp_path / "small")


def listed(cli: Cli, disk: SmallDisk) -> list[str]:
    words = cli("ls", "evaluations", **disk.home).stdout.split()
    return [word for word in words if word.startswith("ev_")]


async def test_a_disk_that_fills_up_pauses_and_loses_nothing(cli: Cli, disk: SmallDisk) -> None:
    """A clear message, and with room again, resume goes on from what is there."""
    disk.leave(2**20)
    async with faulty_provider(answer=LONG) as provider:
        arguments = ("run", "-b", "toy", "-m", MODEL, "--api-base", provider.api_base, "--concurrency", IN_FLIGHT)
        full = await asyncio.to_thread(cli, *arguments, **disk.home)
        assert full.returncode == 3, full.stderr
        assert "disk is full" in full.stderr
        assert str(disk.folder) in full.stderr
        assert "Traceback" not in full.stderr
        answered = (await provider.counters())["answered"]
        assert 0 < answered < ITEMS
        (name,) = listed(cli, disk)

        again = await asyncio.to_thread(cli, "resume", name, **disk.home)  # still no room
        assert again.returncode in (2, 3), again.stderr
        assert str(disk.folder) in again.stderr
        assert "Traceback" not in again.stderr

        disk.clear()
        between = await provider.counters()
        kept = json.loads(cli("show", name, "--json", **disk.home).stdout)["totals"]["answered"]
        resumed = await asyncio.to_thread(cli, "resume", name, "--json", **disk.home)
        assert resumed.returncode == 0, resumed.stderr
        after = await provider.counters()
    assert json.loads(resumed.stdout)[0]["report"]["counts"]["scored"] == ITEMS
    assert after["requests"] - between["requests"] == ITEMS - kept
    assert kept > 0


@pytest.mark.parametrize("disk", ["ext4"], indirect=True)
@pytest.mark.parametrize("earlier", [False, True], ids=["no-store-yet", "with-a-store"])
async def test_a_disk_that_is_full_from_the_start_begins_nothing(cli: Cli, disk: SmallDisk, *, earlier: bool) -> None:
    """Before a call is paid; with room again, the same command runs."""
    if earlier:
        assert cli("ls", "evaluations", **disk.home).returncode == 0
    disk.fill()
    async with faulty_provider() as provider:
        arguments = ("run", "-b", "toy", "-m", MODEL, "--api-base", provider.api_base, "--limit", 5)
        full = await asyncio.to_thread(cli, *arguments, **disk.home)
        assert full.returncode == 2, full.stderr
        assert "disk is full" in full.stderr
        assert str(disk.folder) in full.stderr
        assert "Traceback" not in full.stderr
        assert (await provider.counters())["requests"] == 0
        disk.clear()
        assert listed(cli, disk) == []
        assert (await asyncio.to_thread(cli, *arguments, **disk.home)).returncode == 0
