"""Attacks that take many calls or much time, and a model that looks around on the machine it runs on.

Each is first shown to succeed against a weakened build, then to fail against the product, beside a well-behaved client.
"""

import asyncio
import hashlib
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.containers import ContainerSpec, DockerRuntime
from dep_mcp.protocol import Open, Submission, TextAnswer, new_evaluation_id
from dep_mcp.protocol.errors import ContainerLostError
from tests.conftest import SOAK
from tests.e2e.attacking import SEED, Change, Victim, attacked, beside, command, target, toy_image

pytestmark = pytest.mark.docker

EXACT, TURNS = "dep_mcp.scoring.exact", "dep_mcp.server.backlog"


def call(tool: str, **arguments: object) -> bytes:
    """A call as a line, made without the client."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode() + b"\n"


@pytest.mark.parametrize("weakened", [True, False])
async def test_calls_that_are_pipelined_and_not_read_cannot_fill_the_memory(*, weakened: bool) -> None:
    """The server takes no more calls than it holds; and once they are read, each has its answer."""
    calls = 100_000 if SOAK else 10_000
    changes: tuple[Change, ...] = ((TURNS, "MOST_CALLS = 64", "MOST_CALLS = 1 << 30"),) if weakened else ()
    async with DockerRuntime() as runtime, beside(runtime, wrong=0), beside(runtime, wrong=7):
        image = await toy_image(runtime, careless=True)
        spec = ContainerSpec(image=image, labels={}, command=command(*changes), memory_mb=80)
        async with runtime.start(spec) as container:
            opening = Open(evaluation_id=new_evaluation_id(), seed=SEED)
            get_items = call("get_items", evaluation_id=opening.evaluation_id)
            await container.write(call("open", **opening.model_dump(mode="json")))

            async def send() -> None:
                for _ in range(2000 // 50):
                    await container.write(get_items * 50)
                for _ in range((calls - 2000) // 100):
                    await container.write(call("describe") * 100)

            sending = asyncio.create_task(send())
            await asyncio.wait([sending], timeout=30 if weakened else 3)  # ends early where it breaks
            answers = 0
            async for _ in container.lines():
                answers += 1
                if answers == calls + 1:
                    break
            if weakened:
                assert answers < calls
                assert await container.exit_status() == 137
                with suppress(ContainerLostError):
                    await sending
            else:
                assert answers == calls + 1
                await sending


@pytest.mark.parametrize("weakened", [True, False])
async def test_a_hundred_of_the_longest_answers_cannot_fill_the_memory(*, weakened: bool) -> None:
    """A model may write as much as it likes; the client sends it in parts."""
    text = "x" * (1 << 20)
    async with DockerRuntime() as runtime, beside(runtime), attacked(runtime, limit=100) as victim:
        if weakened:
            await victim.submit(*[text] * len(victim.items))
            assert not await victim.answers()
        else:
            answers = (Submission(item_id=item.item_id, answer=TextAnswer(text=text)) for item in victim.items)
            assert (await victim.subject.submit(tuple(answers))).accepted == len(victim.items)


LEAKY = """float(found is not None and leak(found, str(target)))


def leak(found: str, target: str) -> bool:
    import time
    for one, other in zip(found, target):
        if one != other: return False
        time.sleep(0.001)
    return len(found) == len(target)
