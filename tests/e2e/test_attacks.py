"""Attacks on a sealed benchmark by its client, through the tools.

Each is first shown to succeed against the product less the lines that should stop it, then to fail against the
product, while a well-behaved client's evaluation beside it ends with the right score.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from dep_mcp.containers import DockerRuntime
from dep_mcp.protocol import new_evaluation_id
from dep_mcp.protocol.errors import ContainerLostError
from tests.e2e.attacking import Change, Victim, attacked, beside, target, toy_image

pytestmark = pytest.mark.docker

Deed = Callable[[Victim], Awaitable[bool]]
"""Attacks, and says whether it succeeded."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    Attributes:
        name: What it does.
        deed: How, and whether it worked.
        weaker: Lines of the server, and what stands there in the weakened one.
    """

    name: str
    deed: Deed
    weaker: tuple[Change, ...]


APP, BUNDLE = "dep_mcp.server.app", "dep_mcp.server.bundle"
GUARD, IDS, MAIN = "dep_mcp.server.guard", "dep_mcp.protocol.ids", "dep_mcp.server.__main__"
SESSION, SUBMISSIONS, TOOLS = "dep_mcp.server.session", "dep_mcp.protocol.submissions", "dep_mcp.protocol.tools"

PATHS = (
    "../bundle.sqlite",
    "../../benchmark/bundle.sqlite",
    "/benchmark/bundle.sqlite",
    "..%2fbundle.sqlite",
    "file:///benchmark/bundle.sqlite",
    "....//bundle.sqlite",
    "../bundle.sqlite\0.txt",
)
BROKEN = (
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    b'{"jsonrpc":"2.0","id":' + b"9" * 100_000 + b',"method":"tools/call"}',
    b"\xff\xfe\x00\x00",
    b"\0" * 1000,
)
NAIVE_LOOKUP = """import os, unicodedata
        try: os.stat("/benchmark/" + item_id)
        except FileNotFoundError: pass
        item_id = unicodedata.normalize("NFKC", item_id)
        row = """
NAIVE_READER = """async def naive():
    import anyio, json
    async for line in anyio.wrap_file(open(0)):
        json.loads(line)
        yield line


