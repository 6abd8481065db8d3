"""Bad input: a clear message, exit code 2, nothing begun. Before the first model call wherever that can be known."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.testing import toy_folder

OFFLINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "-b", "gsm9k", "-m", "smollm2-135m"], "gsm8k"),
        (["run", "-b", "toy", "-m", "smollm2"], "smollm2-135m"),
        (["run", "-b", "./nowhere", "-m", "smollm2-135m"], "dataset_card.yaml"),
        (["run", "-b", "gsm8k", "-m", "smollm2-135m"], "--data"),
        (["run", "-b", "toy", "-m", "openai-compatible/x"], "--api-base"),
        (["run", "-b", "toy_choice", "-m", "openai/gpt-4o-mini"], "log-likelihood"),
        (["run", "-b", "toy", "-m", "missing.gguf"], "missing.gguf"),
        (["run", "-b", "toy", "-m", "smollm2-135m", "--limit", "0"], "--limit"),
        (["run", "-b", "toy", "-m", "smollm2-135m", "--seed", "xyz"], "hexadecimal"),
        (["run", "-b", "toy", "-m", "smollm2-135m", "--limt", "3"], "--limit"),
        (["run", "-m", "smollm2-135m"], "--benchmark"),
        (["resume", "ev_nothing"], "ls evaluations"),
        (["show", "ev_nothing"], "ls evaluations"),
        (["model", "pull", "openai/gpt-4o-mini"], "no weights"),
        (["run", "-b", "toy", "-m", "smollm2-135m"], "dep-mcp setup"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_is_wrong_is_said_before_anything_begins(cli: Any, arguments: list[str], said: str) -> None:
    """With no engine in reach, so that nothing could begin."""
    ended = cli(*arguments, **OFFLINE)
    assert ended.returncode == 2, ended.stderr
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert cli("ls", "evaluations").stdout.strip() == "no evaluation yet"


def test_a_broken_card_names_file_and_field(cli: Any) -> None:
    """The author mends it without reading our code."""
    folder = cli.home / "broken"
    shutil.copytree(toy_folder(), folder)
    card = folder / "dataset_card.yaml"
    card.write_text(card.read_text().replace("license:", "licence:"))
    ended = cli("run", "-b", str(folder), "-m", "smollm2-135m", **OFFLINE)
    assert ended.returncode == 2
    for word in ("dataset_card.yaml", "license", "licence"):
        assert word in ended.stderr


def test_a_home_that_cant_be_written_is_named(cli: Any) -> None:
    """Instead of a traceback of SQLite's."""
    blocker = cli.home / "file"
    blocker.write_text("")
    ended = cli("ls", "evaluations", DEP_MCP_HOME=str(blocker / "home"))
    assert ended.returncode == 2
    assert "DEP_MCP_HOME" in ended.stderr


def own(cli: Any, name: str, code: str) -> Path:
    """A user's benchmark with other items."""
    folder = cli.home / name
    shutil.copytree(toy_folder(), folder)
    (folder / "benchmark.py").write_text((folder / "benchmark.py").read_text() + code)
    return folder


@pytest.mark.docker
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("\nToy.items = lambda self, draw: iter(())\n", "yields no items"),
        ("\nToy.items = lambda self, draw: [SealedItem('same', 'q', 'a')] * 2\n", "two items have the id"),
        ("\nimport nothing_of_that_name\n", "nothing_of_that_name"),
    ],
    ids=["no-items", "repeated-id", "broken-code"],
)
def test_a_broken_benchmark_fails_its_build_with_the_reason(cli: Any, code: str, said: str) -> None:
    """Long before a model is called or paid."""
    ended = cli("run", "-b", str(own(cli, "broken", code)), "-m", "smollm2-135m")
    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.docker
def test_a_container_that_dies_at_its_start_says_its_last_words(cli: Any) -> None:
    """The evaluation can be taken up again; the message shows what the container said."""
    code = "\nimport os, sys\nif sys.argv[1:2] == ['serve']: sys.stderr.write('no luck today\\n'); os._exit(7)\n"
    answers = cli.home / "answers.jsonl"
    answers.write_text("")
    ended = cli("run", "-b", str(own(cli, "dying", code)), "-m", f"replay:{answers}")
    assert ended.returncode == 3
    assert "no luck today" in ended.stderr
    assert "exit status 7" in ended.stderr


@pytest.mark.docker
def test_an_endpoint_that_is_down_is_named_before_anything_begins(cli: Any) -> None:
    """No evaluation is created for a model that can't be reached."""
    ended = cli("run", "-b", "toy", "-m", "openai-compatible/x", "--api-base", "http://127.0.0.1:9/v1")
    assert ended.returncode == 2
    assert "http://127.0.0.1:9/v1" in ended.stderr
    assert cli("ls", "evaluations").stdout.strip() == "no evaluation yet"


@pytest.mark.docker
def test_a_missing_key_is_named_before_anything_begins(cli: Any) -> None:
    """The name of the variable, never a value."""
    ended = cli("run", "-b", "toy", "-m", "openai/gpt-4o-mini", OPENAI_API_KEY="")
    assert ended.returncode == 2
    assert "OPENAI_API_KEY" in ended.stderr


@pytest.mark.docker
def test_a_misspelt_task_begins_no_evaluation(cli: Any) -> None:
    """Only the benchmark knows its tasks, so it is asked before an evaluation exists."""
    ended = cli("run", "-b", "reasoning_gym:chain_sm", "-m", "smollm2-135m")
    assert ended.returncode == 2
    assert "chain_sum" in ended.stderr
    assert cli("ls", "evaluations").stdout.strip() == "no evaluation yet"
