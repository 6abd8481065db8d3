"""The MCP face, in both eras of the protocol: closed arguments, typed errors, and no target on the wire."""

import json
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError

from dep_mcp.client import OperatorClient
from dep_mcp.protocol import DatasetCard, DeclaredFailure, Open, Submission, TextAnswer, new_evaluation_id
from dep_mcp.protocol.errors import BadCursorError, DepError
from dep_mcp.scoring import ExactMatch, Target
from dep_mcp.server import Benchmark, Draw, SealedItem
from dep_mcp.server.bundle import _ITEM_BYTES
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeContainer

MakeSession = Callable[..., SealedSession]
Wire = Callable[[SealedSession], AbstractAsyncContextManager[tuple[Client, OperatorClient, FakeContainer]]]
SEED = "5eed" * 8
TARGET = "target-7f3a"


def planted(count: int = 3) -> list[SealedItem]:
    return [SealedItem(f"i-{n}", "q", f"{TARGET}-{n}", subtask="s") for n in range(count)]


def left(container: FakeContainer) -> bytes:
    return b"\n".join(container.left)


def opening(**more: object) -> Open:
    return Open.model_validate({"evaluation_id": new_evaluation_id(), "seed": SEED} | more)


async def refused(client: Client, tool: str, arguments: dict[str, Any]) -> str:
    """The code of the refusal, which must have come as a result that the caller can mend."""
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    assert set(result.structured_content or {}) == {"status", "code", "detail"}
    return str((result.structured_content or {})["code"])


async def test_five_tools_are_declared_with_closed_arguments(make_session: MakeSession, wired: Wire) -> None:
    """An agent reads the schemas; the hints say that every call may be repeated."""
    async with wired(make_session(planted(), ExactMatch())) as (client, _, _container):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert set(tools) == {"describe", "get_items", "submit", "score", "open"}
    assert all(tool.input_schema["additionalProperties"] is False for tool in tools.values())
    assert all(tool.annotations is not None and tool.annotations.idempotent_hint for tool in tools.values())


async def test_an_unknown_tool_is_refused(make_session: MakeSession, wired: Wire) -> None:
    """As invalid parameters, which is no fault of the endpoint."""
    async with wired(make_session(planted(), ExactMatch())) as (client, _, _container):
        with pytest.raises(MCPError) as error:
            await client.call_tool("get_targets", {})
    assert error.value.error.code == -32602


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("describe", {"verbose": True}),
        ("get_items", {"seed": SEED}),
        ("get_items", {"limit": 101}),
        ("get_items", {"limit": "many"}),
        ("submit", {}),
        ("submit", {"submissions": []}),
        ("submit", {"submissions": "all"}),
        ("submit", {"submissions": [{"item_id": "i-0", "answer": {"kind": "text", "text": "a"}, "score": 1.0}]}),
        ("submit", {"submissions": [{"item_id": "i-0", "answer": {"kind": "text", "text": "a", "target": "a"}}]}),
        ("submit", {"submissions": [{"item_id": "i-0", "answer": {"kind": "guess"}}]}),
        ("submit", {"submissions": [{"item_id": "i-0", "epoch": 0, "answer": {"kind": "text", "text": "a"}}]}),
        ("score", {"disclosure": "full"}),
        ("open", {"seed": SEED, "generated": False}),
    ],
)
async def test_an_argument_that_is_unknown_or_wrong_is_refused(
    make_session: MakeSession, wired: Wire, tool: str, arguments: dict[str, Any]
) -> None:
    """At the top and nested: an ignored argument is a setting that somebody believes was applied."""
    request = opening()
    async with wired(make_session(planted(), ExactMatch())) as (client, operator, _):
        await operator.open(request)
        whole = arguments if tool == "describe" else {"evaluation_id": request.evaluation_id} | arguments
        assert await refused(client, tool, whole) == "invalid_arguments"
        assert (await operator.subject(request.evaluation_id).score()).missing == 3


@pytest.mark.parametrize(
    "answer",
    [{"kind": "text", "text": ["private-2"]}, {"kind": "private-2"}, {"kind": {"text": "private-2"}}],
)
async def test_a_refusal_never_quotes_what_was_sent(
    make_session: MakeSession, wired: Wire, answer: dict[str, Any]
) -> None:
    """A prompt or an answer in an error message ends in a log."""
    bad = {"evaluation_id": "private-1", "submissions": [{"item_id": "i", "answer": answer}]}
    async with wired(make_session(planted(), ExactMatch())) as (client, _, container):
        assert await refused(client, "submit", bad) == "invalid_arguments"
        assert b"private-" not in left(container)


@pytest.mark.parametrize("tool", ["get_items", "submit", "score"])
async def test_a_session_that_is_not_open_refuses_by_code(make_session: MakeSession, wired: Wire, tool: str) -> None:
    """Over the wire as in the class."""
    arguments: dict[str, Any] = {"evaluation_id": new_evaluation_id()}
    if tool == "submit":
        arguments["submissions"] = [{"item_id": "i-0", "answer": {"kind": "text", "text": ""}}]
    async with wired(make_session(planted(), ExactMatch())) as (client, operator, _):
        assert await refused(client, tool, arguments) == "not_open"
        await operator.open(opening())
        assert await refused(client, tool, arguments) == "wrong_evaluation"
        assert await refused(client, "open", opening().model_dump()) == "already_open"


