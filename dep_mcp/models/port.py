"""The one port through which a model is called: `ModelAdapter`.

An adapter sends one request and returns one reply or raises one `ModelCallError`. It never retries,
never caches, never counts: that is the runner's, by the status contract.
"""

from types import TracebackType
from typing import Protocol, Self, runtime_checkable

from dep_mcp.models.allowance import Allowance
from dep_mcp.protocol import Answer, Generation, Item, Usage, WireModel


class Completion(WireModel):
    """The uniform reply: what the model said, and what it cost."""

    answer: Answer
    """A `TextAnswer` for a chat item, a `ChoiceAnswer` for an item with options."""
    usage: Usage = Usage()
    cost_usd: float | None = None
    """`None` where the price isn't known."""
    model: str | None = None
    """The model's name as the provider reported it."""
    latency_s: float = 0.0
    allowance: Allowance | None = None
    """What the provider said of its limits, if it did."""
    cached: bool = False
    """It was kept from another evaluation: nothing was asked, nothing was paid."""
    reasoning: str | None = None
    """What it thought before, where the provider keeps that apart from the answer."""


@runtime_checkable
class ModelAdapter(Protocol):
    """A model behind an endpoint, a process or a file; an async context manager that owns its connections.

    `adapters/<name>/adapter.py` defines a class `Adapter` that takes
    `(card: ModelCard, *, api_key: str | None)`.
    """

    async def __aenter__(self) -> Self:
        """Open what the calls share."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""

    async def check(self) -> None:
        """Find out, without a paid call, whether calls can work: key present, endpoint reachable, model known.

        Raises:
            ModelCallError: 401, 404 or 503 with what to do.
            UnknownNameError: The provider or model isn't known.
        """

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """Answer one item with one call (one per option for a choice).

        Args:
            item: Sent as it is.
            generation: Settings, all of them passed on where not `None`.
            timeout_s: Deadline of the whole call.
            epoch: Which planned repetition this is; for adapters that replay recorded answers.

        Raises:
            ModelCallError: With exactly one status of the contract.
        """
