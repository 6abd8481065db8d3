"""A model that is a program or a function of the user's: real processes, real files."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from dep_mcp.adapters.callable.adapter import Adapter as Callable
from dep_mcp.adapters.command.adapter import Adapter as Command
from dep_mcp.models import Completion
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, ModelCard, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UsageError

ITEM = Item(item_id="i", messages=(Message(role="user", content="the secret question"),))
CHOICE = Item(item_id="c", messages=ITEM.messages, options=("a", "b"))


async def command(folder: Path, code: str, item: Item = ITEM, timeout_s: float = 20) -> Completion:
    program = folder / "model.py"
    program.write_text(f"import json, os, sys, time\nasked = json.load(sys.stdin)\n{code}\n", encoding="utf-8")
    card = ModelCard(name="c", adapter="command", model=f"{sys.executable} {program}")
    async with Command(card, api_key=None) as adapter:
        await adapter.check()
        return await adapter.complete(item, Generation(max_tokens=5, system_prompt="s"), timeout_s=timeout_s, epoch=2)


async def function(folder: Path, code: str, item: Item = ITEM, timeout_s: float = 20) -> Completion:
    path = folder / "mine.py"
    path.write_text(code, encoding="utf-8")
    async with Callable(ModelCard(name="f", adapter="callable", model=f"{path}:model"), api_key=None) as adapter:
        await adapter.check()
        return await adapter.complete(item, Generation(max_tokens=5), timeout_s=timeout_s)


async def test_a_program_reads_the_request_and_prints_the_answer(tmp_path: Path) -> None:
    """Everything that a model needs to know is in it."""
    code = (
        "print(asked['messages'][-1]['content'], len(asked['messages']), asked['epoch'], asked['generation'], end='')"
    )
    completion = await command(tmp_path, code)
    said = "the secret question 2 2 {'temperature': 0.0, 'max_tokens': 5}"
    assert completion.answer == TextAnswer(text=said)


@pytest.mark.parametrize(
    ("printed", "answer"),
    [
        ('{"text": "4", "finish_reason": "length"}', TextAnswer(text="4", finish_reason="length")),
        ('{"answer": 4}', TextAnswer(text='{"answer": 4}\n')),
        ('{"text": "4", "more": 1}', TextAnswer(text='{"text": "4", "more": 1}\n')),
        ("4", TextAnswer(text="4\n")),
        ("", TextAnswer(text="\n")),
    ],
)
async def test_only_a_whole_reply_is_taken_for_one(tmp_path: Path, printed: str, answer: TextAnswer) -> None:
    """A model may well answer in JSON."""
    assert (await command(tmp_path, f"print({printed!r})")).answer == answer


async def test_usage_reasoning_and_choices_are_understood(tmp_path: Path) -> None:
    """As of any other adapter."""
    code = "print(json.dumps({'text': '4', 'reasoning': 'r', 'usage': {'prompt_tokens': 3, 'completion_tokens': 1}}))"
    completion = await command(tmp_path, code)
    assert (completion.reasoning, completion.usage) == ("r", Usage(prompt_tokens=3, completion_tokens=1))
    code = "print(json.dumps({'log_likelihoods': [-1.5, -2], 'token_counts': [1 for _ in asked['options']]}))"
    completion = await command(tmp_path, code, CHOICE)
    assert completion.answer == ChoiceAnswer(log_likelihoods=(-1.5, -2), token_counts=(1, 1))


@pytest.mark.parametrize(
    ("code", "item", "status", "said"),
    [
        ("sys.exit('no memory')", ITEM, 500, "no memory"),
        ("print('later', file=sys.stderr); sys.exit(75)", ITEM, 429, "later"),
        ("print('just text')", CHOICE, 502, "log_likelihoods"),
        ("print(json.dumps({'text': 5}))", ITEM, 502, "text"),
        ("print('x' * (2 << 20))", ITEM, 502, "text"),
        ("sys.exit('asked: ' + asked['messages'][1]['content'])", ITEM, 500, "[prompt]"),
    ],
)
async def test_a_program_that_fails_has_a_status(tmp_path: Path, code: str, item: Item, status: int, said: str) -> None:
    """One of the contract, with its last words and without the prompt."""
    with pytest.raises(ModelCallError) as error:
        await command(tmp_path, code, item)
    assert error.value.status == status
    assert said in error.value.detail
    assert "secret question" not in error.value.detail


async def test_a_program_is_killed_at_its_deadline_with_what_it_started(tmp_path: Path) -> None:
    """Nothing of it goes on."""
    pid = tmp_path / "pid"
    code = "import subprocess\nchild = subprocess.Popen(['sleep', '600'])\n"
    code += f"open({str(pid)!r}, 'w').write(str(child.pid))\nchild.wait()"
    with pytest.raises(ModelCallError) as error:
        await command(tmp_path, code, timeout_s=2)
    assert error.value.status == 408
    child = int(pid.read_text(encoding="ascii"))
    async with asyncio.timeout(10):
        while _runs(child):
            await asyncio.sleep(0.01)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def test_a_program_that_isnt_there_is_said_before_anything_begins() -> None:
    """Not at the first item."""
    async with Command(ModelCard(name="c", adapter="command", model="./no-such-program"), api_key=None) as adapter:
        with pytest.raises(UsageError, match="no-such-program"):
            await adapter.check()


@pytest.mark.parametrize(
    "code",
    [
        'def model(messages, generation):\n    return f\'{messages[0]["role"]} {generation["max_tokens"]}\'',
        "async def model(m, g):\n    return {'text': f'{m[0][\"role\"]} {g[\"max_tokens\"]}'}",
    ],
)
async def test_a_function_answers(tmp_path: Path, code: str) -> None:
    """Whether it is a coroutine or not, text or a dictionary."""
    assert (await function(tmp_path, code)).answer == TextAnswer(text="user 5")


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("def model(m, g):\n    raise RuntimeError('asked ' + m[0]['content'])", 500, "RuntimeError"),
        ("def model(m, g):\n    return 5", 502, "int"),
        ("async def model(m, g):\n    import asyncio\n    await asyncio.sleep(60)", 408, "didn't answer"),
        (
            "from dep_mcp.protocol import errors\ndef model(m, g):\n    raise errors.ModelCallError('slow down', 429)",
            429,
            "slow down",
        ),
    ],
)
async def test_a_function_that_fails_has_a_status(tmp_path: Path, code: str, status: int, said: str) -> None:
    """A bug in it never ends the evaluation, and never counts as a wrong answer."""
    with pytest.raises(ModelCallError) as error:
        await function(tmp_path, code, timeout_s=2)
    assert (error.value.status, said in error.value.detail) == (status, True)
    assert "secret question" not in error.value.detail


@pytest.mark.parametrize("code", ["import no_such_module", "model = 5", ""])
async def test_a_function_that_isnt_there_is_said_before_anything_begins(tmp_path: Path, code: str) -> None:
    """With the reason."""
    with pytest.raises(UsageError, match=r"mine\.py:model"):
        await function(tmp_path, code)
