"""A function as a model: real files, threads and coroutines, and what is said of those that don't work."""

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.models import Completion, Models
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError

QUESTION = "What is six times seven, dear model?"
ITEM = Item(item_id="1", messages=(Message(role="user", content=QUESTION),))
CHOICE = ITEM.model_copy(update={"options": ("a", "bb")})

Ask = Callable[..., Any]


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders of user's files end in `sys.path`: put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Calls the function `answer` of some code."""

    async def call(code: str, item: Item = ITEM, *, timeout_s: float = 20, **generation: Any) -> Completion:
        path = tmp_path / "mine.py"
        path.write_text(code, encoding="utf-8")
        async with Models([]).adapter(Models([]).resolve(f"callable:{path}:answer"), None) as entered:
            await entered.check()
            return await entered.complete(item, Generation.model_validate(generation), timeout_s=timeout_s)

    return call


async def status(ask: Ask, code: str, item: Item = ITEM, **options: Any) -> tuple[int, str]:
    with pytest.raises(ModelCallError) as raised:
        await ask(code, item, **options)
    assert QUESTION not in raised.value.detail
    return raised.value.status, raised.value.detail


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_function_gets_messages_and_settings(ask: Ask, kind: str) -> None:
    """As plain dicts: nothing of ours has to be imported."""
    said = await ask(f"{kind} answer(messages, generation): return repr((messages, generation))", system_prompt="Hm.")
    messages = [{"role": "system", "content": "Hm."}, {"role": "user", "content": QUESTION}]
    assert said.answer == TextAnswer(text=repr((messages, {"temperature": 0.0})))


async def test_a_dict_says_more(ask: Ask) -> None:
    """As a command's object."""
    code = "def answer(m, g): return {'text': '42', 'usage': {'prompt_tokens': 7}, 'reasoning': '41?'}"
    said = await ask(code)
    assert (said.answer, said.usage, said.reasoning) == (TextAnswer(text="42"), Usage(prompt_tokens=7), "41?")


async def test_options_are_a_third_argument(ask: Ask) -> None:
    """Only where there are any; a function that doesn't take them can't answer such a benchmark."""
    code = "def answer(m, g, options): return {'log_likelihoods': [-len(o) for o in options], 'token_counts': [1, 2]}"
    assert (await ask(code, CHOICE)).answer == ChoiceAnswer(log_likelihoods=(-1.0, -2.0), token_counts=(1, 2))


