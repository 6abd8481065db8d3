"""A benchmark's own verifier as a scorer."""

from collections.abc import Callable

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
from dep_mcp.scoring.extract import whole
from dep_mcp.scoring.port import Target


class Verifier:
    """Wraps a function `(answer text, target) -> score in 0..1`, run where it may be killed when it hangs.

    Args:
        verify: Third-party code; sees text that a model wrote.
        extract: From the model's text to what is verified.
    """

    isolated = True

    def __init__(self, verify: Callable[[str, Target], float], *, extract: Callable[[str], str] = whole) -> None:
        self._verify = verify
        self._extract = extract

    def score(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> float:
        """Judge a text answer."""
        return float(self._verify(self._extract(answer.text), target)) if isinstance(answer, TextAnswer) else 0.0
