"""What a user waits for: the command's help, and a short evaluation beside a container that only imports."""

import json
import statistics
import sys

from bench.ours import DEP_MCP, DIRECT, arguments, environment, home
from bench.process import run
from bench.report import Options, Table, spread
from dep_mcp.testing import FaultyProvider, faulty_provider, toy_folder

WIDTH = 32
_HELP, _RUN, _SMALLEST = "`dep-mcp --help`", "300 items, command to end", "300 items, command to first request"
_CLICK, _IMAGE = "`python -c 'import click'`", "`docker run` of the image that only imports"
_FLOORS = {_HELP: _CLICK, _RUN: _IMAGE, _SMALLEST: _IMAGE}


async def startup(options: Options) -> list[Table]:
    """Measure."""
    async with faulty_provider(answer="42") as provider:
        digest = await _image(provider)
    seen: dict[str, list[float]] = {name: [] for name in [*_FLOORS, *_FLOORS.values()]}
    container = ["docker", "run", "--rm", "--network=none", "--entrypoint=python", digest, "-c",
                 "import mcp, dep_mcp.server"]  # fmt: skip
    for _ in range(options.rounds):
        seen[_HELP].append((await run([DEP_MCP, "--help"])).wall_s)
        seen[_CLICK].append((await run([sys.executable, "-c", "import click"])).wall_s)
        seen[_IMAGE].append((await run(container)).wall_s)
        async with faulty_provider(answer="42") as provider:
            with home() as folder:
                ended = await run(_toy(provider), env=environment(folder))
            seen[_SMALLEST].append((await provider.counters())["first_at"] - ended.started_at)
        seen[_RUN].append(ended.wall_s)
    table = Table("Start-up", ["what", "s", "floor", "s", "ratio"])
    for name, floor in _FLOORS.items():
        ratio = statistics.median(seen[name]) / statistics.median(seen[floor])
        table.rows.append([name, spread(seen[name]), floor, spread(seen[floor]), f"{ratio:.2f}"])
    return [table]


def _toy(provider: FaultyProvider) -> list[str]:
    return list(map(str, arguments(provider, toy_folder(), DIRECT, "--concurrency", str(WIDTH))))


async def _image(provider: FaultyProvider) -> str:
    """Build the image; its digest."""
    with home() as folder:
        ended = await run(_toy(provider), env=environment(folder))
    return str(json.loads(ended.stdout)[0]["evaluation"]["settings"]["image_digest"])
