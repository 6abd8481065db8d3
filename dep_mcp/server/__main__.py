"""Entry point inside an image: `python -m dep_mcp.server index|serve|commit|open FOLDER`."""

import asyncio
import ctypes
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from mcp.server.stdio import stdio_server
from pydantic import ValidationError

from dep_mcp.protocol import Hex256, ItemId, WireModel
from dep_mcp.protocol.errors import DepError, InvalidArgumentsError
from dep_mcp.server.app import create_app
from dep_mcp.server.loading import index, load_session
from dep_mcp.server.opening import commit, openings

_PR_SET_DUMPABLE = 4


async def serve(folder: Path) -> None:
    """Serve MCP on standard input and output until the input ends."""
    # Closes this process's memory and descriptors in /proc to its own user, so also to a scorer's child.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    app = create_app(load_session(folder))
    async with stdio_server() as (read, write):
        await app.run(read, write, app.create_initialization_options())


class _Asked(WireModel):
    """The line of input of `commit` and `open`: never an argument, which the engine would show."""

    salt: Hex256
    items: tuple[ItemId, ...] = ()

    @classmethod
    def read(cls) -> Self:
        try:
            return cls.model_validate_json(sys.stdin.buffer.readline())
        except ValidationError:  # which quotes what it was given
            msg = "expected one line of JSON: the salt as 64 hexadecimal digits, and ids of items"
            raise InvalidArgumentsError(msg) from None

    @property
    def secret(self) -> bytes:
        return bytes.fromhex(self.salt)


def commit_to(folder: Path) -> None:
    """Print the commitment to a benchmark's items and targets."""
    _print(commit(folder, _Asked.read().secret))


def open_up(folder: Path) -> None:
    """Print items and targets of a retired benchmark, one opening a line."""
    asked = _Asked.read()
    for opening in openings(folder, asked.secret, asked.items):
        _print(opening)


def _print(model: WireModel) -> None:
    sys.stdout.buffer.write(model.model_dump_json().encode() + b"\n")
    sys.stdout.buffer.flush()


_COMMANDS: Mapping[str, Callable[[Path], None]] = {
    "index": index,
    "serve": lambda folder: asyncio.run(serve(folder)),
    "commit": commit_to,
    "open": open_up,
}


def main(arguments: list[str]) -> int:
    """Run one of the commands."""
    if len(arguments) != 2 or arguments[0] not in _COMMANDS:  # noqa: PLR2004 (command and folder)
        sys.stderr.write(f"usage: python -m dep_mcp.server {'|'.join(_COMMANDS)} FOLDER\n")
        return 2
    try:
        _COMMANDS[arguments[0]](Path(arguments[1]))
    except DepError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
