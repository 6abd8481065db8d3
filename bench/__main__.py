"""Start-up and CPU per item, each beside its floor, interleaved; medians with minimum and maximum."""

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dep_mcp.testing import faulty_provider, toy_folder

ROUNDS = 5
SMALL, LARGE = 300, 3000
"""Items of the two runs whose difference gives the marginal cost: start-up cancels out."""

BARE = """
import asyncio, aiohttp, sys
async def main(base, total, width):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=width)) as session:
        todo = iter(range(total))
        async def work():
            for number in todo:
                body = {"model": "faulty", "messages": [{"role": "user", "content": f"{number} + 1 ="}]}
                async with session.post(base + "/chat/completions", json=body) as reply:
                    (await reply.json())["choices"][0]["message"]["content"]
        await asyncio.gather(*(work() for _ in range(width)))
asyncio.run(main(sys.argv[1], int(sys.argv[2]), 32))
"""


def spent(command: Sequence[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command with its children; containers aren't among them."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603 (our own)
    if ended.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{ended.stderr}")
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def line(what: str, values: Sequence[float], unit: str, floor: Sequence[float]) -> str:
    """One row of the table."""
    middle, base = statistics.median(values), statistics.median(floor)
    return (
        f"| {what} | {middle:.3f} {unit} ({min(values):.3f} to {max(values):.3f}) | {base:.3f} {unit} "
        f"({min(floor):.3f} to {max(floor):.3f}) | {middle / base:.2f} |"
    )


async def main() -> None:
    """Print the table."""
    python, dep_mcp = sys.executable, str(Path(sys.executable).with_name("dep-mcp"))
    folder = tempfile.mkdtemp()
    env = {**os.environ, "DEP_MCP_HOME": folder, "DEP_MCP_PATH": str(toy_folder().parents[1])}
    help_, empty, run, bare, command, image = [], [], [], [], [], []
    async with faulty_provider(answer="target-1") as provider:
        base = (dep_mcp, "run", "-b", "toy", "-m", "openai-compatible/faulty", "--concurrency", "32", "--json")
        ours = [*base, "--api-base", provider.api_base, "--epochs"]
        ended = subprocess.run([*ours, "1"], env=env, capture_output=True, text=True, check=True)  # noqa: ASYNC221, S603
        digest = json.loads(ended.stdout)[0]["evaluation"]["settings"]["image_digest"]
        imports = [
            "docker",
            "run",
            "--rm",
            "--network=none",
            "--entrypoint=python",
            digest,
            "-c",
            "import mcp, dep_mcp.server",
        ]
        for _ in range(ROUNDS):
            help_.append(spent([dep_mcp, "--help"], env)[0])
            empty.append(spent([python, "-c", "import click"], env)[0])
            image.append(spent(imports, env)[0])
            command.append(spent([*ours, "1"], env)[0])
            costs = [spent([*ours, str(items // 300)], env)[1] for items in (SMALL, LARGE)]
            run.append(1000 * (costs[1] - costs[0]) / (LARGE - SMALL))
            costs = [spent([python, "-c", BARE, provider.api_base, str(items)], env)[1] for items in (SMALL, LARGE)]
            bare.append(1000 * (costs[1] - costs[0]) / (LARGE - SMALL))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, Python {sys.version.split()[0]}, {ROUNDS} rounds\n")  # noqa: T201
    print("| what | median (min to max) | floor | ratio |\n|---|---|---|---|")  # noqa: T201
    print(line("`--help` / `import click`", help_, "s", empty))  # noqa: T201
    print(line("300 items, command to end / `docker run` of the image that only imports", command, "s", image))  # noqa: T201
    print(line("marginal client CPU per item / bare aiohttp loop", run, "ms", bare))  # noqa: T201


asyncio.run(main())
