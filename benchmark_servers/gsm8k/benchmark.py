"""GSM8K (Cobbe et al. 2021): grade-school word problems; the number after `####` must match exactly."""

from collections.abc import Iterator

from dep_mcp.scoring import ExactMatch, first_group, plain_number
from dep_mcp.server import Benchmark, Draw, SealedItem

ASK = "{question}\n\nSolve it step by step. End with a line that holds only #### and the final number."


class GSM8K(Benchmark):
    """The test split, in the authors' format: `question` and `answer`, one JSON object a line."""

    scorer = ExactMatch(extract=first_group(r"(?:####|\bA:) ?(-?[0-9.,]+)"), normalize=plain_number)

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Yield the problems in the file's order."""
        for number, row in enumerate(self.rows("test.jsonl")):
            yield SealedItem(f"test-{number}", ASK.format(**row), row["answer"].split("####")[1])
