"""Looks for a benchmark's data in the files beside it, which go into every image and sealed folder as they are."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from dep_mcp.orchestrator.catalogue import BenchmarkFolder, code
from dep_mcp.orchestrator.leaks import Leak, Search

_LONG, _SHORT = 24, 4
"""Bytes of a line of which one is enough, and of one of which it takes several."""
_SEVERAL = 5
_MOST_LINES = 200
"""Long lines of a file that are searched for, spread over it."""


def beside_data(benchmark: BenchmarkFolder, data: Mapping[str, Path]) -> Iterator[Leak]:
    """Find lines of the data, or the card's canary, in the code and what lies beside it.

    Args:
        benchmark: Whose folder.
        data: Its files by name.
    """
    lines = [line.strip() for path in data.values() for line in path.read_bytes().splitlines()]
    long = [line for line in lines if len(line) >= _LONG]
    needles = [line.decode(errors="replace") for line in long[:: len(long) // _MOST_LINES + 1]]
    if benchmark.card.canary is not None:
        needles.append(str(benchmark.card.canary))
    search, short = Search(*needles), {line for line in lines if _SHORT <= len(line) < _LONG}
    for name, path in code(benchmark.folder).items():
        if name == "dataset_card.yaml":
            continue
        where, content = f"benchmark folder: {name}", path.read_bytes()
        yield from search.leaks(where, content)
        if len(short & {line.strip() for line in content.splitlines()}) >= min(_SEVERAL, max(1, len(short))):
            yield Leak(where, "lines", "several short lines of the data")
