"""What the options of `run` become, before anything is run."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dep_mcp.cli import running
from dep_mcp.cli.plan import Plan


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Plans that would be run."""
    plans: list[Any] = []
    monkeypatch.setattr(Plan, "read", lambda _file, flags: plans.append(flags))
    monkeypatch.setattr(running, "with_host", lambda _work: 0)
    return plans


def run(*options: str) -> int:
    return CliRunner().invoke(running.run, ["-b", "toy", "-m", "m", *options]).exit_code


def test_every_setting_of_generation_can_be_given(planned: list[Any]) -> None:
    """It changes the number, so it must not need a card."""
    options = "--temperature 0.5 --top-p 0.9 --max-tokens 5 --stop A --stop B --generation-seed 7"
    assert run(*options.split(), "--system-prompt", "Be brief.", "--reasoning-effort", "low") == 0
    assert planned[0]["generation"] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 5,
        "stop": ("A", "B"),
        "seed": 7,
        "system_prompt": "Be brief.",
        "reasoning_effort": "low",
    }


def test_what_isnt_given_is_left_to_the_cards(planned: list[Any]) -> None:
    """`merge` lets the last layer that was given win."""
    assert run() == 0
    assert planned[0]["generation"] is None


def test_names_are_separated_by_commas_but_commands_arent(planned: list[Any]) -> None:
    """A command may hold some."""
    assert run("-m", "a,b", "-m", "command:./c --of 1,2") == 0
    assert planned[0]["models"] == ["m", "a", "b", "command:./c --of 1,2"]


def test_a_system_prompt_is_read_from_a_file_as_it_is(planned: list[Any], tmp_path: Path) -> None:
    """Its line ends included."""
    path = tmp_path / "prompt.txt"
    path.write_bytes("Überlege.\r\n".encode())
    assert run("--system-prompt", f"@{path}") == 0
    assert planned[0]["generation"]["system_prompt"] == "Überlege.\r\n"


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_a_file_that_cannot_be_read_is_told(planned: list[Any], tmp_path: Path, content: bytes | None) -> None:
    """Before anything is started."""
    path = tmp_path / "prompt.txt"
    if content is not None:
        path.write_bytes(content)
    assert run("--system-prompt", f"@{path}") == 2
    assert planned == []
