"""`bench verify-seal`: green for what ships, red for servers that leak in all the ways that we could think of."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import docker
import pytest

from dep_mcp.containers import DockerRuntime
from dep_mcp.orchestrator import Catalogue, OwnerKeys, abuse, find_data, verifying
from dep_mcp.orchestrator.beside import beside_data
from dep_mcp.orchestrator.leaks import Leak
from dep_mcp.protocol.errors import CardError, DataError
from dep_mcp.testing import toy_folder

pytestmark = pytest.mark.docker

CANARY = "6f0c1d52-7a4e-4c0a-9d0f-0d3f4a5b6c7d"
HEAD = """
import base64, gzip, os, sys
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, SealedItem
"""
ITEMS = """
    def items(self, draw):
        for number, row in enumerate(self.rows("test.jsonl")):
            yield SealedItem(f"q-{number}", row["question"], row["answer"], subtask="ab"[number % 2])
"""
SOUND = f"{HEAD}\nclass Quiz(Benchmark):\n    scorer = ExactMatch()\n{ITEMS}"


def scorer(body: str) -> str:
    """A benchmark whose scorer does this before it judges."""
    return (
        f"{HEAD}\nclass Judge(ExactMatch):\n    def score(self, answer, target):\n        {body}\n"
        "        return super().score(answer, target)\n"
        f"\nclass Quiz(Benchmark):\n    scorer = Judge()\n{ITEMS}"
    )


def items(old: str, new: str) -> str:
    """A benchmark that makes its items another way."""
    assert old in SOUND
    return SOUND.replace(old, new)


def server(body: str) -> str:
    """A benchmark that changes the server around it."""
    return SOUND + body


LEAKY: dict[str, tuple[str, str]] = {
    "the prompt holds the answer": (
        items('row["question"], row', '"{question} {answer}".format(**row), row'),
        "results of tools",
    ),
    "the id is made of the answer": (items('f"q-{number}"', 'row["answer"]'), "results of tools"),
    "the sub-task is the answer": (items('"ab"[number % 2]', 'row["answer"]'), "results of tools"),
    "the answer is one of the messages": (
        items(
            'row["question"], row',
            '[{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}], row',
        ),
        "results of tools",
    ),
    "the scorer prints": (scorer("print(target, flush=True)"), "standard error"),
    "the scorer logs": (scorer('print("expected", target, file=sys.stderr)'), "standard error"),
    "the scorer logs base64": (scorer("print(base64.b64encode(target.encode()), file=sys.stderr)"), "standard error"),
    "the scorer logs it packed": (
        scorer("print(base64.b64encode(gzip.compress(target.encode())).decode(), file=sys.stderr)"),
        "standard error",
    ),
    "the scorer logs it backwards": (scorer("sys.stderr.write(target[::-1])"), "standard error"),
    "the scorer logs it in two halves": (
        scorer('sys.stderr.write(target[:len(target) // 2] + "\\n" + " " * 99 + target[len(target) // 2:])'),
        "standard error",
    ),
    "the scorer logs it as hexadecimal": (scorer("os.write(2, target.encode().hex().encode())"), "standard error"),
    "the scorer logs when it is wrong only": (
        scorer('answer.text == "Yes" and sys.stderr.write(f"{answer.text} != {target}")'),
        "standard error",
    ),
    "the server dies with the target as its last words": (
        scorer("os.write(2, target.encode()); os._exit(3)"),
        "standard error",
    ),
    "errors quote what was expected": (
        server(
            "\nfrom dep_mcp.server import session\nfrom dep_mcp.protocol.errors import UnknownItemError\n"
            "take = session.SealedSession._take\n"
            "def _take(self, submission):\n    try:\n        return take(self, submission)\n"
            "    except UnknownItemError:\n        raise UnknownItemError(f'none such; {self._bundle.row(0)}?')\n"
            "session.SealedSession._take = _take\n"
        ),
        "replies to a hostile client",
    ),
    "a debug tool shows the bundle": (
        server(
            "\nfrom dep_mcp.server import app\nfrom dep_mcp.protocol import Describe\n"
            "from dep_mcp.protocol.errors import DataError\n"
            "def reveal(session, _):\n    raise DataError(repr(session._bundle.row(0)))\n"
            "app._TOOLS = app._TOOLS | {'get_targets': app._Tool(Describe, reveal, 'debug', True)}\n"
        ),
        "replies to a hostile client",
    ),
    "the description names the targets": (
        server(
            "\nfrom dep_mcp.server import session\nlook = session.SealedSession.describe\n"
            "def describe(self):\n    found = look(self)\n"
            "    if getattr(self, '_bundle', None) is None:\n        return found\n"
            "    return found.model_copy(update={'title': self._bundle.row(1)[1]})\n"
            "session.SealedSession.describe = describe\n"
        ),
        "replies to a hostile client",
    ),
}


@pytest.fixture
def quiz(tmp_path: Path) -> Callable[..., Path]:
    """Makes the folder of a benchmark with data in it."""

    def make(code: str, **beside: bytes) -> Path:
        folder = tmp_path / "quiz"
        (folder / "data").mkdir(parents=True)
        rows = [{"question": f"Question number {number}?", "answer": f"answer {number}"} for number in range(30)]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / "data" / "test.jsonl").write_bytes(data)
        (folder / "benchmark.py").write_text(code)
        for name, content in beside.items():
            (folder / f"{name}.json").write_bytes(content)
        card = {
            "name": "quiz",
            "version": "1",
            "title": "t",
            "description": "d",
            "license": "x",
            "source": "s",
            "canary": CANARY,
            "data": [{"name": "test.jsonl", "sha256": hashlib.sha256(data).hexdigest()}],
        }
        (folder / "dataset_card.yaml").write_text(
            "".join(f"{name}: {json.dumps(value)}\n" for name, value in card.items())
        )
        return folder

    return make


async def found(path: Path, tmp_path: Path) -> list[Leak]:
    """What the container's own part of the command finds."""
    folder, _ = Catalogue([]).resolve(f"{path}/")
    data = find_data(folder, [])
    leaks = list(beside_data(folder, data))
    keys = OwnerKeys(tmp_path / "keys")
    async with DockerRuntime() as runtime, verifying.planted(runtime, folder, data, tmp_path, keys) as target:
        assert target.planting.items == target.planting.planted == 30
        async for where, content in abuse.use_and_abuse(runtime, target, keys):
            leaks += target.search.leaks(where, content, decode="layers" not in where)
    return leaks


