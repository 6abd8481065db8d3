"""Verifies a seal: builds a benchmark's image with canaries for targets, uses and abuses it, and searches what left.

Of the answers given here none matters; the evaluations with a model, whose store and outputs are searched too, are the
command's (`dep-mcp bench verify-seal`).
"""

import asyncio
import json
import secrets
import shutil
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from dep_mcp.client import OperatorClient, SubjectClient, connect, line_transport
from dep_mcp.containers import Container, ContainerRuntime, ContainerSpec
from dep_mcp.orchestrator.catalogue import BenchmarkFolder, build_spec, code, read_folder
from dep_mcp.orchestrator.commitments import answers, asked
from dep_mcp.orchestrator.keys import OwnerKeys
from dep_mcp.orchestrator.leaks import Leak, Search
from dep_mcp.orchestrator.sealing import seal
from dep_mcp.protocol import (
    ChoiceAnswer,
    DeclaredFailure,
    Item,
    Open,
    Submission,
    TextAnswer,
    WireModel,
    canary_ends,
    new_evaluation_id,
    new_seed,
)
from dep_mcp.protocol.errors import CardError, DataError, DepError, GeneratedError

SEED_FILE = "canary.seed"
"""As `dep_mcp.server.planting` has it."""
STDERR_BYTES = 16 << 20
REPLY_S = 20.0
_SALT = "0" * 64
_LINES = 200
_LINE_CHARACTERS = 24


class InspectableRuntime(ContainerRuntime, Protocol):
    """A runtime that shows what an engine keeps."""

    async def evidence(self, image: str, container_id: str) -> Mapping[str, bytes]:
        """All that the engine shows or stores of an image and a running container, by what it is."""

    async def remove_image(self, image: str) -> None:
        """Remove an image."""


class _Counts(WireModel):
    """What the image says of itself."""

    items: int
    planted: int


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A benchmark whose targets hold canaries.

    Attributes:
        folder: Sealed where its items are fixed.
        image: Digest.
        items: How many it has, of 500 at most.
        canaries: How many of their targets hold one.
        search: Finds them.
    """

    folder: BenchmarkFolder
    image: str
    items: int
    canaries: int
    search: Search


@asynccontextmanager
async def planted(
    runtime: InspectableRuntime,
    benchmark: BenchmarkFolder,
    data: Mapping[str, Path],
    scratch: Path,
    keys: OwnerKeys,
    *,
    base_image: str | None = None,
) -> AsyncGenerator[Planted]:
    """Build the image of a benchmark with canaries for targets; nothing of it stays on the engine.

    Raises:
        CardError: It is sealed already: its data is needed.
        DataError: Its code fails, or no target can hold a canary.
    """
    if benchmark.card.sealed:
        msg = f"{benchmark.card.name} is sealed: verify the folder that holds its plain data, and seal that"
        raise CardError(msg)
    seed = secrets.token_hex(32)
    plain = folder = _with_seed(benchmark, seed, scratch / "plain")
    words = [*canary_ends(seed)]
    base = await runtime.base_image(base_image)
    async with AsyncExitStack() as images:
        sealing = await runtime.ensure_image(build_spec(plain, {}, base, without_data=True))
        images.push_async_callback(runtime.remove_image, sealing.digest)
        with suppress(GeneratedError):  # then its targets come to be at `open`
            recipient = keys.new_data_key()
            await seal(runtime, plain, data, recipient, scratch / "sealed", base_image=base_image)
            folder = read_folder(scratch / "sealed")
            words.append(keys.data_key(recipient).removeprefix("AGE-SECRET-KEY-1"))
        image = await runtime.ensure_image(build_spec(folder, {}, base))
        images.push_async_callback(runtime.remove_image, image.digest)
        secret = asked(folder.card, keys, _SALT)
        (counts,) = [one async for one in answers(runtime, image.digest, folder.card, _Counts, "planted", secret)]
        if not counts.planted:
            msg = "no target can hold a canary, so nothing would be found: override Benchmark.plant in benchmark.py"
            raise DataError(msg)
        yield Planted(
            folder=folder,
            image=image.digest,
            items=counts.items,
            canaries=counts.planted,
            search=Search(*words),
        )


def _with_seed(benchmark: BenchmarkFolder, seed: str, out: Path) -> BenchmarkFolder:
    for name, path in code(benchmark.folder).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
    (out / SEED_FILE).write_text(seed, encoding="ascii")
    if benchmark.card.canary is None:
        with (out / "dataset_card.yaml").open("a", encoding="utf-8") as card:
            card.write(f"\ncanary: {uuid.uuid4()}\n")
    return read_folder(out)


def beside_data(benchmark: BenchmarkFolder, data: Mapping[str, Path]) -> Iterator[Leak]:
    """Find lines of the data, or the card's canary, in files that go into the image as they are."""
    needles = [line for path in data.values() for line in _some_lines(path)]
    if benchmark.card.canary is not None:
        needles.append(str(benchmark.card.canary))
    search = Search(*needles)
    for name, path in code(benchmark.folder).items():
        if name != "dataset_card.yaml":
            yield from search.leaks(f"benchmark folder: {name}", path.read_bytes())


