"""Tables and the file they go to."""

import os
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
_PACKAGES = ("dep-mcp", "aiohttp", "litellm", "openai", "mcp", "pydantic", "docker")


@dataclass
class Table:
    """A table of the report.

    Attributes:
        title: What it shows.
        columns: Their names.
        rows: Their cells.
        notes: Lines below it.
    """

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        """As Markdown."""
        lines = [f"### {self.title}", "", _row(self.columns), _row(["---"] * len(self.columns))]
        lines += [_row(row) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), ""])


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to measure.

    Attributes:
        rounds: Of everything that is interleaved.
        seed: Of the limits that are drawn.
        quick: A tenth of the sizes, to try the instrument itself.
        only: Names of scenarios or peers; empty for all.
    """

    rounds: int = 5
    seed: int = 1
    quick: bool = False
    only: tuple[str, ...] = ()

    def size(self, items: int) -> int:
        """So many items, or a tenth."""
        return items // 10 if self.quick else items

    def wants(self, name: str) -> bool:
        """Whether a scenario or peer was asked for."""
        return not self.only or name in self.only


def spread(values: Sequence[float], digits: int = 2, scale: float = 1.0) -> str:
    """Median with minimum and maximum."""
    if not values:
        return "n/a"
    middle, low, high = (scale * value for value in (statistics.median(values), min(values), max(values)))
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def verdict(value: float, bar: float) -> str:
    """A ratio beside the most it may be."""
    return f"{value:.2f} (bar {bar:g}: {'holds' if value <= bar else 'FAILS'})"


def header(part: str, options: Options) -> str:
    """What the figures of a part depend on."""
    found = ", ".join(f"{name} {version(name)}" for name in _PACKAGES)
    head = subprocess.run(  # noqa: S603 (our own)
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"],  # noqa: S607 (from PATH)
        capture_output=True, text=True, check=False,
    ).stdout.strip()  # fmt: skip
    loads = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return (
        f"## {part}\n\n{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {head or '?'}, {options.rounds} rounds, seed "
        f"{options.seed}{', QUICK' if options.quick else ''}; load {loads}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}; {found}\n"
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
