"""Commands under measurement, from an event loop."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_MEASURE = Path(__file__).with_name("measure.py")


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a command took, with all its descendants; containers aren't among them.

    Attributes:
        code: How it ended.
        cpu_s: User and system time.
        rss_mb: Peak of the resident memory of all its processes together.
        started_at: Seconds since 1970.
        ended_at: Seconds since 1970.
        stdout: What it printed.
        stderr: What it said.
    """

    code: int
    cpu_s: float
    rss_mb: float
    started_at: float
    ended_at: float
    stdout: str
    stderr: str

    @property
    def wall_s(self) -> float:
        """From start to end."""
        return self.ended_at - self.started_at


class CommandError(Exception):
    """A command failed or took too long."""


class Command:
    """A command that runs.

    Args:
        process: The wrapper that measures it.
        folder: Where its outputs go.
    """

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._process = process
        self._folder = folder

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self._process.send_signal(signal.SIGUSR1)

    async def ended(self, timeout_s: float) -> Run:
        """Wait for its end.

        Raises:
            CommandError: It took too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            self.kill()
            await self._process.wait()
            msg = f"not done after {timeout_s:.0f} s: {self._said('stderr')[-2000:]}"
            raise CommandError(msg) from None
        measured = json.loads((self._folder / "measured.json").read_text(encoding="utf-8"))
        return Run(**measured, stdout=self._said("stdout"), stderr=self._said("stderr"))

    def _said(self, name: str) -> str:
        return (self._folder / name).read_text(encoding="utf-8", errors="replace")


@asynccontextmanager
async def command(
    arguments: Sequence[str | Path], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> AsyncGenerator[Command]:
    """Start a command; it is killed when the block ends."""
    with tempfile.TemporaryDirectory(prefix="dep-mcp-bench-") as name:
        folder = Path(name)
        with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable, _MEASURE, folder / "measured.json", *arguments,
                env={**os.environ, **(env or {})}, cwd=cwd, stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout, stderr=stderr,
            )  # fmt: skip
        try:
            yield Command(process, folder)
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGUSR1)
                await process.wait()


async def run(
    arguments: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 900,
    codes: Sequence[int] = (0,),
) -> Run:
    """Run a command to its end.

    Raises:
        CommandError: It failed or took too long.
    """
    async with command(arguments, env=env, cwd=cwd) as running:
        ended = await running.ended(timeout_s)
    if ended.code not in codes:
        msg = f"{' '.join(map(str, arguments))} ended with {ended.code}: {ended.stderr[-2000:]}"
        raise CommandError(msg)
    return ended