async def test_a_repeated_score_is_the_same_to_the_byte(make_session: MakeSession, wired: Wire) -> None:
    """Scored once: no number changes because it was asked for again."""
    request = opening()
    async with wired(make_session(planted(), ExactMatch(), policy={"disclosure": "full"})) as (
        client,
        operator,
        container,
    ):
        await client.list_tools()  # which the SDK would ask for after the first call
        await operator.open(request)
        subject = operator.subject(request.evaluation_id)
        await subject.submit(tuple(Submission(item_id=f"i-{n}", answer=TextAnswer(text="x")) for n in range(3)))
        results = []
        for _ in range(3):
            await client.call_tool("score", {"evaluation_id": request.evaluation_id})
            results.append(json.dumps(json.loads(container.left[-1])["result"]))
            await subject.submit((Submission(item_id="i-0", answer=TextAnswer(text="x")),))
    assert len(set(results)) == 1
    assert '"scored"' in results[0]


async def test_the_longest_item_gets_through(make_session: MakeSession, wired: Wire) -> None:
    """What was taken when the image was built fits into a message."""
    request, room = opening(), len(SealedItem("i-0", "", "").item.model_dump_json())
    prompt = "\n" * ((_ITEM_BYTES - room) // 2)  # two bytes each in JSON
    async with wired(make_session([SealedItem("i-0", prompt, "t")], ExactMatch())) as (_, operator, _container):
        await operator.open(request)
        page = await operator.subject(request.evaluation_id).get_items()
    assert page.items[0].messages[0].content == prompt


class Leaky(Benchmark):
    """An author's code that fails and says too much."""

    generated = True

    def tasks(self) -> list[str]:
        return ["raise", "type", "lazy"]

    def items(self, draw: Draw) -> Iterable[SealedItem]:
        if draw.task == "raise":
            raise ValueError(TARGET)
        if draw.task == "type":
            return [SealedItem("i-0", "q", {TARGET})]  # type: ignore[arg-type]  # a set is no JSON
        return [SealedItem("i-0", "q", TARGET), SealedItem("\n", TARGET, TARGET)]


class Telling:
    """A scorer that fails and says too much, isolated or not."""

    def __init__(self, *, isolated: bool) -> None:
        self.isolated = isolated

    def score(self, _answer: object, target: Target) -> float:
        raise LookupError(target)


@pytest.mark.parametrize("task", ["raise", "type", "lazy"])
async def test_an_authors_code_that_fails_is_an_internal_error_that_quotes_nothing(
    wired: Wire, task: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An exception's message is the commonest way for a target to slip out: wire, stderr and log are searched."""
    card = {"name": "leaky", "version": "1", "title": "t", "description": "d", "license": "x", "source": "s"}
    Leaky.scorer = ExactMatch()
    benchmark = Leaky(DatasetCard.model_validate(card), Path())
    session = SealedSession(benchmark, digest="sha256:" + "0" * 64, bundle=None)
    async with wired(session) as (_, operator, container):
        with pytest.raises(DepError) as error:
            await operator.open(opening(task=task))
        assert error.value.code == "internal"
        assert TARGET not in error.value.detail
        assert (await operator.subject(new_evaluation_id()).describe()).benchmark == "leaky"
    said = capfd.readouterr()
    assert TARGET.encode() not in left(container)
    assert TARGET not in said.out + said.err + caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # see test_guard
@pytest.mark.parametrize("isolated", [False, True])
async def test_a_scorer_that_fails_quotes_nothing(
    make_session: MakeSession,
    wired: Wire,
    isolated: bool,  # noqa: FBT001 (a parameter)
    capfd: pytest.CaptureFixture[str],
) -> None:
    """It counts as a scorer's error, and the target stays inside."""
    request = opening()
    session = make_session(planted(1), Telling(isolated=isolated))
    async with wired(session) as (_, operator, container):
        await operator.open(request)
        subject = operator.subject(request.evaluation_id)
        await subject.submit((Submission(item_id="i-0", answer=TextAnswer(text="x")),))
        report = (await subject.score()).report
    assert report is not None
    assert report.counts.scorer_errors == 1
    said = capfd.readouterr()
    assert TARGET.encode() not in left(container)
    assert TARGET not in said.out + said.err


async def test_no_message_of_a_whole_session_holds_a_target(
    make_session: MakeSession, wired: Wire, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every tool, well and badly used, right and wrong answers, the fullest disclosure."""
    request = opening(epochs=2)
    async with wired(make_session(planted(120), ExactMatch(), policy={"disclosure": "full"})) as (
        client,
        operator,
        container,
    ):
        await client.list_tools()
        await refused(client, "get_items", {"evaluation_id": request.evaluation_id})
        await operator.open(request)
        await refused(client, "open", opening().model_dump())
        subject = operator.subject(request.evaluation_id)
        await subject.describe()
        page = await subject.get_items()
        items = [*page.items, *(await subject.get_items(page.next_cursor)).items]
        with pytest.raises(BadCursorError):
            await subject.get_items("x")
        for item in items:
            right = TextAnswer(text=f"{TARGET}-{item.item_id[2:]}")
            await subject.submit(
                (
                    Submission(item_id=item.item_id, answer=right),
                    Submission(item_id=item.item_id, answer=TextAnswer(text="other")),
                    Submission(item_id=item.item_id, epoch=2, answer=DeclaredFailure(status=500)),
                    Submission(item_id=item.item_id, epoch=3, answer=right),
                )
            )
        result = await subject.score()
        while result.next_cursor is not None:
            result = await subject.score(result.next_cursor)
    assert result.report is not None
    assert (result.report.overall.value, result.report.overall.n) == (1.0, 120)
    assert b"i-119" in left(container)
    assert TARGET.encode() not in left(container)
    assert TARGET not in capfd.readouterr().err
