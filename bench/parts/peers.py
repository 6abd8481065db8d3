"""The same items through the peers, each in a venv of its own, and through dep-mcp with its container; interleaved."""

import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from bench.benchmarks.items.questions import ANSWER, question
from bench.container import Sealed
from bench.floors import bare, marginal_ms
from bench.ours import DIRECT, Evaluated, evaluate, items_folder, prepare
from bench.peers import PEERS, Job, Peer, environment
from bench.process import CommandError, run
from bench.report import Options, Table, spread
from bench.venvs import installed, venv
from dep_mcp.testing import FaultyProvider, faulty_provider

LATENCY_S = 0.05
SIZES, WIDTH = (1000, 3000), 100
OURS, FLOOR = "dep-mcp run", "bare aiohttp loop"


@dataclass
class Client:
    """A client in the table.

    Attributes:
        sizes: Items of its two runs.
        width: Calls in flight.
        peer: How to run it, unless it is ours or the floor.
        venv: Where it is installed.
        small: Runs.
        large: Runs.
        failed: Why it has no figures, or not all.
    """

    sizes: tuple[int, int]
    width: int = WIDTH
    peer: Peer | None = None
    venv: Path = Path()
    small: list[Evaluated] = field(default_factory=list)
    large: list[Evaluated] = field(default_factory=list)
    failed: str | None = None


async def peers(options: Options) -> list[Table]:
    """Measure."""
    sizes = (options.size(SIZES[0]), options.size(SIZES[1]))
    clients = {FLOOR: Client(sizes), OURS: Client(sizes)}
    notes = []
    for name, peer in PEERS.items():
        if not options.wants(name):
            continue
        client = Client((options.size(peer.sizes[0]), options.size(peer.sizes[1])), peer.width, peer)
        clients[name] = client
        try:
            client.venv = await venv(name, peer)
            notes.append(await installed(client.venv, peer.package))
        except CommandError as error:
            client.failed = f"not installed: {error}"
    async with faulty_provider(answer="42") as provider:
        await prepare(provider, *map(items_folder, sizes))
    for _ in range(options.rounds):
        for name, client in clients.items():
            await _round(name, client)
    return [_table(clients, notes)]


async def _round(name: str, client: Client) -> None:
    if client.failed is not None:
        return
    try:
        small = await _once(name, client, client.sizes[0])
        large = await _once(name, client, client.sizes[1])
    except CommandError as error:
        client.failed = str(error)
        return
    client.small.append(small)
    client.large.append(large)


async def _once(name: str, client: Client, size: int) -> Evaluated:
    async with faulty_provider(answer="42", latency_s=LATENCY_S) as provider:
        if name == FLOOR:
            return await bare(provider, "aiohttp", size, client.width)
        if name == OURS:
            return await evaluate(provider, items_folder(size), DIRECT, "--concurrency", str(client.width))
        return await _peer(provider, client, size)


async def _peer(provider: FaultyProvider, client: Client, size: int) -> Evaluated:
    if client.peer is None:
        raise AssertionError
    with tempfile.TemporaryDirectory(prefix="dep-mcp-bench-peer-") as name:
        folder = Path(name)
        items = folder / "items.jsonl"
        _write_items(items, size)
        job = Job(venv=client.venv, folder=folder, items=items, api_base=provider.api_base, width=client.width)
        told = ended = await run(client.peer.command(job), env=environment(job), cwd=folder)
        if client.peer.tell is not None:
            told = await run(client.peer.tell(job), env=environment(job), cwd=folder)
    said = re.search(client.peer.accuracy, told.stdout)
    if said is None or float(said[1]) != 1.0:
        msg = f"its score isn't 1: {said and said[1]}; {(told.stdout + ended.stderr)[-1000:]}"
        raise CommandError(msg)
    counters = await provider.counters()
    return Evaluated(run=ended, sealed=Sealed(), counters=counters)


def _write_items(path: Path, size: int) -> None:
    rows = ({"id": f"q{number}", "question": question(number), "answer": ANSWER} for number in range(size))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _table(clients: dict[str, Client], notes: list[str]) -> Table:
    columns = ["client", "items, in flight", "CPU ms per item", "start-up s", "calling s", "wall s", "CPU s", "RSS MB",
               "answered, sent twice"]  # fmt: skip
    table = Table(f"Peers: the same items, {1000 * LATENCY_S:.0f} ms", columns, notes=list(notes))
    for name, client in clients.items():
        small, large = client.sizes
        row = [name, f"{small:,} and {large:,}, {client.width}"]
        if client.failed is not None:
            table.notes.append(f"{name} FAILED: {' '.join(client.failed.split())[-400:]}")
        table.rows.append([*row, *(_figures(client) if client.small else ["n/a"] * (len(columns) - 2))])
    table.notes += [
        "CPU per item is that of the whole process tree without containers, from the small to the large run",
        "every client must have scored all items as right; what a peer needs to tell its score isn't counted",
        "calling, wall, CPU and RSS are those of the small run",
        "start-up is from the command to the first request: with dep-mcp its container included",
        _sealed_note(clients[OURS]),
    ]
    return table


def _figures(client: Client) -> list[str]:
    small, large = client.small, client.large
    pairs = zip(small, large, strict=True)
    answered = {(run.counters["answered"], run.counters["sent_twice"]) for run in large}
    return [
        spread([marginal_ms(less, more) for less, more in pairs]), spread([run.start_s for run in [*small, *large]]),
        spread([run.calling_s for run in small]), spread([run.run.wall_s for run in small]),
        spread([run.run.cpu_s for run in small]), spread([run.run.rss_mb for run in small], 0),
        "; ".join(f"{count} of {client.sizes[1]}, {twice}" for count, twice in sorted(answered)),
    ]  # fmt: skip


def _sealed_note(ours: Client) -> str:
    costs = [1000 * (more.sealed.cpu_s - less.sealed.cpu_s) / (ours.sizes[1] - ours.sizes[0])
             for less, more in zip(ours.small, ours.large, strict=True)
             if more.sealed.cpu_s is not None and less.sealed.cpu_s is not None]  # fmt: skip
    return f"dep-mcp's container takes {spread(costs, 3)} ms of CPU per item besides"
