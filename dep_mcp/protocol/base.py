"""The base of every wire type, and the version of the protocol they form."""

from typing import Annotated, Final

from pydantic import AllowInfNan, BaseModel, ConfigDict, StringConstraints

PROTOCOL_VERSION: Final = "0.2"
"""Major.minor of the wire protocol, separate from the package's version: a client refuses another major."""

PAGE_ITEMS: Final = 100
"""Most items (or submissions) in one page of `get_items` (or one call of `submit`)."""

PAGE_BYTES: Final = 256 * 1024
"""Most UTF-8 bytes of items in one page, unless a single item alone is larger."""

MESSAGE_BYTES: Final = 4 * 1024 * 1024
"""Most bytes of one message on the wire, either way."""

FiniteFloat = Annotated[float, AllowInfNan(False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
"""A name that is safe in a path, a label and a terminal."""

STEERS = r"\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069"
"""What would move a terminal's cursor, colour it, or turn its text round."""
Line = Annotated[str, StringConstraints(max_length=1000, pattern=f"^[^{STEERS}]*$")]
"""One line of text that is shown to people as it is."""
Text = Annotated[str, StringConstraints(max_length=100_000, pattern=f"^(?:[^{STEERS}]|[\n\t])*$")]
"""Lines of such text."""

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class WireModel(BaseModel):
    """Base of everything that crosses a process boundary: immutable and closed."""

    model_config = ConfigDict(frozen=True, extra="forbid")
