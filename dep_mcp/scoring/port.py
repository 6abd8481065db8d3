"""The contract of a scorer."""

from typing import Protocol

from pydantic import JsonValue

from dep_mcp.protocol import ChoiceAnswer, TextAnswer

Target = JsonValue
"""The ground truth of one item, as JSON; what it holds is between the benchmark and its scorer."""


class Scorer(Protocol):
    """Judges one answer against one target."""

    isolated: bool
    """Whether it runs third-party code on the model's text, and so in a process that may be killed."""

    def score(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> float:
        """Return a score in 0..1; an answer of a kind it doesn't judge scores 0."""