async def serve("""


def failed(reply: Any) -> bool:
    """Whether something inside broke: an error that its caller can't mend."""
    return bool(reply.get("code") == "internal")


async def read_all(victim: Victim) -> bool:
    await victim.call("get_items", limit=100)
    await victim.operator.describe()
    await victim.operator._client.list_tools()
    return await victim.leaked()


async def provoke_errors(victim: Victim) -> bool:
    await victim.submit("#!raise ValueError(target)", "#!raise SystemExit(target)")
    await victim.submit("#!raise type(target, (Exception,), {'__module__': 'builtins'})", first=2)
    return await victim.leaked()


async def tell_right_from_wrong(victim: Victim) -> bool:
    right = await victim.submit(target(victim.items[10]), first=10)
    return bool(right != await victim.submit("target-x", first=11))


async def climb(victim: Victim) -> bool:
    """Score, correct, score again."""
    before = await victim.values(*["wrong"] * len(victim.items))
    await victim.submit(*map(target, victim.items))
    after = (await victim.subject.score()).details
    return [one.value for one in after] != before


async def open_again(victim: Victim) -> bool:
    return "code" not in await victim.call("open", seed="0" * 32, limit=5)


async def guess_evaluation(victim: Victim) -> bool:
    return "items" in await victim.call("get_items", evaluation_id=new_evaluation_id())


async def traverse(victim: Victim) -> bool:
    for path in PATHS:
        await victim.call("get_items", cursor=path)
        await victim.call("score", cursor=path)
        await victim.call("open", task=path, seed="0" * 32)
        await victim.call("submit", submissions=[{"item_id": path, "answer": {"kind": "text", "text": path}}])
    return await victim.leaked()


async def oversize(victim: Victim) -> bool:
    return bool((await victim.submit("x" * (2 << 20), first=3)).get("accepted"))


async def too_many(victim: Victim) -> bool:
    one = {"item_id": victim.items[0].item_id, "answer": {"kind": "text", "text": ""}}
    return "accepted" in await victim.call("submit", submissions=[one] * 10_000)


async def break_the_reader(victim: Victim) -> bool:
    with suppress(ContainerLostError):
        for line in BROKEN:
            await victim.wire.write(line + b"\n")
    return not await victim.answers()


async def odd_id(victim: Victim, item_id: str, epoch: int = 1) -> Any:
    answer = {"kind": "text", "text": ""}
    return await victim.call("submit", submissions=[{"item_id": item_id, "epoch": epoch, "answer": answer}])


async def nul(victim: Victim) -> bool:
    return failed(await odd_id(victim, "toy\0"))


async def look_alike(victim: Victim) -> bool:
    """One item under two names could be answered twice."""
    wide = victim.items[0].item_id.replace("toy", "ｔｏｙ")  # noqa: RUF001
    return bool((await odd_id(victim, wide)).get("accepted"))


async def huge_id(victim: Victim) -> bool:
    await odd_id(victim, "x" * 1_000_000)
    return max(map(len, victim.wire.lines_left)) > 100_000


async def huge_number(victim: Victim) -> bool:
    replies = [await odd_id(victim, victim.items[0].item_id, epoch) for epoch in (2**31, 2**63, 10**300)]
    return any(map(failed, replies))


ATTACKS = (
    Attack(
        "reads targets in pages and descriptions",
        read_all,
        (
            (
                SESSION,
                "items.append(self._bundle.item(number))",
                "items.append(SHOWN(self._bundle.item(number), str(self._bundle.target(number))))",
            ),
            (
                SESSION,
                "SUBMIT_S = 20.0",
                "SUBMIT_S, SHOWN = 20.0, lambda item, text: item.model_copy(update={'subtask': text})",
            ),
        ),
    ),
    Attack(
        "reads targets in what errors say",
        provoke_errors,
        (
            (GUARD, "self._isolated if self._scorer.isolated else self._in_place", "self._in_place"),
            (GUARD, "return math.nan, _fault(error)", "raise"),
            (
                APP,
                'DepError("internal error in the benchmark; its type is on the container\'s stderr")',
                "DepError(str(error))",
            ),
        ),
    ),
    Attack(
        "reads targets in what the server logs",
        provoke_errors,
        (
            (GUARD, "self._isolated if self._scorer.isolated else self._in_place", "self._in_place"),
            (
                GUARD,
                "return math.nan, _fault(error)",
                "sys.stderr.write(type(error).__name__ + chr(10))\n        return math.nan, 0",
            ),
        ),
    ),
    Attack(
        "learns from submit whether it was right",
        tell_right_from_wrong,
        ((SESSION, "score or 0.0)\n        return False", "score or 0.0)\n        return score == 1.0"),),
    ),
    Attack(
        "corrects its answers after the score",
        climb,
        (
            (SESSION, "if self._result is not None:", "if False:"),
            (SESSION, "if self._result is None:", "if True:"),
            ("dep_mcp.server.ledger", "raise SubmissionConflictError(msg)", "return False"),
        ),
    ),
    Attack(
        "opens the container anew",
        open_again,
        ((SESSION, "if self._opening is None:\n            self._fix", "if True:\n            self._fix"),),
    ),
    Attack(
        "reads another one's evaluation",
        guess_evaluation,
        ((SESSION, "self._opening.evaluation_id != evaluation_id", "False"),),
    ),
    Attack(
        "names a file where a cursor, task or item is asked for",
        traverse,
        (
            (
                SESSION,
                'msg = "not a cursor of this evaluation: start again without one"',
                'import os; msg = open(os.path.normpath("/benchmark/pages/" + cursor), errors="replace").read()',
            ),
        ),
    ),
    Attack("sends too long an answer", oversize, ((SUBMISSIONS, "max_length=1024 * 1024", "max_length=1 << 40"),)),
    Attack(
        "sends too many at once",
        too_many,
        ((TOOLS, "Field(min_length=1, max_length=PAGE_ITEMS)", "Field(min_length=1)"),),
    ),
    Attack(
        "sends lines that no reader can take",
        break_the_reader,
        ((MAIN, "async def serve(", NAIVE_READER), (MAIN, "stdio_server()", "stdio_server(stdin=naive())")),
    ),
    Attack(
        "sends a NUL",
        nul,
        ((IDS, 'pattern=f"^[^{STEERS}]+$"', 'pattern="(?s)^.+$"'), (BUNDLE, "row = ", NAIVE_LOOKUP)),
    ),
    Attack("sends characters that look alike", look_alike, ((BUNDLE, "row = ", NAIVE_LOOKUP),)),
    Attack("sends a huge id", huge_id, ((IDS, "max_length=256", "max_length=1 << 40"),)),
    Attack(
        "sends huge numbers",
        huge_number,
        ((SESSION, "position is None or submission.epoch > epochs", "position is None"),),
    ),
)


def names(attack: Attack) -> str:
    return attack.name.replace(" ", "-")


@pytest.mark.parametrize("attack", ATTACKS, ids=names)
async def test_an_attack_succeeds_on_a_weakened_server(attack: Attack) -> None:
    """One that fails everywhere would show nothing."""
    async with DockerRuntime() as runtime:
        image = await toy_image(runtime, careless=True)
        async with attacked(runtime, image, *attack.weaker) as victim:
            assert await attack.deed(victim)


async def test_every_attack_fails_on_the_product() -> None:
    """One after the other on one evaluation, which goes on answering; the one that closes it comes last."""
    async with DockerRuntime() as runtime:
        image = await toy_image(runtime, careless=True)
        async with beside(runtime), attacked(runtime, image) as victim:
            for attack in sorted(ATTACKS, key=lambda attack: attack.deed is climb):
                assert not await attack.deed(victim), attack.name
                assert await victim.answers(), attack.name
