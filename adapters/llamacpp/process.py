"""Starts and stops the server of a local model."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from dep_mcp.adapters.llamacpp.weights import find
from dep_mcp.protocol import ModelCard
from dep_mcp.protocol.errors import ModelCallError

START_TIMEOUT_S = 150.0
STOP_TIMEOUT_S = 5.0


def command(
    card: ModelCard, *, cache_dir: Path, log_path: Path, say: Callable[[str], None], port: int = 0
) -> list[str]:
    """The command line of a card's server; fetches its weights where they are missing.

    Raises:
        DataError: The weights can't be had.
    """
    if card.weights is None:
        msg = f"the card of {card.name} names no weights to serve"
        raise ModelCallError(msg, 404)
    model = find(card.weights, cache_dir=cache_dir, say=say)
    module = "dep_mcp.adapters.llamacpp.server"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    served = ["--model", str(model), "--alias", card.model, "--port", str(port), "--log", str(log_path)]
    return [sys.executable, "-m", module, *served]


@asynccontextmanager
async def serve(
    card: ModelCard, *, cache_dir: Path, log_path: Path, say: Callable[[str], None]
) -> AsyncGenerator[ModelCard]:
    """Serve a card's model while the block runs; yields the card with the server's address.

    The server ends when this process does, even by `kill -9`: it watches its standard input.

    Raises:
        DataError: The weights can't be had.
        ModelCallError: 503: the server didn't start; the message says why, or where its log is.
    """
    arguments = await asyncio.to_thread(command, card, cache_dir=cache_dir, log_path=log_path, say=say)
    process = await asyncio.create_subprocess_exec(
        *arguments,
        "--exit-with-stdin",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal is the runner's: calls in flight end first
    )
    try:
        yield card.model_copy(update={"api_base": await _address(process, log_path)})
    finally:
        await _stop(process)


async def _address(process: asyncio.subprocess.Process, log_path: Path) -> str:
    if process.stdout is None or process.stderr is None:  # pragma: no cover (pipes were asked for)
        raise RuntimeError
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await process.stdout.readline()
    except TimeoutError:
        line = b""
    if not line:
        said = (await process.stderr.read()).decode(errors="replace").strip() if await _ended(process) else ""
        msg = f"the server of the local model didn't start: {said or f'see {log_path}'}"
        raise ModelCallError(msg, 503)
    return str(json.loads(line)["api_base"])


async def _ended(process: asyncio.subprocess.Process) -> bool:
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
    if process.stdin is not None:
        process.stdin.close()
