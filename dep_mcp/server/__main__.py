"""Entry point inside an image: `python -m dep_mcp.server index|serve FOLDER`."""

import asyncio
import ctypes
import sys
from pathlib import Path

from mcp.server.stdio import stdio_server

from dep_mcp.protocol.errors import DepError
from dep_mcp.server.app import create_app
from dep_mcp.server.loading import index, load_session

_PR_SET_DUMPABLE = 4


async def serve(folder: Path) -> None:
    """Serve MCP on standard input and output until the input ends."""
    # Closes this process's memory and descriptors in /proc to its own user, so also to a scorer's child.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    app = create_app(load_session(folder))
    async with stdio_server() as (read, write):
        await app.run(read, write, app.create_initialization_options())


def main(arguments: list[str]) -> int:
    """Run one of the two commands."""
    if len(arguments) != 2 or arguments[0] not in {"index", "serve"}:  # noqa: PLR2004 (command and folder)
        sys.stderr.write("usage: python -m dep_mcp.server index|serve FOLDER\n")
        return 2
    try:
        if arguments[0] == "index":
            index(Path(arguments[1]))
        else:
            asyncio.run(serve(Path(arguments[1])))
    except DepError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
