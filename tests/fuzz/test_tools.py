"""A hostile client at a real server's standard input: each request is answered well or refused by a code, and no more.

What the answers say is compared with a ledger that the test keeps by itself, and at the end an honest client completes
the evaluation: score and receipt are those of that ledger.
"""

import asyncio
import io
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from mcp import Client
from mcp.types import JSONRPCRequest, jsonrpc_message_adapter
from pydantic import ValidationError

from dep_mcp.client import line_transport
from dep_mcp.containers import ContainerSpec
from dep_mcp.protocol import (
    MESSAGE_BYTES,
    ChoiceAnswer,
    DeclaredFailure,
    Describe,
    Description,
    GetItems,
    ItemPage,
    Open,
    Opened,
    ScoreRequest,
    ScoreResult,
    Submission,
    Submit,
    Submitted,
    TextAnswer,
    WireModel,
    new_evaluation_id,
)
from dep_mcp.protocol.errors import DepError, ErrorBody
from dep_mcp.receipts import AnswerLog, verify
from dep_mcp.server.bundle import BUNDLE, Bundle
from dep_mcp.server.loading import index, load_session
from dep_mcp.testing import FakeContainer, FakeRuntime
from tests.conftest import SEED, SOAK
from tests.fuzz.mutation import bent, memory, spoiled

SESSIONS = 20 if SOAK else 2
CALLS = 5000
BATCH = 50
UNOPENED = 4 * BATCH
"""Calls before the honest client opens the session."""
GROWTH = 48 << 20
WAIT_S = 60.0
ANOTHER = "ev_" + "0" * 36
CANARY = "canary-3f0c1d"
"""In every target; no client can know it."""
ANSWER = "answer-9b27"
"""In every right answer, which no refusal may quote."""
ITEMS = 40
CARD = """{name: fuzzed, version: "1", title: t, description: d, license: x, source: s, policy: {disclosure: full}}"""
CODE = f"""
from dep_mcp.server import Benchmark, SealedItem

class Scorer:
    isolated = False

    def score(self, answer, target):
        if answer.kind == "choice":
            best = max(range(len(answer.log_likelihoods)), key=answer.log_likelihoods.__getitem__)
            return float(best == target["best"])
        return float(answer.text == target["text"])

class Fuzzed(Benchmark):
    scorer = Scorer()

    def items(self, draw):
        for n in range({ITEMS}):
            target = {{"text": f"{ANSWER}-{{n}}", "best": n % 3, "why": "{CANARY}"}}
            options = ("a", "b", "c")[: 3 * (n % 2)]
            yield SealedItem(f"i-{{n}}", f"q {{n}}", target, options=options, subtask=f"s{{n % 3}}")
"""
APP, SESSION = "import dep_mcp.server.app as app", "from dep_mcp.server.session import SealedSession as S"
LEDGER, OLD = "from dep_mcp.server.ledger import Entry, Ledger", "old = app._parse"
WEAK = {
    "overwrites answers": ("instead of", LEDGER, "Ledger.is_duplicate = lambda *_, **__: False"),
    "scores failures": (
        "assert",
        LEDGER,
        "old = Ledger.write",
        "Ledger.write = lambda self, slot, digest, *_: old(self, slot, digest, Entry.SCORED, 1.0)",
    ),
    "quotes targets": ("a target left", APP, f"app._said = lambda fault: '{CANARY}'"),
    "quotes answers": ("an answer is quoted", APP, "app._said = lambda fault: fault['msg']"),
    "takes any cursor": ("fault|no refusal", SESSION, "S._offset = lambda _s, c, _t: int(c or 0)"),
    "ignores arguments": (
        "no refusal",
        "from dep_mcp.protocol import Submit",
        "Submit.model_config['extra'] = 'ignore'",
        "Submit.model_rebuild(force=True)",
    ),
    "takes any evaluation": ("no refusal|a fault", SESSION, "S._opened = lambda self, _: self._opening"),
    "fills memory": (
        "MiB more", APP, OLD, "kept = []", "app._parse = lambda *a: kept.append(b'x' * 400_000) or old(*a)",
    ),
    "dies of odd text": (
        "has died", APP, OLD, "import os", "app._parse = lambda m, a: os._exit(1) if 'x00' in str(a) else old(m, a)",
    ),
    "hangs": (
        "^$", APP, OLD, "import time", "app._parse = lambda m, a: time.sleep(1e6) if 'inf' in str(a) else old(m, a)",
    ),
}  # fmt: skip
"""What weakens a server: how the fuzzer tells of it, and the code."""
TOOLS: dict[str, tuple[type[WireModel], type[WireModel]]] = {
    "describe": (Describe, Description),
    "open": (Open, Opened),
    "get_items": (GetItems, ItemPage),
    "submit": (Submit, Submitted),
    "score": (ScoreRequest, ScoreResult),
}
STATUS = {
    kind.code: kind.status
    for root in DepError.__subclasses__()
    for kind in (root, *root.__subclasses__())
}  # fmt: skip
CAUSED = {"invalid_arguments", "bad_cursor", "unknown_name", "wrong_evaluation", "not_open", "already_open"}
"""What `docs/protocol.md` lets a whole call of this benchmark be refused with."""
RPC_CODES = {-32700, -32600, -32601, -32602, -32001, -32002, -32003, -32004, -32020, -32021, -32022}
"""Of JSON-RPC and MCP, for what the client did wrong; -32603 is a fault of the server."""


