"""A program as a model: real processes, how they end, and that none stays."""

import asyncio
import json
import os
import shlex
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.adapters.command import adapter as command
from dep_mcp.models import Completion, Models
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UsageError

QUESTION = "What is six times seven, dear model?"
ITEM = Item(item_id="1", messages=(Message(role="user", content=QUESTION),))
CHOICE = ITEM.model_copy(update={"options": ("a", "b")})


def model(code: str, *arguments: str) -> command.Adapter:
    card = Models([]).resolve("command:" + shlex.join([sys.executable, "-c", code, *arguments]))
    made = Models([]).adapter(card, None)
    assert isinstance(made, command.Adapter)
    return made


async def ask(code: str, item: Item = ITEM, *arguments: str, timeout_s: float = 20, **generation: Any) -> Completion:
    async with model(code, *arguments) as entered:
        return await entered.complete(item, Generation.model_validate(generation), timeout_s=timeout_s)


async def refused(code: str, item: Item = ITEM, timeout_s: float = 20) -> ModelCallError:
    with pytest.raises(ModelCallError) as raised:
        await ask(code, item, timeout_s=timeout_s)
    assert QUESTION not in raised.value.detail
    return raised.value


async def test_the_request_is_one_json_object_on_standard_input() -> None:
    """Everything that a model needs to answer."""
    said = await ask("import sys; print(sys.stdin.read(), end='')", ITEM, temperature=0.5, system_prompt="Hm.")
    assert isinstance(said.answer, TextAnswer)
    assert json.loads(said.answer.text) == {
        "item_id": "1",
        "messages": [{"role": "system", "content": "Hm."}, {"role": "user", "content": QUESTION}],
        "options": [],
        "generation": {"temperature": 0.5},
        "epoch": 1,
    }


@pytest.mark.parametrize("printed", [" 42 \n", "", '{"a": 1}', "{", "[1]", "ü"])
async def test_what_is_printed_is_the_answer_to_the_last_blank(printed: str) -> None:
    """What is stripped belongs to the scorer; an object that is no reply is an answer."""
    code = "import sys; sys.stdout.buffer.write(sys.argv[1].encode())"
    assert (await ask(code, ITEM, printed)).answer == TextAnswer(text=printed)


async def test_an_object_says_more() -> None:
    """Usage and reasoning, as an endpoint would."""
    reply = {
        "text": "42",
        "finish_reason": "length",
        "usage": {"prompt_tokens": 7, "completion_tokens": 1},
        "reasoning": "41?",
        "model": "mine-2",
        "cost_usd": 0.5,
    }
    said = await ask("import sys; print(sys.argv[1])", ITEM, json.dumps(reply))
    assert said.answer == TextAnswer(text="42", finish_reason="length")
    assert said.usage == Usage(prompt_tokens=7, completion_tokens=1)
    assert (said.reasoning, said.model, said.cost_usd) == ("41?", "mine-2", 0.5)
    assert said.latency_s > 0


async def test_options_are_weighed() -> None:
    """In the order of the item's."""
    code = """import json, sys
options = json.load(sys.stdin)["options"]
print(json.dumps({"log_likelihoods": [-len(o) for o in options], "token_counts": [1 for _ in options]}))"""
    assert (await ask(code, CHOICE)).answer == ChoiceAnswer(log_likelihoods=(-1.0, -1.0), token_counts=(1, 1))


@pytest.mark.parametrize(
    ("printed", "item", "status"),
    [
        ('{"text": 3}', ITEM, 502),
        ('{"text": null}', ITEM, 502),
        ('{"text": "x", "txet": "y"}', ITEM, 502),
        ('{"text": "x", "usage": {"prompt_tokens": -1}}', ITEM, 502),
        ('{"log_likelihoods": [-1, -2]}', CHOICE, 502),
        ('{"log_likelihoods": [-1, NaN], "token_counts": [1, 1]}', CHOICE, 502),
        ('{"log_likelihoods": [-1, -2, -3], "token_counts": [1, 1, 1]}', CHOICE, 422),
        ('{"log_likelihoods": [-1, -2], "token_counts": [1, 1]}', ITEM, 422),
        ("a", CHOICE, 422),
    ],
)
async def test_a_reply_that_is_none_is_told(printed: str, item: Item, status: int) -> None:
    """Rather than scored as a wrong answer, or refused by the benchmark."""
    assert (await refused(f"print({printed!r})", item)).status == status