"""


async def seconds(victim: Victim, texts: Mapping[str, Callable[[str], str]], count: int) -> dict[str, list[float]]:
    """How long submissions of each kind take, in random order."""
    draw, times = random.Random(4), {name: list[float]() for name in texts}
    slots = [(item, epoch) for epoch in range(1, 1001) for item in victim.items]
    kinds = list(texts) * count
    draw.shuffle(kinds)
    for kind, (item, epoch) in zip(kinds, slots, strict=False):
        answer = TextAnswer(text=texts[kind](target(item)))
        begin = time.perf_counter()
        await victim.subject.submit((Submission(item_id=item.item_id, epoch=epoch, answer=answer),))
        times[kind].append(time.perf_counter() - begin)
    return times


def distance(one: list[float], other: list[float]) -> float:
    """How far the rank sum (Mann and Whitney) of two samples is from chance, in standard deviations."""
    wins = sum((a > b) + (a == b) / 2 for a in one for b in other)
    return (wins - len(one) * len(other) / 2) / math.sqrt(len(one) * len(other) * (len(one) + len(other) + 1) / 12)


KINDS: Mapping[str, Callable[[str], str]] = {
    "wrong": lambda right: right[::-1],
    "begins right": lambda right: right[:-1] + "x",
    "right": lambda right: right,
}


@pytest.mark.parametrize("weakened", [True, False])
async def test_the_time_that_a_verdict_takes_does_not_tell_it(*, weakened: bool) -> None:
    """A comparison that stops at the first difference would give a target away, letter by letter."""
    changes: tuple[Change, ...] = (
        ((EXACT, "float(found is not None and self._normalize(found) == self._normalize(str(target)))", LEAKY),)
        if weakened
        else ()
    )
    async with DockerRuntime() as runtime, beside(runtime), attacked(runtime, None, *changes, epochs=1000) as victim:
        times = await seconds(victim, KINDS, 1500 if SOAK else 150)
    found = [distance(times[kind], times["wrong"]) for kind in ("begins right", "right")]
    if weakened:
        assert min(found) > 8, found
    else:
        assert max(map(abs, found)) < 5, found


SPY = """
import json, os, pathlib, re, sys
asked = sys.stdin.buffer.read()
target, question = b"secret" + b"-[0-9]", b"Question" + b" [0-9]+[?]"
seen = {"request": asked, "environment": repr(dict(os.environ)).encode(), "arguments": repr(sys.argv).encode()}
for folder in sys.argv[2:]:
    seen |= {str(path): path.read_bytes() for path in pathlib.Path(folder).rglob("*") if path.is_file()}
parent = f"/proc/{os.getppid()}"
memory = b""
with open(f"{parent}/maps") as maps, open(f"{parent}/mem", "rb") as mem:
    for line in maps:
        begin, end = (int(part, 16) for part in line.split()[0].split("-"))
        if line.split()[1].startswith("rw"):
            try:
                mem.seek(begin)
                memory += mem.read(end - begin)
            except (OSError, ValueError, OverflowError):
                pass
seen["memory of dep-mcp"] = memory
found = {"targets": [place for place, data in seen.items() if re.search(target, data)],
         "questions": [place for place, data in seen.items() if re.search(question, data)]}
pathlib.Path(sys.argv[1]).write_text(json.dumps(found))
print("no idea")
"""
QUIZ = '''"""Questions from a file."""
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, SealedItem


class Quiz(Benchmark):
    scorer = ExactMatch()

    def items(self, draw):
        for number, row in enumerate(self.rows("test.jsonl")):
            yield SealedItem(f"q-{number}", row["question"], row["answer"])
'''


@pytest.mark.skipif(os.geteuid() != 0, reason="the model reads its parent's memory, for which it needs to be root")
def test_a_model_on_the_same_machine_finds_no_target_where_it_can_look(cli: Any, tmp_path: Path) -> None:
    """Not in what it is asked, in files, or in the memory of dep-mcp; in a plain benchmark's folder it does."""
    plain, sealed, spy = tmp_path / "quiz", tmp_path / "sealed", tmp_path / "spy.py"
    data = "".join(
        json.dumps({"question": f"Question {n}?", "answer": f"secret-{n}"}) + "\n" for n in range(30)
    ).encode()
    card = dict.fromkeys(("title", "description", "license", "source"), "x") | {
        "name": "quiz",
        "version": "1",
        "data": [{"name": "test.jsonl", "sha256": hashlib.sha256(data).hexdigest()}],
        "canary": "2a1c0f52-6a4e-4c0a-9d0f-0d3f4a5b6c7d",
    }
    (plain / "data").mkdir(parents=True)
    (plain / "data" / "test.jsonl").write_bytes(data)
    (plain / "benchmark.py").write_text(QUIZ)
    (plain / "dataset_card.yaml").write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in card.items()))
    spy.write_text(SPY)
    made = cli("bench", "seal", f"{plain}/", "-o", sealed)
    assert made.returncode == 0, made.stderr

    def look(folder: Path) -> dict[str, list[str]]:
        report = tmp_path / "report.json"
        model = f"command:{sys.executable} {spy} {report} {folder} {cli.home / 'home'}"
        ran = cli("run", "-b", f"{folder}/", "-m", model, "--limit", "1")
        assert ran.returncode == 0, ran.stderr
        return dict(json.loads(report.read_text()))

    assert str(plain / "data" / "test.jsonl") in look(plain)["targets"]
    found = look(sealed)
    assert found["targets"] == []
    assert {"request", "memory of dep-mcp"} <= set(found["questions"]), "the search sees what is there"