def right(item: int) -> TextAnswer | ChoiceAnswer:
    if item % 2:
        return ChoiceAnswer(log_likelihoods=tuple(-float(n != item % 3) for n in range(3)), token_counts=(1, 1, 1))
    return TextAnswer(text=f"{ANSWER}-{item}")


def judged(submission: Submission) -> float:
    item, answer = int(submission.item_id[2:]), submission.answer
    if isinstance(answer, ChoiceAnswer):
        return float(max(range(3), key=answer.log_likelihoods.__getitem__) == item % 3)
    return float(isinstance(answer, TextAnswer) and answer.text == f"{ANSWER}-{item}")


@dataclass
class Shadow:
    """What the server's state must be, by the calls that it answered."""

    bundle: Bundle
    opening: Open | None = None
    items: list[str] = field(default_factory=list)
    slots: dict[tuple[str, int], Submission] = field(default_factory=dict)
    closed: bool = False

    def open(self, opening: Open) -> None:
        """Fix the items, which are a matter of data and arguments alone."""
        numbers = self.bundle.draw(opening.seed, task=opening.task, limit=opening.limit)
        self.items = [self.bundle.item(number).item_id for number in numbers]
        self.opening = opening.model_copy(update={"data_key": None})

    def refusal(self, tool: str, arguments: WireModel) -> str:  # noqa: PLR0911 (one for each rule of the protocol)
        """The code that a whole call is refused with; empty if it isn't."""
        if isinstance(arguments, Describe):
            return ""
        if isinstance(arguments, Open):
            if self.opening is not None:
                return "" if arguments.model_copy(update={"data_key": None}) == self.opening else "already_open"
            return "" if arguments.task in {None, "s0", "s1", "s2"} else "unknown_name"
        if self.opening is None:
            return "not_open"
        if arguments.evaluation_id != self.opening.evaluation_id:  # type: ignore[attr-defined]
            return "wrong_evaluation"
        cursor = getattr(arguments, "cursor", None)
        if cursor is None or (tool == "score" and self.missing()):
            return ""
        most = len(self.items) * (self.opening.epochs if tool == "score" else 1)
        return "" if cursor.isascii() and cursor.isdigit() and len(cursor) < 10 and int(cursor) < most else "bad_cursor"

    def missing(self) -> int:
        return len(self.items) * (self.opening.epochs if self.opening else 0) - len(self.slots)

    def outcome(self, submission: Submission) -> str:  # noqa: PLR0911 (one for each rule of the protocol)
        """Take a submission, as the protocol says."""
        place = submission.item_id, submission.epoch
        if submission.item_id not in self.items or self.opening is None or submission.epoch > self.opening.epochs:
            return "unknown_item"
        there, failure = self.slots.get(place), isinstance(submission.answer, DeclaredFailure)
        if there is not None:
            if there.digest() == submission.digest():  # so 0.0 and -0.0 are two answers
                return "duplicate"
            if not isinstance(there.answer, DeclaredFailure):
                return "submission_conflict"
            if failure:
                return "duplicate"
        if self.closed:
            return "evaluation_closed"
        options = 3 if int(submission.item_id[2:]) % 2 else 0
        given = len(submission.answer.log_likelihoods) if isinstance(submission.answer, ChoiceAnswer) else 0
        if not failure and given != options:
            return "unfit_answer"
        self.slots[place] = submission
        return "accepted"


