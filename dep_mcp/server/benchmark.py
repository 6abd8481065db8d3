"""What an author of a benchmark writes: a class with `items()` and a scorer."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from dep_mcp.protocol import DatasetCard, Item, Message
from dep_mcp.protocol.errors import DataError
from dep_mcp.scoring import Scorer, Target


class SealedItem:
    """An item together with its target. Has no wire form: only `item` ever leaves the container.

    Args:
        item_id: Unique within the benchmark.
        prompt: What the model reads: one user message, or the whole conversation.
        target: The ground truth, as JSON.
        options: For a choice by log-likelihood: the continuations to weigh.
        subtask: The part of the benchmark it belongs to.
    """

    __slots__ = ("item", "target")

    def __init__(
        self,
        item_id: str,
        prompt: str | Sequence[Message],
        target: Target,
        *,
        options: Sequence[str] = (),
        subtask: str | None = None,
    ) -> None:
        messages = (Message(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
        self.item = Item(item_id=item_id, messages=messages, options=tuple(options), subtask=subtask)
        self.target = target

    def __repr__(self) -> str:
        """Without the target, so that no log or traceback can hold it."""
        return f"SealedItem({self.item.item_id!r})"


class Draw:
    """What an evaluation asks of a benchmark that generates its items.

    Attributes:
        seed: Secret, drawn for this evaluation; the same seed gives the same items.
        task: The part asked for, or `None` for the whole.
        limit: How many items will be used at most, or `None`.
    """

    def __init__(self, seed: str = "0" * 32, task: str | None = None, limit: int | None = None) -> None:
        self.seed = int(seed, 16)
        self.task = task
        self.limit = limit

    def rng(self, name: str) -> Random:
        """An independent random stream for a part of the benchmark."""
        return Random(f"{self.seed}/{name}")  # noqa: S311 (the seed is the secret)


class Benchmark:
    """Base of a benchmark: subclass it in `benchmark.py`, beside `dataset_card.yaml`.

    Attributes:
        scorer: Judges one submission against its target.
        generated: Whether `items` depends on the draw. If not, items are indexed once, when the image is built.
        card: The dataset card.
        folder: The benchmark's folder inside the image; data files lie in `folder / "data"`.
    """

    scorer: ClassVar[Scorer]
    generated: ClassVar[bool] = False

    def __init__(self, card: DatasetCard, folder: Path) -> None:
        self.card = card
        self.folder = folder

    def items(self, draw: Draw) -> Iterable[SealedItem]:
        """Yield every item with its target, in a fixed order."""
        msg = f"{type(self).__name__} in benchmark.py defines no items(self, draw)"
        raise NotImplementedError(msg)

    def tasks(self) -> Sequence[str]:
        """Names that a user may choose from as `benchmark:task`; for indexed items, their sub-tasks."""
        return ()

    def plant(self, target: Target, canary: str) -> Target:
        """Put a canary into a target, for `dep-mcp bench verify-seal`; override it where that spoils the target's form.

        Args:
            target: Of one item.
            canary: Digits that nothing else holds.
        """
        return planted(target, canary)

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        """The objects of a JSON-lines file of the benchmark's data.

        Raises:
            DataError: A line isn't a JSON object; the message has its number and none of its text.
        """
        with (self.folder / "data" / name).open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if not isinstance(row, dict):
                    msg = f"{name}, line {number}: not a JSON object"
                    raise DataError(msg)
                yield row


def planted(target: Target, canary: str) -> Target:
    """The target with a canary in each of its texts; numbers get its digits; truth values are left as they are."""
    if isinstance(target, str):
        return target + canary
    if isinstance(target, list):
        return [planted(one, canary) for one in target] or [canary]
    if isinstance(target, dict):
        return {key: planted(value, canary) for key, value in target.items()} or {canary: canary}
    if isinstance(target, bool | None):
        return target
    return int(f"{int(target)}{canary}")