LONG = {
    "the answer is one of the messages",
    "the scorer logs base64",
    "the scorer logs it backwards",
    "the scorer logs it as hexadecimal",
    "the scorer logs when it is wrong only",
    "errors quote what was expected",
}
"""Variants of others, left to `make soak`: each builds two images."""


@pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.soak] * (way in LONG)) for way in LEAKY])
async def test_a_server_that_leaks_is_red(quiz: Callable[..., Path], tmp_path: Path, way: str) -> None:
    """Each at the place where it leaks."""
    code, where = LEAKY[way]
    leaks = await found(quiz(code), tmp_path)
    assert [leak for leak in leaks if leak.where.startswith(where)]


async def test_the_same_server_that_keeps_quiet_is_green(quiz: Callable[..., Path], tmp_path: Path) -> None:
    """The leaks above are the servers', not the harness's; and no image of it stays."""
    path = quiz(SOUND)
    name = f"tidy-{os.getpid()}"
    (path / "dataset_card.yaml").write_text((path / "dataset_card.yaml").read_text().replace('"quiz"', f'"{name}"'))
    assert not await found(path, tmp_path)
    with docker.APIClient() as client:
        assert not client.images(f"dep-mcp/benchmark-{name}")


@pytest.mark.parametrize(
    "beside",
    [
        json.dumps({"question": "Question number 3?", "answer": "answer 3"}).encode(),
        f'{{"canary": "{CANARY}"}}'.encode(),
    ],
    ids=["a line of the data", "the card's canary"],
)
def test_a_copy_of_the_data_beside_the_code_is_red(quiz: Callable[..., Path], beside: bytes) -> None:
    """It would go into every image as it is, sealed or not."""
    folder, _ = Catalogue([]).resolve(f"{quiz(SOUND, gold=beside)}/")
    (leak, *_) = beside_data(folder, find_data(folder, []))
    assert leak.where == "benchmark folder: gold.json"


async def test_what_cannot_be_verified_says_so(quiz: Callable[..., Path], tmp_path: Path) -> None:
    """A green result without a canary in any target would be worth nothing."""
    path = quiz(items('row["answer"], subtask', "True, subtask"))
    folder, _ = Catalogue([]).resolve(f"{path}/")
    keys = OwnerKeys(tmp_path / "keys")
    async with DockerRuntime() as runtime:
        with pytest.raises(DataError, match="plant"):
            async with verifying.planted(runtime, folder, find_data(folder, []), tmp_path, keys):
                pass


def verify(name: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEP_MCP_HOME": str(home), "DEP_MCP_PATH": str(toy_folder().parents[1])}
    command = [sys.executable, "-m", "dep_mcp.cli", "bench", "verify-seal", name, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize("name", ["toy", "toy_choice", "reasoning_gym"])
def test_what_ships_is_green(tmp_path: Path, name: str) -> None:
    """With whole and failing evaluations through our own commands: their outputs, logs, store and receipts."""
    done = verify(name, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{name} leaks nothing" in done.stdout
    for searched in (
        "layers of the image",
        "output of an evaluation",
        "output of receipt",
        "home folder: store.sqlite",
    ):
        assert searched in done.stdout
    assert not (tmp_path / "store.sqlite").exists() or b"ev_" not in (tmp_path / "store.sqlite").read_bytes()


@pytest.mark.data
def test_gsm8k_is_green(tmp_path: Path, published: Path) -> None:
    """The bundled benchmark with real data."""
    done = verify("gsm8k", tmp_path, "--data", str(published / "data" / "gsm8k" / "test.jsonl"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "isn't sealed" in done.stderr


def test_a_leak_has_an_exit_code_and_a_place(quiz: Callable[..., Path], tmp_path: Path) -> None:
    """For continuous integration; and a sealed folder can't be verified, since its data isn't there."""
    done = verify(f"{quiz(LEAKY['the scorer logs'][0])}/", tmp_path)
    assert done.returncode == 1
    assert "LEAK in standard error of the container, plain" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("quiz leaks")


def test_a_sealed_folder_is_refused(quiz: Callable[..., Path]) -> None:
    """Its data isn't there to be planted."""
    path = quiz(SOUND)
    recipient = "age1" + "q" * 58
    with (path / "dataset_card.yaml").open("a") as card:
        card.write(f'sealed: {{"recipient": "{recipient}", "sha256": "{"0" * 64}", "items": 1}}\n')
    folder, _ = Catalogue([]).resolve(f"{path}/")

    async def attempt() -> None:
        async with DockerRuntime() as runtime, verifying.planted(runtime, folder, {}, path, OwnerKeys(path)):
            pass

    import asyncio

    with pytest.raises(CardError, match="plain data"):
        asyncio.run(attempt())