class Server:
    """A server's process, and all that it said."""

    def __init__(self, process: asyncio.subprocess.Process, shadow: Shadow) -> None:
        self.process = process
        self.shadow = shadow
        self.codes: Counter[str] = Counter()
        self.wait_s = WAIT_S
        self._number = 0

    async def exchange(self, data: bytes) -> list[dict[str, Any]]:
        """Send lines, and return all replies until a call that comes last is answered."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        self._number += 1
        last = f"last-{self._number}"
        stdin.write(data + b"\n" + call(last, "describe", {}) + b"\n")
        replies = []
        async with asyncio.timeout(self.wait_s):
            writing = asyncio.gather(stdin.drain(), return_exceptions=True)  # a server that has died is told below
            while line := await stdout.readline():
                assert CANARY.encode() not in line, f"a target left: {line!r}"
                assert len(line) <= MESSAGE_BYTES
                reply = json.loads(line)
                if reply.get("id") == last:
                    break
                replies.append(reply)
            else:
                msg = "the server has died"
                raise AssertionError(msg)
            await writing
        return replies

    async def ask(self, tool: str, arguments: WireModel) -> Any:
        """An honest call."""
        (reply,) = await self.exchange(call("honest", tool, arguments.model_dump(mode="json")))
        assert not self.faults([call("honest", tool, arguments.model_dump(mode="json"))], [reply])
        return TOOLS[tool][1].model_validate_json(json.dumps(reply["result"]["structuredContent"]))

    def faults(self, lines: list[bytes], replies: list[dict[str, Any]]) -> list[str]:
        """What is wrong about the replies to these lines; takes what they changed into the shadow."""
        waiting: dict[str, list[dict[str, Any]]] = {}
        for reply in replies:
            waiting.setdefault(json.dumps(reply.get("id")), []).append(reply)
        wrong = []
        for request in requests(lines):
            there = waiting.get(json.dumps(request.id), [])
            if not there:
                wrong.append(f"no reply to {request!r:.300}")
            elif fault := self.fault(request, there.pop(0)):
                wrong.append(f"{fault}: {request!r:.600}")
        wrong += [
            f"reply to nothing: {reply}" for rest in waiting.values() for reply in rest if reply.get("id") is not None
        ]
        return wrong

    def fault(self, request: JSONRPCRequest, reply: dict[str, Any]) -> str:
        """What is wrong about a reply to a request."""
        if "error" in reply:
            self.codes[str(reply["error"]["code"])] += 1
            return "" if reply["error"]["code"] in RPC_CODES else f"a fault of the server's: {reply}"
        if request.method != "tools/call":
            return ""
        result, params = reply["result"], request.params or {}
        arguments_of, result_of = TOOLS[params["name"]]
        try:
            arguments = arguments_of.model_validate(params.get("arguments") or {})
            expected = self.shadow.refusal(params["name"], arguments)
        except ValidationError:
            expected = "invalid_arguments"
        if result.get("isError"):
            body = ErrorBody.model_validate(result["structuredContent"])
            if ANSWER in json.dumps(result):
                return f"an answer is quoted: {body}"
            self.codes[body.code] += 1
            well = body.code == expected and body.code in CAUSED and body.status == STATUS[body.code]
            return "" if well else f"{body} instead of {expected or 'a result'}"
        self.codes[params["name"]] += 1
        if expected:
            return f"no refusal ({expected})"
        said = result_of.model_validate_json(json.dumps(result["structuredContent"]))
        return self.take(arguments, said)

    def take(self, arguments: WireModel, said: WireModel) -> str:
        """Compare a result with the shadow."""
        shadow = self.shadow
        if isinstance(arguments, Open) and shadow.opening is None:
            shadow.open(arguments)
        if isinstance(arguments, Submit) and isinstance(said, Submitted):
            outcomes = [shadow.outcome(submission) for submission in arguments.submissions]
            told = [rejection.code for rejection in said.rejected]
            well = (said.accepted, said.duplicates) == (outcomes.count("accepted"), outcomes.count("duplicate"))
            if not well or told != [one for one in outcomes if one not in {"accepted", "duplicate"}]:
                return f"{said} instead of {outcomes}"
        if isinstance(said, ScoreResult):
            shadow.closed = shadow.closed or said.state == "scored"
            if said.missing != shadow.missing() or (said.report is None) != bool(shadow.missing()):
                return f"{said} while {shadow.missing()} are missing"
        return ""


def call(number: object, tool: str, arguments: object) -> bytes:
    """A request that needs no handshake."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "c", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}).encode()


