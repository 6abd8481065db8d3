"""As many questions as `size.py` says."""

from collections.abc import Iterator

from questions import ANSWER, question
from size import MARK, SIZE

from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, Draw, SealedItem


class Items(Benchmark):
    """Questions with one right answer, so that a wrong score shows at once."""

    scorer = ExactMatch()

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Yield `q0`, `q1` and so on."""
        for number in range(SIZE):
            yield SealedItem(f"q{number}", question(number, MARK), ANSWER)