@pytest.mark.parametrize(
    ("body", "item", "expected", "said"),
    [
        ("return 3", ITEM, 502, "neither text nor"),
        ("return None", ITEM, 502, "neither text nor"),
        ("return 'a'", CHOICE, 422, "2 options"),
        ("raise ValueError('odd: ' + m[-1]['content'])", ITEM, 500, "ValueError: odd: [prompt]"),
        ("raise StopIteration", ITEM, 500, "StopIteration"),
        ("raise SystemExit(3)", ITEM, 500, "SystemExit"),
        ("raise TimeoutError", ITEM, 408, ""),
        ("raise ModelCallError('slow down', 429, retry_after_s=3)", ITEM, 429, "slow down"),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_what_it_does_wrong_is_a_status(
    ask: Ask, kind: str, body: str, item: Item, expected: int, said: str
) -> None:
    """With the class of what it raised, and without the prompt."""
    code = f"from dep_mcp.protocol.errors import ModelCallError\n{kind} answer(m, g, options=()): {body}"
    if kind == "async def" and "StopIteration" in body:
        said = "RuntimeError"  # Python's own word for it
    found, detail = await status(ask, code, item)
    assert found == expected
    assert said in detail


async def test_a_function_of_other_arguments_is_told_as_such(ask: Ask) -> None:
    """422: no other call would fare better, and the first twenty end the evaluation."""
    assert (await status(ask, "def answer(prompt): return 'x'"))[0] == 422
    assert (await status(ask, "def answer(m, g): return 'x'", CHOICE))[0] == 422


async def test_one_that_takes_too_long_is_timed_out(ask: Ask) -> None:
    """A coroutine is cancelled; a thread goes on, and hinders neither others nor the end."""
    begin = time.monotonic()
    assert (await status(ask, "import time\ndef answer(m, g): time.sleep(30)", timeout_s=0.2))[0] == 408
    assert time.monotonic() - begin < 10


async def test_a_coroutine_that_takes_too_long_is_cancelled(ask: Ask) -> None:
    """And can clean up."""
    code = "import asyncio\nasync def answer(m, g): await asyncio.sleep(30)"
    assert (await status(ask, code, timeout_s=0.2))[0] == 408


async def test_threads_leave_the_loop_free(tmp_path: Path) -> None:
    """Ten calls of a tenth of a second take less than one."""
    path = tmp_path / "slow.py"
    path.write_text("import time\ndef answer(m, g): time.sleep(0.2); return 'x'", encoding="utf-8")
    async with Models([]).adapter(Models([]).resolve(f"callable:{path}:answer"), None) as entered:
        await entered.check()
        begin = time.monotonic()
        await asyncio.gather(*(entered.complete(ITEM, Generation(), timeout_s=20) for _ in range(10)))
        assert time.monotonic() - begin < 1.5


async def test_objects_that_can_be_called_are_functions(ask: Ask) -> None:
    """Also what returns a coroutine without being one."""
    code = """
class Model:
    async def __call__(self, messages, generation): return "1"
answer = Model()
"""
    assert (await ask(code)).answer == TextAnswer(text="1")


async def test_what_returns_a_coroutine_is_awaited(ask: Ask) -> None:
    """As a partial or a decorator makes."""
    code = "async def inner(m, g): return '2'\ndef answer(m, g): return inner(m, g)"
    assert (await ask(code)).answer == TextAnswer(text="2")


# -- check


async def checked(name: str) -> str:
    with pytest.raises(ModelCallError) as raised:
        await Models([]).adapter(Models([]).resolve(name), None).check()
    assert raised.value.status == 404
    return raised.value.detail


async def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    """With the line, before anything is started."""
    path = tmp_path / "mine.py"
    assert "no file" in await checked(f"callable:{path}:answer")
    path.write_text("def anser(m, g): return ''\nanswers = 3\n", encoding="utf-8")
    assert "anser" in await checked(f"callable:{path}:answer")
    assert "can't be called" in await checked(f"callable:{path}:answers")
    for number, (code, said) in enumerate({
        "x = 1\nimport no_such_module_here": "ModuleNotFoundError",
        "x = 1\nraise SystemExit('no weights')": "SystemExit: no weights",
        "def (": "SyntaxError",
        "x = 1\n1 / 0": "line 2",
    }.items()):  # fmt: skip
        broken = tmp_path / f"broken{number}.py"
        broken.write_text(code, encoding="utf-8")
        assert said in await checked(f"callable:{broken}:answer")
        assert not [name for name, module in sys.modules.items() if getattr(module, "__file__", "") == str(broken)]


async def test_a_module_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `python -m` finds it; and a file finds its neighbours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some_package_here").mkdir()
    (tmp_path / "some_package_here" / "model.py").write_text("def answer(m, g): return 'm'", encoding="utf-8")
    (tmp_path / "neighbour_of_it.py").write_text("SAID = 'n'", encoding="utf-8")
    (tmp_path / "it.py").write_text("import neighbour_of_it as n\ndef answer(m, g): return n.SAID", encoding="utf-8")
    for name, said in (("some_package_here.model", "m"), ("it.py", "n")):
        async with Models([]).adapter(Models([]).resolve(f"callable:{name}:answer"), None) as entered:
            await entered.check()
            assert (await entered.complete(ITEM, Generation(), timeout_s=5)).answer == TextAnswer(text=said)
    assert "ModuleNotFoundError" in await checked("callable:no_such_package_here:answer")


async def test_a_file_is_loaded_once(tmp_path: Path) -> None:
    """Two evaluations of a model needn't hold its weights twice."""
    path = tmp_path / "counted.py"
    path.write_text("import itertools\nn = itertools.count()\ndef answer(m, g): return str(next(n))", encoding="utf-8")
    said = []
    for _ in range(2):
        async with Models([]).adapter(Models([]).resolve(f"callable:{path}:answer"), None) as entered:
            said.append((await entered.complete(ITEM, Generation(), timeout_s=5)).answer)
    assert said == [TextAnswer(text="0"), TextAnswer(text="1")]
