"""dep-mcp as its users run it: the command, in a home of its own, against a faulty provider."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.container import Sealed, starts, watched
from bench.process import CommandError, Run, run
from dep_mcp.testing import FaultyProvider

HERE = Path(__file__).parent
DEP_MCP = Path(sys.executable).with_name("dep-mcp")
DIRECT = "openai-compatible/faulty"
LITELLM = "openai/faulty"


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """One evaluation.

    Attributes:
        run: Of the command.
        sealed: Of its container.
        counters: The provider's, at the end.
        durable_ms: Within how many milliseconds of their arrival answers were durable: `p50`, `p99`, `max`.
    """

    run: Run
    sealed: Sealed
    counters: dict[str, Any]
    durable_ms: dict[str, int] = field(default_factory=dict)

    @property
    def start_s(self) -> float:
        """From the command to its first request."""
        return float(self.counters["first_at"]) - self.run.started_at

    @property
    def calling_s(self) -> float:
        """From the first request to the last answer."""
        return float(self.counters["last_at"] - self.counters["first_at"])


@contextmanager
def home() -> Iterator[Path]:
    """A home of its own."""
    with tempfile.TemporaryDirectory(prefix="dep-mcp-bench-home-") as name:
        yield Path(name)


def items_folder(size: int, mark: str = "") -> Path:
    """A benchmark of so many items that hold the mark; its image is built at the first use and kept by the engine."""
    folder = HERE / ".cache" / f"items-{size}{mark}"
    if not folder.exists():
        shutil.copytree(HERE / "benchmarks" / "items", folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "size.py").write_text(f'SIZE = {size}\nMARK = "{mark}"\n', encoding="utf-8")
    return folder


def arguments(provider: FaultyProvider, benchmark: Path | str, model: str, *options: str) -> list[str | Path]:
    """The command line of an evaluation."""
    return [DEP_MCP, "run", "-b", str(benchmark), "-m", model, "--api-base", provider.api_base, "--json", *options]


def environment(folder: Path) -> dict[str, str]:
    """Its environment; the key is never checked."""
    return {"DEP_MCP_HOME": str(folder), "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}


async def evaluate(
    provider: FaultyProvider, benchmark: Path | str, model: str, *options: str, timeout_s: float = 900
) -> Evaluated:
    """Evaluate once; everything must have been answered, and rightly.

    Raises:
        CommandError: It wasn't.
    """
    with home() as folder:
        async with watched(folder / "logs") as sealed:
            ended = await run(
                arguments(provider, benchmark, model, *options), env=environment(folder), timeout_s=timeout_s
            )
        check(ended)
        (completed,) = starts(folder / "logs", ("completed",))
    return Evaluated(run=ended, sealed=sealed, counters=await provider.counters(), durable_ms=completed["durable_ms"])


def check(ended: Run) -> None:
    """Everything must have been answered, and rightly.

    Raises:
        CommandError: It wasn't.
    """
    for result in json.loads(ended.stdout):
        counts, value = result["report"]["counts"], result["report"]["overall"]["value"]
        if counts["scored"] != counts["expected"] or value != 1.0:
            msg = f"not everything was answered rightly: {counts}, {value}"
            raise CommandError(msg)


async def prepare(provider: FaultyProvider, *benchmarks: Path) -> None:
    """Build the images, which no measurement is to wait for."""
    for benchmark in benchmarks:
        await evaluate(provider, benchmark, DIRECT, "--limit", "1")