def _some_lines(path: Path) -> Iterator[str]:
    """Long lines, spread over a file; those that aren't ASCII are left out."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.isascii()]
    long = [line for line in lines if len(line) >= _LINE_CHARACTERS]
    return iter(long[:: len(long) // _LINES + 1])


class _Tapped:
    """Keeps every byte that leaves a container, and the lines that went in."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self.left = bytearray()
        self.written: list[bytes] = []

    async def lines(self) -> AsyncIterator[bytes]:
        async for line in self._container.lines():
            self.left += line + b"\n"
            yield line

    async def write(self, data: bytes) -> None:
        self.written.append(data)
        await self._container.write(data)


async def use_and_abuse(
    runtime: InspectableRuntime, target: Planted, keys: OwnerKeys
) -> AsyncGenerator[tuple[str, bytes]]:
    """Run a whole evaluation and then a hostile client in one container; yields all that left it and all that is kept.

    Raises:
        ContainerLostError: It ended before the evaluation was scored.
    """
    card = target.folder.card
    spec = ContainerSpec(
        image=target.image,
        labels={"org.dep-mcp.benchmark": card.name},
        memory_mb=card.resources.memory_mb,
        cpus=card.resources.cpus,
        stderr_bytes=STDERR_BYTES,
    )
    async with runtime.start(spec) as container:
        tapped = _Tapped(container)
        failure: DepError | None = None
        try:
            async with connect(line_transport(tapped)) as operator:
                await _use(operator, _opening(target, keys))
        except DepError as error:  # what left until then is searched all the same
            failure = error
        yield "results of tools", bytes(tapped.left)
        tapped.left.clear()
        await _abuse(tapped)
        yield "replies to a hostile client", bytes(tapped.left)
        if failure is None:
            for name, content in (await runtime.evidence(target.image, container.id)).items():
                yield name, content
    # Only now: what it wrote without an end of line comes when it ends.
    yield "standard error of the container", container.stderr_tail().encode()
    if failure is not None:
        yield "failure", failure.detail.encode()


def _opening(target: Planted, keys: OwnerKeys) -> Open:
    sealed = target.folder.card.sealed
    key = keys.data_key(sealed.recipient) if sealed else None
    limit = None if sealed else target.items
    return Open(evaluation_id=new_evaluation_id(), seed=new_seed(), data_key=key, limit=limit, epochs=2)


async def _use(operator: OperatorClient, opening: Open) -> None:
    """A whole evaluation in two epochs; a third of the second one's calls fail."""
    await operator.describe()
    await operator.open(opening)
    subject = operator.subject(opening.evaluation_id)
    items = [item async for item in _items(subject)]
    for epoch in range(1, opening.epochs + 1):
        for start in range(0, len(items), 100):
            await subject.submit(tuple(_submissions(items[start : start + 100], epoch)))
    result = await subject.score()
    while result.next_cursor is not None:
        result = await subject.score(result.next_cursor)


