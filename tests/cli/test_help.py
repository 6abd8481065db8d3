"""The command line before it does anything."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("docker", "litellm", "mcp", "pydantic", "aiohttp", "rich", "structlog")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], ["model", "serve", "--help"]])
def test_help_loads_no_vendor(arguments: list[str]) -> None:
    """A user who asks how to use it waits a tenth of a second, not five."""
    code = (
        "import sys\nfrom dep_mcp.cli.main import cli\n"
        f"try: cli({arguments!r}, prog_name='dep-mcp')\nexcept SystemExit as ended: assert not ended.code\n"
        f"loaded = [name for name in {HEAVY!r} if name in sys.modules]\nassert not loaded, loaded"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def test_a_wrong_command_names_the_nearest() -> None:
    """Most wrong commands are misspelt right ones."""
    command = [sys.executable, "-m", "dep_mcp.cli", "leaderbord"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "leaderboard" in ended.stderr


def test_gsm8k_is_at_most_twenty_lines() -> None:
    """Adapting a benchmark is meant to cost minutes."""
    path = Path(__file__).parents[2] / "benchmark_servers" / "gsm8k" / "benchmark.py"
    assert len([line for line in path.read_text().splitlines() if line.strip()]) <= 20
