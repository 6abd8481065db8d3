"""Entry point inside an image: `python -m dep_mcp.server index|check|seal|serve|commit|open|planted FOLDER`."""

import asyncio
import ctypes
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from mcp.server.stdio import stdio_server
from pydantic import ValidationError

from dep_mcp.protocol import CANARY_SEED, DataKey, Hex256, ItemId, Planting, Recipient, WireModel, canary_ends
from dep_mcp.protocol.errors import DataError, DepError, InvalidArgumentsError
from dep_mcp.server.app import create_app
from dep_mcp.server.backlog import bounded
from dep_mcp.server.benchmark import Draw
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.loading import index, load_benchmark, load_session
from dep_mcp.server.opening import commit, openings
from dep_mcp.server.sealing import kept_output, receive, seal, unseal

_PR_SET_DUMPABLE = 4


async def serve(folder: Path) -> None:
    """Serve MCP on standard input and output until the input ends."""
    app = create_app(load_session(folder))
    async with stdio_server() as streams, bounded(*streams) as (read, write):
        await app.run(read, write, app.create_initialization_options())


class _Input(WireModel):
    """One line of JSON on the input."""

    @classmethod
    def read(cls) -> Self:
        try:
            return cls.model_validate_json(sys.stdin.buffer.readline())
        except ValidationError:  # which quotes what it was given
            msg = f"expected one line of JSON with {', '.join(cls.model_fields)}"
            raise InvalidArgumentsError(msg) from None


class _Data(_Input):
    """The line before the data that `seal` takes."""

    recipient: Recipient
    files: dict[str, int]
    """Bytes by name, in the order in which they follow."""


class _Asked(_Input):
    """The line of input of `commit` and `open`: never an argument, which the engine would show."""

    salt: Hex256
    items: tuple[ItemId, ...] = ()
    data_key: DataKey | None = None

    @property
    def secret(self) -> bytes:
        return bytes.fromhex(self.salt)


def check(folder: Path) -> None:
    """Import the benchmark's code, without its data."""
    load_benchmark(folder)


def seal_data(folder: Path) -> None:
    """Print the encrypted bundle of the data that comes in, as base64, and then what the card says of it.

    Raises:
        DataError: The author's code raised; told by the type alone, since its message may quote a target.
    """
    asked, errors = _Data.read(), os.dup(2)
    out = kept_output()
    try:
        mirror = Path(tempfile.mkdtemp()) / "benchmark"
        receive(sys.stdin.buffer, folder, asked.files, mirror)
        out.write(seal(load_benchmark(mirror), asked.recipient, out).model_dump_json().encode() + b"\n")
        out.flush()
    except DepError:
        raise
    except Exception as error:  # noqa: BLE001 (an author's code may raise anything)
        msg = f"benchmark.py raised {type(error).__name__}"
        raise DataError(msg) from None
    finally:
        os.dup2(errors, 2)


def planted(folder: Path) -> None:
    """Print what the planting of canaries came to, in a verification image."""
    asked, seed = _Asked.read(), (folder / CANARY_SEED).read_text(encoding="ascii").strip()
    benchmark = load_benchmark(folder)
    if benchmark.card.sealed:
        bundle = unseal(folder, asked.data_key)
        planting = Planting.model_validate(json.loads(bundle.header)["planting"])
    else:
        bundle = Bundle.build(benchmark.items(Draw(seed)))
        planting = Planting.model_validate(benchmark.planting)  # type: ignore[attr-defined]  # it is a planted one
    targets = [target for _, target in bundle.rows()]
    held = sum(canary_ends(seed)[0] in target for target in targets)
    _print(planting.model_copy(update={"items": len(targets), "planted": held}))


def commit_to(folder: Path) -> None:
    """Print the commitment to a benchmark's items and targets."""
    asked = _Asked.read()
    _print(commit(folder, asked.secret, asked.data_key))


def open_up(folder: Path) -> None:
    """Print items and targets of a retired benchmark, one opening a line."""
    asked = _Asked.read()
    for opening in openings(folder, asked.secret, asked.items, asked.data_key):
        _print(opening)


def _print(model: WireModel) -> None:
    sys.stdout.buffer.write(model.model_dump_json().encode() + b"\n")
    sys.stdout.buffer.flush()


_COMMANDS: Mapping[str, Callable[[Path], None]] = {
    "index": index,
    "check": check,
    "seal": seal_data,
    "serve": lambda folder: asyncio.run(serve(folder)),
    "commit": commit_to,
    "open": open_up,
    "planted": planted,
}


def main(arguments: list[str]) -> int:
    """Run one of the commands."""
    if len(arguments) != 2 or arguments[0] not in _COMMANDS:  # noqa: PLR2004 (command and folder)
        sys.stderr.write(f"usage: python -m dep_mcp.server {'|'.join(_COMMANDS)} FOLDER\n")
        return 2
    # Closes this process's memory and descriptors in /proc to its own user: a scorer's child, and whoever on the host
    # has that id.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        _COMMANDS[arguments[0]](Path(arguments[1]))
    except DepError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
