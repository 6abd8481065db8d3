"""What attacks need: the product, the product less one line, and a well-behaved client beside either.

A weakened server is the product's own image in which named lines are replaced while its modules are loaded;
a weakened container is one whose create request was changed on its way to the engine. So each attack is tried on
what is shipped, less exactly what should stop it.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from dep_mcp.client import OperatorClient, SubjectClient, connect, line_transport
from dep_mcp.containers import Container, ContainerSpec
from dep_mcp.containers.docker_runtime import DockerEngine
from dep_mcp.containers.runtime import SealedRuntime
from dep_mcp.orchestrator import Catalogue
from dep_mcp.orchestrator.catalogue import build_spec
from dep_mcp.protocol import DeclaredFailure, Item, Open, Submission, TextAnswer, new_evaluation_id
from dep_mcp.protocol.errors import DepError
from dep_mcp.testing import toy_folder

SEED = "5eed" * 8

Change = tuple[str, str, str]
"""Module, a line of it (or part of one), and what stands there instead."""

RUNS_ANSWERS = b'''"""The toy's sums, scored by an author who runs what a model wrote."""

from collections.abc import Iterator

from dep_mcp.scoring import ExactMatch, Target, Verifier
from dep_mcp.protocol import TextAnswer
from dep_mcp.server import Benchmark, Draw, SealedItem


def verify(text: str, target: Target) -> float:
    """Exact match; or, after `#!`, whatever the text makes of `verdict`."""
    if not text.startswith("#!"):
        return ExactMatch().score(TextAnswer(text=text), target)
    scope = {"target": target, "verdict": 0.0}
    exec(text[2:], scope)
    return scope["verdict"]


class Careless(Benchmark):
    """Sixty sums."""

    scorer = Verifier(verify)

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Yield `toy-0` to `toy-59`."""
        for number in range(60):
            yield SealedItem(f"toy-{number}", f"{number} + 1 =", f"target-{number + 1}")
'''

LOAD_CHANGED = """
import importlib.machinery, json, runpy, sys
changes = json.loads(sys.argv.pop(1))
class Changed(importlib.machinery.SourceFileLoader):
    def get_code(self, name):
        source = self.get_source(name)
        for module, line, instead in changes:
            if module == name:
                if line not in source: sys.exit(f"{module} has no line {line!r}")
                source = source.replace(line, instead)
        return compile(source, self.path, "exec")
