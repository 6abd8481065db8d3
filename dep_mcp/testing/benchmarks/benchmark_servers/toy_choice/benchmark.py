"""Sentences with one sensible ending, for tests of choice by log-likelihood with a real model."""

from collections.abc import Iterator

from dep_mcp.scoring import Choice
from dep_mcp.server import Benchmark, Draw, SealedItem

SENTENCES = (
    ("The capital of France is", (" Paris", " banana", " seventeen"), 0),
    ("Water freezes at zero degrees", (" Celsius", " elephants", " violins"), 0),
    ("The opposite of hot is", (" paper", " cold", " nine"), 1),
    ("A cat has four", (" oceans", " Mondays", " legs"), 2),
    ("The sun rises in the", (" east", " spoon", " verb"), 0),
    ("Monday, Tuesday,", (" Wednesday", " potato", " 1987"), 0),
)


class ToyChoice(Benchmark):
    """Six sentences, three endings each."""

    scorer = Choice()

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Yield the sentences."""
        for number, (sentence, endings, target) in enumerate(SENTENCES):
            yield SealedItem(f"choice-{number}", f"Complete: {sentence}", target, options=endings)
