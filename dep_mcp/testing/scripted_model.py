"""A model that answers by a function, for tests and examples: no network, no weights."""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from dep_mcp.models import Completion
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError

Script = Callable[[Item, int], str | ModelCallError]
"""From an item and the number of the call for it (from 1) to the text, or to the error of the call."""


class ScriptedModel:
    """Implements the adapter port.

    Args:
        script: What to answer.
        latency_s: How long each call takes.
    """

    def __init__(self, script: Script, *, latency_s: float = 0.0) -> None:
        self._script = script
        self._latency_s = latency_s
        self.calls: Counter[str] = Counter()
        """Calls by item id."""

    async def __aenter__(self) -> Self:
        """Nothing to open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""

    async def check(self) -> None:
        """Always reachable."""

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """Answer by the script; for a choice, the text names the option's index."""
        del generation, timeout_s, epoch
        self.calls[item.item_id] += 1
        await asyncio.sleep(self._latency_s)
        said = self._script(item, self.calls[item.item_id])
        if isinstance(said, ModelCallError):
            raise said
        if item.options:
            values = tuple(-1.0 if str(index) == said else -2.0 for index in range(len(item.options)))
            return Completion(answer=ChoiceAnswer(log_likelihoods=values, token_counts=(1,) * len(values)))
        return Completion(
            answer=TextAnswer(text=said, finish_reason="stop"),
            usage=Usage(prompt_tokens=3, completion_tokens=1),
        )
