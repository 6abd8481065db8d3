"""A start for adapters: the deadline of a call, how long it took, and errors fit to be kept and shown."""

import asyncio
import time
from types import TracebackType
from typing import Self

from dep_mcp.adapters.outcome import outcome
from dep_mcp.models import Completion
from dep_mcp.protocol import Generation, Item, ModelCard
from dep_mcp.protocol.errors import ModelCallError


class BaseAdapter:
    """Opens nothing and checks nothing; a subclass `Adapter` overrides `reply`, and `check` where it can.

    Retries, limits and the log are the toolkit's, for every adapter alike.

    Args:
        card: The model's.
        api_key: The value of the variable that the card names.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        self.card = card
        self.api_key = api_key

    async def __aenter__(self) -> Self:
        """Open what the calls share."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""

    async def check(self) -> None:
        """Find out, without a paid call, whether calls can work; see `dep_mcp.models.ModelAdapter`."""

    async def reply(self, item: Item, generation: Generation, epoch: int) -> Completion:
        """Send one request; what it raises besides, the caller counts as 500.

        Args:
            item: What to answer, the system prompt among its messages.
            generation: Settings.
            epoch: Which repetition, from 1.

        Raises:
            ModelCallError: With one status of the contract; its detail may quote the request, which is taken out.
        """
        raise NotImplementedError

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        """One reply within its time.

        Raises:
            ModelCallError: As `reply` raised it; 408 at the deadline.
        """
        begin = time.monotonic()
        sent = item.model_copy(update={"messages": generation.messages(item)})
        try:
            async with asyncio.timeout(timeout_s):
                completion = await self.reply(sent, generation, epoch)
        except TimeoutError:
            msg = f"no answer within {timeout_s:.0f} s"
            raise ModelCallError(msg, 408) from None
        except ModelCallError as error:
            wait_s = error.retry_after_s
            raise outcome(error.detail, error.status, item=sent, api_key=self.api_key, retry_after_s=wait_s) from None
        return completion.model_copy(update={"latency_s": time.monotonic() - begin})