async def test_output_that_is_no_text_or_has_no_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not fill the memory."""
    assert (await refused("import sys; sys.stdout.buffer.write(b'\\xff')")).status == 502
    monkeypatch.setattr(command, "MOST_BYTES", 100_000)
    for _ in range(20):  # a full pipe, whose end wasn't always seen
        error = await refused("while True: print('x' * 1000)")
        assert (error.status, "100000" in error.detail) == (502, True)


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("import sys; sys.exit('no weights')", 500, "exit 1: no weights"),
        ("import sys; sys.exit(3)", 500, "exit 3"),
        ("import os; os.kill(os.getpid(), 9)", 500, "signal 9"),
        ("import sys; print('busy', file=sys.stderr); sys.exit(75)", 429, "busy"),
        ("import sys; sys.stderr.write('x' * 300_000 + ' the last line'); sys.exit(1)", 500, "the last line"),
        ("import sys; sys.exit('can not read: ' + sys.stdin.read())", 500, "can not read"),
    ],
)
async def test_how_it_ends_is_its_status(code: str, status: int, said: str) -> None:
    """With the last of what it complained of, and without the prompt."""
    error = await refused(code)
    assert error.status == status
    assert said in error.detail


async def test_a_long_request_that_isnt_read_hinders_nothing() -> None:
    """More than a pipe holds."""
    item = Item(item_id="1", messages=(Message(role="user", content="x" * 1_000_000),))
    assert (await ask("print(4)", item)).answer == TextAnswer(text="4\n")
    said = await ask("import sys; print(len(sys.stdin.read()) > 1_000_000)", item)
    assert said.answer == TextAnswer(text="True\n")


FAMILY = """import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
open(sys.argv[1] + ".new", "w").write(str(child.pid)); import os; os.rename(sys.argv[1] + ".new", sys.argv[1])
time.sleep(60 if sys.argv[2] == "stays" else 0)"""


async def gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while Path(f"/proc/{pid}").exists() and " Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("parent", ["stays", "leaves"])
async def test_a_time_out_kills_the_whole_group(tmp_path: Path, parent: str) -> None:
    """Also a child that holds the output of a parent that has left."""
    note = tmp_path / "pid"
    with pytest.raises(ModelCallError) as raised:
        await ask(FAMILY, ITEM, str(note), parent, timeout_s=2)
    assert raised.value.status == 408
    await gone(int(note.read_text()))


async def test_a_cancelled_call_kills_the_whole_group(tmp_path: Path) -> None:
    """A second Ctrl-C leaves nothing behind."""
    note = tmp_path / "pid"
    task = asyncio.create_task(ask(FAMILY, ITEM, str(note), "stays"))
    while not note.exists():
        await asyncio.sleep(0.01)
    begin = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - begin < 5
    await gone(int(note.read_text()))


async def test_there_is_no_shell(tmp_path: Path) -> None:
    """Nothing in a name is executed but the program."""
    mark = tmp_path / "mark"
    card = Models([]).resolve(f"command:echo hi; touch {mark}")
    async with Models([]).adapter(card, None) as entered:
        completion = await entered.complete(ITEM, Generation(), timeout_s=20)
    assert completion.answer == TextAnswer(text=f"hi; touch {mark}\n")
    assert not mark.exists()


async def test_the_check_finds_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its path or on PATH, before anything is started."""
    program = tmp_path / "my-model"
    program.write_text("#!/bin/sh\necho 42\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    def made() -> Any:
        return Models([]).adapter(Models([]).resolve("command:./my-model --flag"), None)

    with pytest.raises(ModelCallError) as raised:
        await made().check()
    assert (raised.value.status, "./my-model" in raised.value.detail) == (404, True)
    with pytest.raises(ModelCallError) as called:
        await made().complete(ITEM, Generation(), timeout_s=5)
    assert called.value.status == 404
    program.chmod(stat.S_IRWXU)
    await made().check()
    assert (await made().complete(ITEM, Generation(), timeout_s=5)).answer == TextAnswer(text="42\n")
    program.write_bytes(b"\x7fELF no program")
    assert os.access(program, os.X_OK)
    with pytest.raises(ModelCallError) as broken:
        await made().complete(ITEM, Generation(), timeout_s=5)
    assert broken.value.status == 503


def test_what_is_no_command_line_is_told() -> None:
    """At once, and not at the first item."""
    with pytest.raises(UsageError):
        Models([]).adapter(Models([]).resolve("command:./model 'unclosed"), None)
