"""Uses a benchmark's container as a client may, abuses it as none of ours does, and gives all that left or is kept.

Of the answers given here none matters: what counts is what comes back.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dep_mcp.client import OperatorClient, SubjectClient, connect, line_transport
from dep_mcp.containers import Container, ContainerSpec
from dep_mcp.orchestrator.keys import OwnerKeys
from dep_mcp.orchestrator.verifying import InspectableRuntime, Planted
from dep_mcp.protocol import (
    ChoiceAnswer,
    DeclaredFailure,
    Item,
    Open,
    Submission,
    TextAnswer,
    new_evaluation_id,
    new_seed,
)
from dep_mcp.protocol.errors import DepError

STDERR_BYTES = 16 << 20
REPLY_S = 20.0


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
    limit = None if sealed else target.planting.items
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
