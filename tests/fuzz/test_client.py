"""A benchmark endpoint may be hostile: whatever it says, a call ends soon, in a result or in an error of ours."""

import asyncio
import json
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from random import Random
from typing import Any

import pytest

from dep_mcp.client import OperatorClient, connect, line_transport
from dep_mcp.protocol import MESSAGE_BYTES, Open, Submission, TextAnswer, WireModel, new_evaluation_id
from dep_mcp.protocol.errors import ContainerLostError, DepError
from tests.conftest import SEED, SOAK
from tests.fuzz.mutation import TOKENS, bent, memory, spoiled

CALLS = 50_000 if SOAK else 5_000
GROWTH = 64 << 20
EVALUATION = new_evaluation_id()
DIGEST = "sha256:" + "0" * 64
ESTIMATE = {"value": 0.5, "n": 2, "stderr": 0.1, "low": 0.3, "high": 0.7, "method": "wilson"}
POLICY = {"disclosure": "full"}
ANSWERS = tuple(Submission(item_id=f"i-{number}", answer=TextAnswer(text="a")) for number in range(3))
GOOD: dict[str, Any] = {
    "describe": {
        "protocol": "0.2", "benchmark": "b", "version": "1", "title": "t", "license": "l", "metric": "accuracy",
        "policy": POLICY, "tasks": ["s"], "generation": {"temperature": 0.0}, "data_digest": DIGEST,
    },
    "open": {"items": 3, "epochs": 1, "items_digest": DIGEST, "public_key": "MCowBQYDK2VwAyEA" + "A" * 43 + "="},
    "get_items": {
        "items": [{"item_id": "i-0", "messages": [{"role": "user", "content": "q"}], "options": ["a", "b"]}],
        "next_cursor": "1", "total": 3,
    },
    "submit": {
        "accepted": 1, "duplicates": 1,
        "rejected": [{"item_id": "i-2", "epoch": 1, "code": "unknown_item", "detail": "no such item"}],
    },
    "score": {
        "state": "scored", "missing": 0, "details": [{"item_id": "i-0", "epoch": 1, "value": 1.0}], "next_cursor": "1",
        "report": {
            "evaluation_id": EVALUATION, "benchmark": "b", "benchmark_version": "1", "task": None,
            "metric": "accuracy", "overall": ESTIMATE, "ranked": 0.5, "upper": 0.5, "subtasks": {"s": ESTIMATE},
            "counts": {"expected": 2, "scored": 2, "failed": 0, "missing": 0}, "items_digest": DIGEST,
        },
    },
}  # fmt: skip
CALLS_OF: dict[str, Callable[[OperatorClient], Awaitable[WireModel]]] = {
    "describe": lambda operator: operator.describe(),
    "open": lambda operator: operator.open(Open(evaluation_id=EVALUATION, seed=SEED)),
    "get_items": lambda operator: operator.subject(EVALUATION).get_items(),
    "submit": lambda operator: operator.subject(EVALUATION).submit(ANSWERS),
    "score": lambda operator: operator.subject(EVALUATION).score(),
}


class Hostile:
    """The other end of a transport.

    Args:
        reply: The lines that answer a message; `None` among them ends the connection.
    """

    def __init__(self, reply: Callable[[dict[str, Any]], Iterable[bytes | None]]) -> None:
        self._reply = reply
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def lines(self) -> AsyncIterator[bytes]:
        while (line := await self._lines.get()) is not None:
            yield line

    async def write(self, data: bytes) -> None:
        for line in self._reply(json.loads(data)):
            self._lines.put_nowait(line)


def told(request: dict[str, Any], **result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": {"resultType": "complete"} | result}).encode()


def well(request: dict[str, Any]) -> dict[str, Any]:
    """The reply of an honest endpoint."""
    content = GOOD[request["params"]["name"]]
    result = {"content": [], "isError": False, "structuredContent": content, "resultType": "complete"}
    return {"jsonrpc": "2.0", "id": request["id"], "result": result}


def others(request: dict[str, Any]) -> list[dict[str, Any]]:
    """What else an endpoint may say: refusals, and what no benchmark ever sends."""
    body = {"status": 409, "code": "not_open", "detail": "d"}
    result = {"content": [{"type": "text", "text": "d"}], "isError": True, "structuredContent": body}
    error = {"code": -32603, "message": "m", "data": body}
    return [
        {"jsonrpc": "2.0", "id": request["id"], "result": result},
        {"jsonrpc": "2.0", "id": request["id"], "error": error},
        {"jsonrpc": "2.0", "id": request["id"], "method": "sampling/createMessage", "params": {"messages": []}},
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 0.5}},
    ]


