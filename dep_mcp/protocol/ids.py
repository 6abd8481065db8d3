"""Identifiers: evaluation ids are minted here; item ids are the benchmark author's."""

import secrets
import time
from typing import Annotated, Final

from pydantic import StringConstraints

from dep_mcp.protocol.base import STEERS

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's base 32 in lower case: sorts as the number sorts, and no letter is taken for a digit."""

EvaluationId = Annotated[str, StringConstraints(pattern=r"^ev_[0-9a-hjkmnp-tv-z]{36}$")]
"""`ev_`, 48 bits of milliseconds since 1970 (UTC), 128 random bits; sorts by time of creation."""

ItemId = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=f"^[^{STEERS}]+$")]
"""Unique within a benchmark; chosen by its author; nothing that steers a terminal."""


def new_evaluation_id() -> EvaluationId:
    """Mint an id that sorts by time and can't be guessed (128 random bits)."""
    number = (time.time_ns() // 1_000_000) << 132 | secrets.randbits(128) << 4
    return "ev_" + "".join(_ALPHABET[number >> shift & 31] for shift in range(175, -1, -5))


def new_seed() -> str:
    """Draw a secret seed: 128 random bits as 32 hexadecimal digits."""
    return secrets.token_hex(16)
