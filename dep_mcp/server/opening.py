"""Commits to the items and targets of a benchmark, and opens that commitment.

Runs inside the image; no author's code does.

Neither is a tool: a container that serves an evaluation has no way to show a target, whoever asks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dep_mcp.protocol import Commitment, DataKey, DatasetCard, Opening, parse_card
from dep_mcp.protocol.errors import CardError, DataError, GeneratedError, UnknownItemError
from dep_mcp.receipts import Committed
from dep_mcp.server.bundle import BUNDLE, SEALED, Bundle
from dep_mcp.server.sealing import unseal


def commit(folder: Path, secret: bytes, key: DataKey | None = None) -> Commitment:
    """Compute what the card shall publish.

    Raises:
        DataError: The benchmark generates its items.
        WrongKeyError: It is sealed, and the key isn't the right one.
    """
    return Committed(secret, _bundle(folder, key).rows()).commitment


def openings(folder: Path, secret: bytes, item_ids: Sequence[str], key: DataKey | None = None) -> Iterator[Opening]:
    """Open items of a retired benchmark; all of them, in their order, where none is named.

    Raises:
        CardError: The card doesn't say that the benchmark is retired, or commits to nothing.
        DataError: Secret or data aren't those that the card commits to.
        UnknownItemError: No item of that id.
    """
    card = parse_card(DatasetCard, (folder / "dataset_card.yaml").read_bytes, "dataset_card.yaml")
    if not card.retired:
        msg = f"{card.name} is in use: its targets stay sealed until its card says `retired: true`"
        raise CardError(msg)
    bundle = _bundle(folder, key)
    committed = Committed(secret, bundle.rows())
    if card.commitment != committed.commitment:
        msg = (
            f"the card of {card.name} doesn't commit to these items with this secret: nothing can be proved by opening"
        )
        raise DataError(msg)
    numbers: Sequence[int] = range(committed.commitment.items)
    if item_ids:
        numbers = [_number(bundle, item_id) for item_id in item_ids]
    for number in numbers:
        yield committed.opening(number, *bundle.row(number), alone=bool(item_ids))


def _bundle(folder: Path, key: DataKey | None) -> Bundle:
    if (folder / SEALED).is_file():
        return unseal(folder, key)
    if not (folder / BUNDLE).is_file():
        msg = "its items are generated for each evaluation, so there are none to commit to; its digest is of its code"
        raise GeneratedError(msg)
    return Bundle.load(folder / BUNDLE)


def _number(bundle: Bundle, item_id: str) -> int:
    number = bundle.number_of(item_id)
    if number is None:
        msg = f"no item has the id {item_id!r}"
        raise UnknownItemError(msg)
    return number
