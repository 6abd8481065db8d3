"""Virtual environments of the peers, made when they are first asked for and kept."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

from bench.peers import Peer
from bench.process import CommandError, run

VENVS = Path(__file__).with_name(".venvs")
PYTHON_VARIABLE = "DEP_MCP_BENCH_PYTHON"
_INSTALL_S = 1800


async def venv(name: str, peer: Peer) -> Path:
    """The folder of a peer's venv.

    Raises:
        CommandError: It can't be made; says why.
    """
    folder = VENVS / name
    if (folder / "ready").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    python = await _python(peer.python)
    await run([python, "-m", "venv", folder])
    pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.pins]
    await run(pip, env={"PYTHONDONTWRITEBYTECODE": ""}, timeout_s=_INSTALL_S)
    (folder / "ready").touch()
    return folder


async def installed(folder: Path, package: str) -> str:
    """What was installed, and under which Python."""
    script = (
        "import importlib.metadata as m, platform, sys;"
        "print(sys.argv[1], m.version(sys.argv[1]), 'on Python', platform.python_version())"
    )
    return (await run([folder / "bin/python", "-c", script, package])).stdout.strip()


async def _python(least: tuple[int, int]) -> str:
    for path in _candidates():
        if await _works(path, least):
            return path
    msg = f"no Python {least[0]}.{least[1]} or newer: name one in {PYTHON_VARIABLE}"
    raise CommandError(msg)


def _candidates() -> list[str]:
    """The one that was named, this one, those in PATH, and pyenv's: its stand-ins in PATH know only chosen ones."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    named = [os.environ.get(PYTHON_VARIABLE, ""), sys.executable, *(f"python3.{minor}" for minor in (12, 13, 14))]
    found = [shutil.which(name) for name in [*named, *sorted(map(str, pyenv.glob("versions/*/bin/python3")))] if name]
    return [path for path in found if path is not None]


async def _works(path: str, least: tuple[int, int]) -> bool:
    process = await asyncio.create_subprocess_exec(
        path, "-c", f"import sys, venv; sys.exit(sys.version_info < {least})",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait() == 0
