"""The command line as a user has it: in a process of its own, with a home of its own, on the real engine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from dep_mcp.testing import toy_folder

Finished = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Cli:
    """Runs `dep-mcp` with a home of its own."""

    home: Path
    env: dict[str, str]

    def command(self, *arguments: object) -> list[str]:
        return [str(Path(sys.executable).with_name("dep-mcp")), *map(str, arguments)]

    def __call__(self, *arguments: object, timeout_s: float = 300, **env: str) -> Finished:
        return subprocess.run(
            self.command(*arguments),
            env={name: value for name, value in (self.env | env).items() if value},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            cwd=self.home,
        )

    def start(self, *arguments: object) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            self.command(*arguments),
            env=self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.home,
        )

    def documents(self, *arguments: object, timeout_s: float = 300) -> list[dict[str, object]]:
        ended = self(*arguments, "--json", timeout_s=timeout_s)
        assert ended.returncode == 0, ended.stderr
        found = json.loads(ended.stdout)
        return found if isinstance(found, list) else [found]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """A fresh home; the toy benchmarks are found as a user's own folder."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("DEP_MCP_")}
    kept = {name: os.environ[name] for name in ("DEP_MCP_BASE_IMAGE",) if name in os.environ}
    plugins = str(toy_folder().parents[1])
    return Cli(tmp_path, env | kept | {"DEP_MCP_HOME": str(tmp_path / "home"), "DEP_MCP_PATH": plugins})


@pytest.fixture(scope="session")
def shared_cli(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Cli]:
    """One home for tests with the small model, so that its weights are fetched once."""
    home = tmp_path_factory.mktemp("shared")
    env = {name: value for name, value in os.environ.items() if not name.startswith("DEP_MCP_")}
    plugins = str(toy_folder().parents[1])
    made = Cli(home, env | {"DEP_MCP_HOME": str(home / "home"), "DEP_MCP_PATH": plugins})
    return lambda: made


@pytest.fixture
def published() -> Path:
    """The folder of published data and model outputs; skips (or, in CI, fails) where it is missing."""
    folder = Path(os.environ.get("DEP_MCP_ORACLES", Path(__file__).parents[3] / "shared"))
    if not (folder / "oracles").is_dir():
        reason = f"no published data at {folder}: set DEP_MCP_ORACLES"
        if os.environ.get("DEP_MCP_REQUIRE_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder.resolve()


@pytest.fixture
def toy_answers(tmp_path: Path) -> Path:
    """The right answers to the toy benchmark, as the faulty provider looks them up."""
    from dep_mcp.testing import prompt_sha

    path = tmp_path / "answers.json"
    answers = {prompt_sha([f"{number} + 1 ="]): f"target-{number + 1}" for number in range(300)}
    path.write_text(json.dumps(answers))
    return path
