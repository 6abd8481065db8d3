"""Exact match after extraction and normalisation."""

from collections.abc import Callable

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
from dep_mcp.scoring.extract import Extract, whole
from dep_mcp.scoring.port import Target


class ExactMatch:
    """1 when the extracted answer equals the target, both normalised, else 0.

    Args:
        extract: From the model's text to the answer; `None` from it scores 0.
        normalize: Applied to the extracted answer and to the target alike.
    """

    isolated = False

    def __init__(self, *, extract: Extract = whole, normalize: Callable[[str], str] = whole) -> None:
        self._extract = extract
        self._normalize = normalize

    def score(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> float:
        """Judge a text answer against a target that is text."""
        if not isinstance(answer, TextAnswer):
            return 0.0
        found = self._extract(answer.text)
        return float(found is not None and self._normalize(found) == self._normalize(str(target)))
