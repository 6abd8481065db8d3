"""Sums whose targets are known, for tests: the right answer to `a + b` is the number."""

from collections.abc import Iterator

from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, Draw, SealedItem

SIZE = 300


class Toy(Benchmark):
    """Three hundred sums in two sub-tasks."""

    scorer = ExactMatch()

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Yield `toy-0` to `toy-299`."""
        for number in range(SIZE):
            part = "even" if number % 2 == 0 else "odd"
            yield SealedItem(f"toy-{number}", f"{number} + 1 =", f"target-{number + 1}", subtask=part)