def requests(lines: list[bytes]) -> Iterator[JSONRPCRequest]:
    """What of these lines is a request, read as the SDK reads its standard input."""
    for line in io.TextIOWrapper(io.BytesIO(b"\n".join(lines) + b"\n"), encoding="utf-8", errors="replace"):
        try:
            message = jsonrpc_message_adapter.validate_json(line, by_name=False)
        except ValueError:
            continue
        if isinstance(message, JSONRPCRequest):
            yield message


def honest_calls(evaluation_id: str, rng: Random) -> list[tuple[str, dict[str, Any]]]:
    """Calls as an honest client makes them."""
    item = rng.randrange(ITEMS)
    answers: list[Any] = [right(item), right(item + 1), TextAnswer(text="no"), DeclaredFailure(status=500)]
    submissions = [
        Submission(item_id=f"i-{(item + more) % ITEMS}", epoch=rng.randrange(1, 3), answer=rng.choice(answers))
        for more in range(rng.randrange(1, 4))
    ]
    turn = {"evaluation_id": evaluation_id, "at": "2026-01-01T00:00:00Z", "final": False, "score": None}
    opening = {"evaluation_id": evaluation_id, "seed": SEED, "epochs": 2, "claims": {"model": "m"}, "turn": turn}
    return [
        ("describe", {}),
        ("open", opening | {"earlier": [turn | {"score": 0.5}], "task": None, "limit": None, "data_key": None}),
        ("get_items", {"evaluation_id": evaluation_id, "cursor": str(rng.randrange(ITEMS)), "limit": 10}),
        (
            "submit",
            {"evaluation_id": evaluation_id, "submissions": [one.model_dump(mode="json") for one in submissions]},
        ),
        ("score", {"evaluation_id": evaluation_id, "cursor": rng.choice((None, "10"))}),
    ]


def hostile(seed: int, evaluation_id: str, *, recorded: list[bytes], may_open: bool) -> bytes:
    """What a hostile client sends."""
    rng = Random(seed)
    describe, open_, *subject = honest_calls(rng.choice((evaluation_id,) * 30 + (ANOTHER,)), rng)
    tool, arguments = rng.choice([describe, *subject, *subject, *[open_] * may_open])
    whole = call(seed, tool, arguments)
    match rng.randrange(8):
        case 0:
            return spoiled(whole, rng.choice(recorded), rng)
        case 1:
            return spoiled(rng.choice(recorded), whole, rng)
        case 2:
            return bent(json.loads(whole), rng).encode(errors="replace")
        case 3:
            return whole
        case _:  # the arguments only: what gets past the SDK
            text = call(seed, tool, "@").decode().replace('"@"', bent(arguments, rng))
            return text.encode(errors="replace")


@asynccontextmanager
async def started(folder: Path, errors: Path) -> AsyncIterator[Server]:
    command = (sys.executable, "-m", "dep_mcp.server", "serve", str(folder))
    with errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=stderr, limit=64 << 20
        )
        try:
            yield Server(process, Shadow(Bundle.load(folder / BUNDLE)))
        finally:
            if process.returncode is None:
                process.kill()
            assert process.stdin is not None
            process.stdin.close()
            await process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "fuzzed"
    folder.mkdir()
    (folder / "dataset_card.yaml").write_text(CARD)
    (folder / "benchmark.py").write_text(CODE)
    index(folder)
    return folder


@pytest.fixture
async def recorded(folder: Path) -> list[bytes]:
    """What the SDK's client sends of itself, in both eras of the protocol."""
    lines = []
    for mode in ("2026-07-28", "legacy"):
        async with FakeRuntime(lambda: load_session(folder)).start(ContainerSpec(image="none", labels={})) as container:
            async with Client(line_transport(container), mode=mode, cache=None) as client:
                await client.list_tools()
                await client.call_tool("describe", {})
            assert isinstance(container, FakeContainer)
            lines += [line.rstrip(b"\n") for line in container.written]
    return [*lines, b'{"jsonrpc":"2.0","id":"p","method":"ping"}']