async def _items(subject: SubjectClient) -> AsyncIterator[Item]:
    cursor: str | None = None
    while True:
        page = await subject.get_items(cursor)
        for item in page.items:
            yield item
        if (cursor := page.next_cursor) is None:
            return


_TEXTS: Sequence[Callable[[Item], str]] = (
    lambda _item: "",
    lambda item: item.messages[-1].content,
    lambda _item: "#### 42",
    lambda _item: "Yes",
    lambda _item: "\0\u202e" * 100,
    lambda _item: "[" * 2000,
    lambda _item: "9" * 5000,
)


def _submissions(items: Iterable[Item], epoch: int) -> Iterator[Submission]:
    for number, item in enumerate(items):
        answer: TextAnswer | ChoiceAnswer | DeclaredFailure
        if epoch > 1 and number % 3 == 0:
            answer = DeclaredFailure(status=500)
        elif item.options:
            values = tuple(-1.0 - (index + number) % len(item.options) for index in range(len(item.options)))
            answer = ChoiceAnswer(log_likelihoods=values, token_counts=(1,) * len(values))
        else:
            answer = TextAnswer(text=_TEXTS[number % len(_TEXTS)](item))
        yield Submission(item_id=item.item_id, epoch=epoch, answer=answer)


async def _abuse(tapped: _Tapped) -> None:
    """Calls that no client of ours makes, of which each that parses gets a reply; then junk."""
    calls = [call for call in map(json.loads, tapped.written) if call.get("method") == "tools/call"]
    known = {call["params"]["name"]: call for call in calls}
    if not known:
        return
    hostile = {f"hostile-{number}": call for number, call in enumerate(_hostile(known))}
    reading = asyncio.create_task(_read(tapped, set(hostile)))
    with suppress(DepError):
        for name, (tool, arguments) in hostile.items():
            call = known["describe"] | {"id": name}
            call["params"] = call["params"] | {"name": tool, "arguments": arguments}
            await tapped.write(json.dumps(call).encode() + b"\n")
        for junk in (b"{}", b"null", b"\xff\xfe", b"[" * 50_000, b'{"jsonrpc": "2.0", "id": NaN, "method": "x"}'):
            await tapped.write(junk + b"\n")
    await asyncio.wait([reading])


async def _read(tapped: _Tapped, expected: set[str]) -> None:
    """Until each of these calls has its reply, or nothing comes; and a second more, for what comes unasked."""
    lines = aiter(tapped.lines())
    with suppress(TimeoutError, StopAsyncIteration, DepError):
        while True:
            async with asyncio.timeout(REPLY_S if expected else 1.0):
                line = await anext(lines)
            with suppress(ValueError):
                reply = json.loads(line)
                expected.discard(reply.get("id") if isinstance(reply, dict) else "")


_ODD: Sequence[object] = (
    "../data/test.jsonl",
    "/proc/1/environ",
    "\0",
    "x" * 100_000,
    -1,
    10**30,
    None,
    True,
    [[]],
    {},
)


def _hostile(known: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Each argument of each tool replaced by odd values, added arguments, and tools that there are none of."""
    for tool, call in known.items():
        arguments = call["params"]["arguments"]
        for name in [*arguments, "cursor", "target", "debug", "__class__"]:
            for odd in _ODD:
                yield tool, arguments | {name: odd}
        yield tool, arguments
        yield tool, None
    evaluation = known["submit"]["params"]["arguments"] if "submit" in known else {}
    for item_id in ("../data/test.jsonl", "{target}", "%s", "' OR 1=1 --", "\N{SNOWMAN}"):
        for answer in ({"kind": "text", "text": "{target}"}, {"kind": "failure", "status": 200}, {"kind": "target"}):
            yield "submit", evaluation | {"submissions": [{"item_id": item_id, "answer": answer}]}
    for tool in ("get_targets", "take_work", "put_work", "planted", "commit", "__init__", "describe\0"):
        yield tool, {}
