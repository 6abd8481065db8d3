"""What `dep-mcp bench verify-seal` does: use a benchmark with planted targets in every way, search what left."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dep_mcp.orchestrator import OwnerKeys, abuse, find_data, verifying
from dep_mcp.orchestrator.beside import beside_data
from dep_mcp.orchestrator.leaks import Leak

if TYPE_CHECKING:
    from dep_mcp.cli.wiring import Host
    from dep_mcp.orchestrator import BenchmarkFolder

_MODEL = '''"""Answers without a model."""
from dep_mcp.protocol.errors import ModelCallError

def answers(messages, generation, options=()):
    return {"log_likelihoods": [-1.0] * len(options), "token_counts": [1] * len(options)} if options else "#### 42"

def fails(messages, generation, options=()):
    raise ModelCallError("refused", 400)
'''
_LAYERS = "layers of the image"
_MIB = 1 << 20


async def verify_seal(
    host: "Host", benchmark: "BenchmarkFolder", data: Sequence[Path], scratch: Path, say: Callable[[str], None]
) -> list[Leak]:
    """Search all that leaves a benchmark, and all that is kept of it, for canaries; return what was found.

    Args:
        host: Of this process; its store and keys stay untouched.
        benchmark: The folder with its plain data.
        data: Where its data is looked for.
        scratch: An empty folder.
        say: Told each thing that was searched.
    """
    files = find_data(benchmark, host.data_places(benchmark, data))
    home = scratch / "home"
    keys = OwnerKeys(home / "keys")
    leaks = list(beside_data(benchmark, files))
    base = host.settings.base_image
    async with verifying.planted(host.runtime, benchmark, files, scratch, keys, base_image=base) as target:
        for line in _planting(target):
            say(line)
        async for where, content in _everything(host, target, scratch, home, keys):
            found = list(target.search.leaks(where, content, decode=where != _LAYERS))
            say(f"{where}: {_size(len(content))}, {f'{len(found)} LEAKS' if found else 'no canary'}")
            leaks += found
    return leaks


async def _everything(
    host: "Host", target: verifying.Planted, scratch: Path, home: Path, keys: OwnerKeys
) -> AsyncIterator[tuple[str, bytes]]:
    async for where, content in abuse.use_and_abuse(host.runtime, target, keys):
        yield where, content
    async for where, content in _commands(target.folder.folder, scratch, home):
        yield where, content
    for where, content in _kept(home):
        yield where, content


def _planting(target: verifying.Planted) -> Iterator[str]:
    """What was planted where, and what no canary shows: that is for a person to look at."""
    found = target.planting
    how = "items and targets are encrypted for this" if target.folder.card.sealed else "items are generated at `open`"
    yield f"{found.planted} of {found.items} targets hold a canary; {how}"
    if found.fields:
        yield f"planted in the raw data ({', '.join(found.fields)}): an item that shows such a field whole is found"
    else:
        yield "NOTE planted in targets after the items were made: an item that shows its own target is NOT found"
    if found.shared:
        yield f"NOTE another part of {', '.join(found.shared)} is shown in items: look whether it gives targets away"
    if found.shown:
        yield f"NOTE {found.shown} items hold their own target's text, such as {found.example}: look whether it tells"
    if found.same:
        yield "NOTE all targets are the same: whoever knows one knows all (are the right options always the first?)"


def _size(count: int) -> str:
    return f"{count / _MIB:.1f} MiB" if count >= _MIB else f"{count} bytes"


async def _commands(folder: Path, scratch: Path, home: Path) -> AsyncIterator[tuple[str, bytes]]:
    """What our own commands print: a whole evaluation and one that fails, their answers, logs and receipts."""
    model = scratch / "model.py"
    model.write_text(_MODEL, encoding="utf-8")
    run = ("run", "-b", f"{folder}/", "--concurrency", "16", "-m")
    for name, arguments in (
        ("an evaluation", (*run, f"callable:{model}:answers")),
        ("an evaluation as events", (*run, f"callable:{model}:answers", "--limit", "50", "--events")),
        ("a failing evaluation", (*run, f"callable:{model}:fails")),
        ("ls", ("ls",)),
        ("leaderboard", ("leaderboard",)),
    ):
        yield f"output of {name}", await _output(home, arguments)
    for log in sorted((home / "logs").glob("*.jsonl")):
        for words in (("show", log.stem, "--answers"), ("receipt", "export", log.stem), ("logs", log.stem)):
            yield f"output of {' '.join(words)}", await _output(home, words)


async def _output(home: Path, arguments: Sequence[str]) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dep_mcp.cli", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"DEP_MCP_HOME": str(home)},
    )
    return (await process.communicate())[0]


def _kept(home: Path) -> Iterator[tuple[str, bytes]]:
    """Store, logs and whatever else lies in the home folder, but for the keys."""
    for path in sorted(home.rglob("*")):
        if path.is_file() and path.parent != home / "keys":
            yield f"home folder: {path.relative_to(home)}", path.read_bytes()
