"""Numbers that are planted in targets to see whether any of them leaves a container: `dep-mcp bench verify-seal`."""

import hashlib
from typing import Final

from dep_mcp.protocol.base import WireModel

CANARY_SEED: Final = "canary.seed"
"""Name of the file in a benchmark's folder that has canaries planted."""
END_DIGITS: Final = 12
"""Digits at either end of a canary. Each is searched for alone, so that one that was cut in two is found too."""
NUMBER_DIGITS: Final = 6


def canary_ends(seed: str) -> tuple[str, str]:
    """The first and the last digits of all canaries of a seed, of 12 each; by chance, 2 in 10¹² texts hold them."""
    number = int.from_bytes(hashlib.sha256(f"dep-mcp canary {seed}".encode()).digest())
    head, tail = number % 10**END_DIGITS, number // 10**END_DIGITS % 10**END_DIGITS
    return f"{head:0{END_DIGITS}}".replace("0", "7"), f"{tail:0{END_DIGITS}}".replace("0", "3")


def canary(seed: str, number: int) -> str:
    """The canary of the item with that number; digits only, so that it fits into numbers too."""
    head, tail = canary_ends(seed)
    return f"{head}{number % 10**NUMBER_DIGITS:0{NUMBER_DIGITS}}{tail}"


class Planting(WireModel):
    """What an image with canaries says of them. It names fields and items, never a target."""

    items: int = 0
    """How many it has."""
    planted: int = 0
    """How many of their targets hold a canary."""
    fields: tuple[str, ...] = ()
    """Fields of the raw data that hold them; none where they were added to targets, after the items were made."""
    shared: tuple[str, ...] = ()
    """Those of them of which a part is shown in items."""
    shown: int = 0
    """Items that hold their own target's text, as it is in the data."""
    example: str = ""
    """The id of one of them."""
    same: bool = False
    """Whether all targets are the same."""