def spoil(request: dict[str, Any], rng: Random) -> list[bytes]:
    """What a hostile endpoint says instead; its last line is mostly one that would have been right."""
    whole = rng.choice([well(request), well(request), *others(request)])
    match rng.randrange(4):
        case 0:
            lines = spoiled(json.dumps(whole).encode(), json.dumps(well(request)).encode(), rng).split(b"\n")
        case 1:
            lines = [bent(whole, rng).encode(errors="surrogatepass")]
        case 2:  # inside the result only: what gets past the SDK
            part = "result" if "result" in whole else next(reversed(whole))
            inside = bent(whole[part], rng) if isinstance(whole[part], dict) else "{}"
            lines = [json.dumps(whole | {part: "@"}).replace('"@"', inside).encode(errors="surrogatepass")]
        case _:
            lines = [rng.choice(TOKENS) * rng.randrange(1, 50) for _ in range(3)]
    return lines


def faults(case: str, outcome: object, seconds: float) -> list[str]:
    """What is wrong about how a call ended."""
    if isinstance(outcome, BaseException) and not isinstance(outcome, DepError):
        return [f"{case}: {type(outcome).__name__}: {str(outcome)[:300]}"]
    return [f"{case}: took {seconds:.1f} s"] if seconds > 5 else []


async def attacked(
    reply: Callable[[dict[str, Any]], Iterable[bytes | None]],
    call: Callable[[OperatorClient], Awaitable[WireModel]],
) -> WireModel:
    """How a call of a hostile endpoint ends."""
    async with asyncio.timeout(30), connect(line_transport(Hostile(reply))) as operator:
        return await call(operator)


async def fuzzed(
    count: int, call: Callable[[OperatorClient, str], Awaitable[WireModel]]
) -> tuple[list[str], Counter[str]]:
    """Make calls of an endpoint that spoils its replies, each from a seed of its own.

    Returns what went wrong, and how often calls ended how.
    """
    seed = 0
    ends: Counter[str] = Counter()

    def reply(request: dict[str, Any]) -> Iterable[bytes | None]:
        if "id" not in request:
            return []
        return [*spoil(request, Random(seed)), json.dumps(well(request)).encode()]

    wrong: list[str] = []
    while seed < count and len(wrong) < 10:
        try:
            async with connect(line_transport(Hostile(reply))) as operator:
                while seed < count:
                    tool = Random(-seed).choice(list(CALLS_OF))
                    began = time.monotonic()
                    outcome: object = None
                    try:
                        async with asyncio.timeout(30):
                            outcome = await call(operator, tool)
                    except Exception as error:  # noqa: BLE001 (told below)
                        outcome = error
                    ends[type(outcome).__name__] += 1
                    wrong += faults(f"seed {seed}, {tool}", outcome, time.monotonic() - began)
                    seed += 1
                    if isinstance(outcome, ContainerLostError):
                        break
        except Exception as error:  # noqa: BLE001 (told below)
            wrong += faults(f"seed {seed}, connection", error, 0)
            seed += 1
    return wrong, ends


