"""Has a benchmark's own image commit to its items and targets, or open that commitment when the benchmark retires."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from dep_mcp.containers import ContainerRuntime, ContainerSpec
from dep_mcp.orchestrator.keys import OwnerKeys
from dep_mcp.protocol import Commitment, DatasetCard, Opening, WireModel
from dep_mcp.protocol.errors import CardError, ContainerLostError, DataError

Answer = TypeVar("Answer", bound=WireModel)

TIMEOUT_S = 900.0
"""For 200,000 items a minute is enough."""


async def commit(runtime: ContainerRuntime, image: str, card: DatasetCard, keys: OwnerKeys) -> Commitment:
    """Commit to the items and targets in an image, with a salt that is kept for the opening.

    Raises:
        DataError: The benchmark generates its items, or the image fails otherwise.
        StoreError: The salt can't be kept.
    """
    salt = keys.new_salt()
    commitment = None
    async with aclosing(answers(runtime, image, card, Commitment, "commit", asked(card, keys, salt))) as found:
        async for answer in found:
            if commitment is not None:
                raise _nonsense(card)
            commitment = answer
    if commitment is None:
        raise _nonsense(card)
    keys.keep_salt(commitment, salt)
    return commitment


async def open_up(
    runtime: ContainerRuntime, image: str, card: DatasetCard, keys: OwnerKeys, *, item_ids: Sequence[str] = ()
) -> AsyncGenerator[Opening]:
    """Open items of a retired benchmark with their targets; all of them where none is named.

    Raises:
        CardError: The card commits to nothing.
        UnknownNameError: The salt isn't here.
        DataError: The image refuses: the benchmark isn't retired, or has no such item.
    """
    if card.commitment is None:
        msg = f"the card of {card.name} commits to nothing, so there is nothing to open: see `dep-mcp bench commit`"
        raise CardError(msg)
    secret = asked(card, keys, keys.salt(card.commitment), item_ids)
    async for opening in answers(runtime, image, card, Opening, "open", secret):
        yield opening


def asked(card: DatasetCard, keys: OwnerKeys, salt: str, item_ids: Sequence[str] = ()) -> bytes:
    """The line of input of a command in the image: secrets, which no argument may be."""
    key = keys.data_key(card.sealed.recipient) if card.sealed else None
    return to_json({"salt": salt, "items": list(item_ids), "data_key": key}) + b"\n"


def _nonsense(card: DatasetCard) -> DataError:
    return DataError(f"the image of {card.name} printed what isn't asked for: build it again from a folder you trust")


async def answers(
    runtime: ContainerRuntime, image: str, card: DatasetCard, kind: type[Answer], command: str, secret: bytes
) -> AsyncGenerator[Answer]:
    """What a command in the image prints, a line each; secrets go in over its input, where no inspection shows them."""
    spec = ContainerSpec(
        image=image,
        labels={"org.dep-mcp.benchmark": card.name},
        memory_mb=card.resources.memory_mb,
        cpus=card.resources.cpus,
        command=("python", "-m", "dep_mcp.server", command, "/benchmark"),
    )
    try:
        async with asyncio.timeout(TIMEOUT_S), runtime.start(spec) as container:
            await container.write(secret)
            async for line in container.lines():
                yield kind.model_validate_json(line)
            if await container.exit_status() != 0:
                raise DataError(container.stderr_tail().strip()[-2000:] or f"{command} failed without a word")
    except ValidationError as error:
        raise _nonsense(card) from error
    except TimeoutError as error:
        msg = f"the image of {card.name} didn't end `{command}` within {TIMEOUT_S:.0f} s"
        raise ContainerLostError(msg) from error
