"""What users install, and what the README tells them to type."""

import re
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, as package indexes do."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return next(folder.glob("*.whl"))


def test_the_wheel_installs_nothing_top_level_but_dep_mcp(wheel: Path) -> None:
    """`adapters` or `images` at the top level would break other people's environments."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"dep_mcp"}
    for wanted in (
        "dep_mcp/benchmark_servers/gsm8k/dataset_card.yaml",
        "dep_mcp/benchmark_servers/reasoning_gym/requirements.txt",
        "dep_mcp/adapters/cards/smollm2-135m.yaml",
        "dep_mcp/images/benchmark/Dockerfile",
        "dep_mcp/images/engine-up",
        "dep_mcp/containers/seccomp.json",
    ):
        assert wanted in names


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel alone in an environment of its own, whose libraries are this one's."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True)
    libraries = sysconfig.get_path("purelib")
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "libraries.pth").write_text(libraries + "\n")  # its own .pth files aren't read: no way to the checkout
    return folder


@pytest.mark.docker
def test_the_wheel_evaluates_from_another_folder(installed: Path, cli: Any) -> None:
    """The bundled benchmark and image are found in the installed package; the answers come from a file."""
    answers = cli.home / "answers.jsonl"
    answers.write_text(
        "".join(f'{{"item_id": "toy-{number}", "answer": "target-{number + 1}"}}\n' for number in range(300))
    )
    dep_mcp = str(installed / "bin" / "dep-mcp")
    where = [str(installed / "bin" / "python"), "-c", "import dep_mcp; print(dep_mcp.__file__)"]
    assert str(installed) in subprocess.run(where, capture_output=True, text=True, check=True, cwd=cli.home).stdout
    for arguments in (["ls", "benchmarks"], ["run", "-b", "toy", "-m", f"replay:{answers}"], ["leaderboard"]):
        ended = subprocess.run(
            [dep_mcp, *arguments], env=cli.env, cwd=cli.home, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
    assert "1.000" in ended.stdout


PAGES = ("README.md", "docs/receipts.md", "docs/benchmarks.md")


def commands(name: str) -> list[list[str]]:
    """The `dep-mcp` commands of a page, without prompts and comments."""
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = re.findall(r"^ {4}(dep-mcp .*)$", text, flags=re.MULTILINE)
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.mark.parametrize("command", [command for page in PAGES for command in commands(page)], ids=" ".join)
def test_commands_of_the_pages_exist(command: list[str], cli: Any) -> None:
    """Each subcommand and option that README and receipts page show is one that the program knows."""
    words = [word for word in command if not word.startswith("-")]
    options = {word for word in command if word.startswith("-")}
    path = words[:2] if words[0] in ("ls", "model", "data", "receipt", "key", "bench") else words[:1]
    shown = cli(*path, "--help")
    assert shown.returncode == 0, shown.stderr
    for option in options:
        assert option in shown.stdout


@pytest.mark.docker
@pytest.mark.model
@pytest.mark.parametrize(
    "command", [c for c in commands("README.md") if c[0] == "run" and "smollm2-135m" in c], ids=" ".join
)
def test_commands_of_the_readme_that_need_no_key_run(command: list[str], shared_cli: Any) -> None:
    """As they stand there, but with fewer items."""
    cli = shared_cli()
    command = (
        [*command[: command.index("--limit")], "--limit", "2"] if "--limit" in command else [*command, "--limit", "2"]
    )
    ended = cli(*command, timeout_s=600)
    assert ended.returncode == 0, ended.stderr


def test_make_help_lists_the_targets_of_the_readme() -> None:
    """`make demo`, `make test` and `make check` are the way in."""
    shown = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True, check=True).stdout
    for target in ("demo", "test", "check", "bench", "soak"):
        assert re.search(rf"^{target}\b", shown, flags=re.MULTILINE)