async def test_whatever_an_endpoint_replies_ends_in_a_result_or_an_error_of_ours() -> None:
    """Spoiled in bytes and in structure, with odd types, depths, sizes, numbers and ids."""
    before = memory()

    wrong, ends = await fuzzed(CALLS, lambda operator, tool: CALLS_OF[tool](operator))

    assert wrong == []
    assert sum(ends.values()) == CALLS
    assert all(ends[kind] > CALLS // 50 for kind in ("Submitted", "ScoreResult", "DepError", "ContainerLostError"))
    assert memory() - before < GROWTH


async def test_the_fuzzer_finds_a_client_that_trusts() -> None:
    """The SDK's own call of a tool lets its errors out: a fuzzer that missed that would show nothing."""

    async def trusting(operator: OperatorClient, tool: str) -> WireModel:
        await operator._client.call_tool(tool, {})
        return await CALLS_OF[tool](operator)

    wrong, _ends = await fuzzed(300, trusting)
    assert wrong != []


@pytest.mark.parametrize(
    "result",
    [
        {"content": 5},
        {"resultType": "input_required", "requestState": "s"},
        {"resultType": "other"},
        {"content": [], "structuredContent": {"accepted": -1, "duplicates": 0}},
        {"content": [], "structuredContent": {"accepted": 0, "duplicates": 0}},
        {"content": [], "structuredContent": {"accepted": 4, "duplicates": 0}},
        {"content": [], "structuredContent": {"accepted": 10**4299, "duplicates": 9 * 10**4299}},
    ],
)
async def test_a_reply_of_another_shape_is_an_error_of_ours(result: dict[str, Any]) -> None:
    """Neither the SDK's exceptions get out, nor does a count that goes backwards submit for ever."""
    with pytest.raises(DepError) as error:
        await attacked(lambda request: [told(request, **result)], CALLS_OF["submit"])
    assert error.value.code == "internal"


async def test_a_schema_of_the_endpoints_is_never_applied() -> None:
    """A regular expression in it can take longer than the age of the universe, and no time-out stops it."""

    def reply(request: dict[str, Any]) -> list[bytes]:
        if request["method"] == "tools/list":
            schema = {"type": "object", "properties": {"title": {"pattern": "^(a+)+$"}}}
            tool = {"name": "describe", "inputSchema": {"type": "object"}, "outputSchema": schema}
            return [told(request, tools=[tool], ttlMs=0, cacheScope="public")]
        return [told(request, content=[], structuredContent=GOOD["describe"] | {"title": "a" * 40 + "!"})]

    assert await attacked(reply, CALLS_OF["describe"])


async def test_what_an_endpoint_asks_of_its_client_starts_nothing() -> None:
    """One that sends requests and reads no answer would fill the memory with tasks that wait to answer."""
    waiting = 0

    def reply(request: dict[str, Any]) -> Iterable[bytes]:
        if request.get("method") == "tools/call":
            yield from (b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % number for number in range(1000))
            yield told(request, content=[], structuredContent=GOOD["describe"])

    async def call(operator: OperatorClient) -> WireModel:
        nonlocal waiting
        result = await operator.describe()
        waiting = len(asyncio.all_tasks())
        return result

    await attacked(reply, call)
    assert waiting < 20


async def test_a_reply_that_comes_too_late_breaks_nothing() -> None:
    """Whoever leaves while a line is on its way gets the error that it left with."""
    with pytest.raises(ContainerLostError):
        await attacked(
            lambda request: [b'{"jsonrpc":"2.0","id":%d,"error":{"code":1,"message":"m"}}' % request["id"]] * 3,
            CALLS_OF["score"],
        )


async def test_a_message_over_the_limit_ends_the_connection() -> None:
    """As one that can't be read: parsed, it would take a multiple of its size."""
    with pytest.raises(ContainerLostError, match="4 MiB"):
        await attacked(lambda request: [told(request, content=[], text="x" * MESSAGE_BYTES)], CALLS_OF["score"])


async def test_a_message_of_many_small_values_takes_no_hundredfold_of_its_size() -> None:
    """Else one line of a hostile benchmark could take all of the host's memory."""
    size = 1 << 18

    def reply(request: dict[str, Any]) -> list[bytes]:
        return [
            told(request, content=[], structuredContent="@").replace(b'"@"', b'{"a":[' + b"[]," * (size // 3) + b"0]}")
        ]

    tracemalloc.start()
    try:
        with pytest.raises(DepError):
            await attacked(reply, CALLS_OF["describe"])
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * size, peak / size


async def test_an_endpoint_that_ends_instead_of_answering_is_lost() -> None:
    """So that another container is started."""
    with pytest.raises(ContainerLostError):
        await attacked(lambda _: [b"\xff", None], CALLS_OF["score"])