class Finder(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        spec = super().find_spec(name, path, target)
        if spec is not None and any(module == name for module, _, _ in changes):
            spec.loader = Changed(name, spec.origin)
        return spec
sys.meta_path.insert(0, Finder)
runpy.run_module("dep_mcp.server", run_name="__main__", alter_sys=True)
"""


async def toy_image(runtime: SealedRuntime, *, careless: bool = False) -> str:
    """The toy's image; `careless` with a scorer that runs answers."""
    folder, _ = Catalogue([toy_folder().parents[1]]).resolve("toy")
    spec = build_spec(folder, {}, await runtime.base_image())
    if careless:
        spec = replace(spec, name="benchmark-careless", files={**spec.files, "benchmark/benchmark.py": RUNS_ANSWERS})
    return (await runtime.ensure_image(spec)).digest


class WeakEngine(DockerEngine):
    """Asks the engine for less than it is told to.

    Args:
        weaker: Fields of `HostConfig` (or, after `Config.`, of the request) and what is asked for instead.
    """

    def __init__(self, weaker: Mapping[str, object]) -> None:
        super().__init__()
        self._weaker = weaker

    async def create(self, request: Mapping[str, object]) -> str:
        changed = json.loads(json.dumps(request))
        for name, value in self._weaker.items():
            where, _, key = name.rpartition(".")
            (changed if where == "Config" else changed["HostConfig"])[key] = value
        return await super().create(changed)


@asynccontextmanager
async def weak_runtime(weaker: Mapping[str, object]) -> AsyncGenerator[SealedRuntime]:
    """A runtime whose containers lack a line of the seal, and that doesn't look whether they do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dep_mcp.containers.runtime.require", lambda *_: None)
        async with SealedRuntime(WeakEngine(weaker)) as runtime:
            yield runtime


class Wire:
    """A container's lines, every byte of which is kept; written to by the MCP client and by attackers alike."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.lines_left: list[bytes] = []

    async def lines(self) -> AsyncIterator[bytes]:
        async for line in self.container.lines():
            self.lines_left.append(line)
            yield line

    async def write(self, data: bytes) -> None:
        await self.container.write(data)

    def left(self) -> bytes:
        """All that left the container."""
        return b"\n".join(self.lines_left) + self.container.stderr_tail().encode()


@dataclass(frozen=True)
class Victim:
    """An open evaluation, and everything an attacker may touch.

    Attributes:
        wire: Its container's.
        operator: The operator's client.
        subject: The subject's.
        opening: How it was opened.
        items: Its items.
    """

    wire: Wire
    operator: OperatorClient
    subject: SubjectClient
    opening: Open
    items: tuple[Item, ...]

    async def call(self, tool: str, **arguments: Any) -> Any:
        """A call past the typed client, which would refuse to make it: what comes back, errors as their words."""
        from mcp import MCPError

        arguments = {"evaluation_id": self.opening.evaluation_id} | arguments
        try:
            result = await self.operator._client.call_tool(tool, arguments)
        except MCPError as error:
            return error.data or {"code": error.message}
        return result.structured_content

    async def submit(self, *texts: str, first: int = 0) -> Any:
        """Answer items in their order, with one text each."""
        submissions = [
            {"item_id": item.item_id, "answer": {"kind": "text", "text": text}}
            for item, text in zip(self.items[first:], texts, strict=False)
        ]
        return await self.call("submit", submissions=submissions)

    async def values(self, *texts: str, first: int = 0) -> list[float | None]:
        """Give these answers, declare all later ones failed; the scores of all before those."""
        last = first + len(texts)
        if texts:
            await self.submit(*texts, first=first)
        if rest := self.items[last:]:
            failed = DeclaredFailure(status=500)
            await self.subject.submit(tuple(Submission(item_id=item.item_id, answer=failed) for item in rest))
        return [one.value for one in (await self.subject.score()).details[:last]]

    async def leaked(self) -> bool:
        """Whether a target has left the container, standard error included, which comes by a way of its own."""
        for _ in range(6):
            if b"target-" in self.wire.left():
                return True
            await asyncio.sleep(0.05)
        return False

    async def answers(self) -> bool:
        """Whether the server still does."""
        try:
            async with asyncio.timeout(5):
                await self.operator.describe()
        except (DepError, TimeoutError):
            return False
        return True


def target(item: Item) -> str:
    """The right answer to one of the toy's items."""
    return f"target-{int(item.item_id.removeprefix('toy-')) + 1}"


def command(*changes: Change) -> tuple[str, ...]:
    """What starts the server with some of its lines changed; nothing for the product as it is."""
    return ("python", "-c", LOAD_CHANGED, json.dumps(changes), "serve", "/benchmark") if changes else ()


@asynccontextmanager
async def attacked(
    runtime: SealedRuntime, image: str | None = None, *changes: Change, limit: int | None = 20, epochs: int = 1
) -> AsyncGenerator[Victim]:
    """An open evaluation of an image (the toy's), whole or with some of its server's lines changed."""
    image = image or await toy_image(runtime)
    spec = ContainerSpec(image=image, labels={}, command=command(*changes))
    async with runtime.start(spec) as container:
        wire = Wire(container)
        async with connect(line_transport(wire)) as operator:
            opening = Open(evaluation_id=new_evaluation_id(), seed=SEED, limit=limit, epochs=epochs)
            await operator.open(opening)
            subject = operator.subject(opening.evaluation_id)
            yield Victim(wire, operator, subject, opening, (await subject.get_items()).items)


@asynccontextmanager
async def beside(runtime: SealedRuntime, *, wrong: int = 5) -> AsyncGenerator[None]:
    """A well-behaved client's evaluation, in a container of its own, from before the block to after it.

    It answers an item every now and then while the block runs, and the rest after it; its score must be right.
    """
    async with attacked(runtime) as honest:
        over = asyncio.Event()

        async def answer() -> None:
            for number, item in enumerate(honest.items):
                if number:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(over.wait(), 0.1 if number < len(honest.items) - 1 else None)
                text = "no idea" if number < wrong else target(item)
                done = await honest.subject.submit((Submission(item_id=item.item_id, answer=TextAnswer(text=text)),))
                assert done.accepted == 1

        answering = asyncio.create_task(answer())
        try:
            yield
        finally:
            over.set()
            await answering
        report = (await honest.subject.score()).report
        assert report is not None
        assert report.ranked == (len(honest.items) - wrong) / len(honest.items)
        assert report.counts.scorer_errors == report.counts.failed == 0