async def opened(server: Server, evaluation_id: str) -> Open:
    """Open the session, unless a hostile call has, and read its items."""
    if server.shadow.opening is None:
        await server.ask("open", Open(evaluation_id=evaluation_id, seed=SEED, epochs=2))
    opening = server.shadow.opening
    assert opening is not None
    items: list[str] = []
    cursor = None
    while True:
        page = await server.ask("get_items", GetItems(evaluation_id=opening.evaluation_id, cursor=cursor, limit=1))
        items += [item.item_id for item in page.items]
        if (cursor := page.next_cursor) is None:
            assert items == server.shadow.items
            return opening


async def completed(server: Server, opening: Open) -> None:
    """Complete the evaluation as an honest client, and hold its score and receipt against the shadow."""
    shadow = server.shadow
    places = [(item, epoch) for item in shadow.items for epoch in range(1, opening.epochs + 1)]
    todo = [
        Submission(item_id=item, epoch=epoch, answer=right(int(item[2:])))
        for item, epoch in places
        if (item, epoch) not in shadow.slots
    ]
    for at in range(0, len(todo), 100):
        submitted = await server.ask(
            "submit", Submit(evaluation_id=opening.evaluation_id, submissions=tuple(todo[at : at + 100]))
        )
        assert submitted.accepted == len(todo[at : at + 100])
    result = await server.ask("score", ScoreRequest(evaluation_id=opening.evaluation_id))
    log = AnswerLog()
    for place in places:
        kept = shadow.slots[place]
        log.add(None if isinstance(kept.answer, DeclaredFailure) else kept.digest())
    attested = verify(result.receipt.model_dump_json().encode()).statement.predicate.attested
    assert attested.answers == log.root
    assert attested.report == result.report
    assert result.report.ranked == pytest.approx(sum(map(judged, shadow.slots.values())) / len(places))
    assert result.report.counts.scorer_errors == 0


async def attack(
    folder: Path, recorded: list[bytes], *, first: int, calls: int, wait_s: float = WAIT_S
) -> Counter[str]:
    """Send a server calls of as many seeds, with an honest client beside; return how often they ended how."""
    evaluation_id, errors, opening = new_evaluation_id(), folder.parent / "stderr", None
    async with started(folder, errors) as server:
        assert await server.exchange(b"") == []
        server.wait_s, before = wait_s, memory(server.process.pid)
        for at in range(first, first + calls, BATCH):
            if at == first + UNOPENED:
                opening = await opened(server, evaluation_id)
                evaluation_id = opening.evaluation_id
            may_open = at >= first + UNOPENED // 2
            seeds = range(at, at + BATCH)
            lines = [hostile(seed, evaluation_id, recorded=recorded, may_open=may_open) for seed in seeds]
            replies = await server.exchange(b"\n".join(lines))
            wrong = server.faults(lines, replies)
            assert not wrong, f"seeds {at} to {at + BATCH - 1}: {wrong[:3]}"
        assert opening is not None
        await completed(server, opening)
        grown = memory(server.process.pid) - before
    assert CANARY not in errors.read_text(errors="replace")
    assert grown < GROWTH, f"{grown >> 20} MiB more"
    return server.codes


@pytest.mark.parametrize("session", range(SESSIONS))
async def test_a_hostile_client_learns_and_changes_nothing(folder: Path, recorded: list[bytes], session: int) -> None:
    """Before the session is open, while it is, and once it was scored; an honest client gets the right score beside."""
    codes = await attack(folder, recorded, first=session * CALLS, calls=CALLS)
    assert {*TOOLS, "invalid_arguments", "not_open", "wrong_evaluation", "already_open", "bad_cursor"} <= set(codes)


@pytest.mark.parametrize("weakness", WEAK)
async def test_the_fuzzer_finds_a_server_that_is_weaker(folder: Path, recorded: list[bytes], weakness: str) -> None:
    """A fuzzer that finds nothing in a broken server shows nothing about a good one."""
    told, *code = WEAK[weakness]
    with (folder / "benchmark.py").open("a") as module:
        module.write("\n".join(code))

    with pytest.raises((AssertionError, TimeoutError), match=told):
        await attack(folder, recorded, first=0, calls=1500, wait_s=4.0)
