"""What `doctor` and `setup` say, on a machine with an engine and on one without."""

from typing import Any

import pytest


@pytest.mark.docker
def test_doctor_inspects_a_real_container(cli: Any) -> None:
    """What it says of isolation is read from the engine, not from our own list."""
    ended = cli("doctor", OPENAI_API_KEY="sk-never-print-me")
    assert ended.returncode == 0, ended.stdout
    assert "ok      isolation: a container was started and inspected" in ended.stdout
    assert "model gpt-4o-mini: key set" in ended.stdout
    assert "sk-never-print-me" not in ended.stdout


def test_doctor_without_an_engine_says_what_to_do(cli: Any) -> None:
    """And exits 2, so that a script can ask."""
    ended = cli("doctor", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert ended.returncode == 2
    assert "MISSING engine" in ended.stdout
    assert "dep-mcp setup" in ended.stdout


def test_setup_with_a_wrong_docker_host_exits_2(cli: Any) -> None:
    """It installs nothing when the user has named an engine of their own."""
    ended = cli("setup", DOCKER_HOST="unix:///nonexistent/docker.sock")
    assert ended.returncode == 2
    assert "DOCKER_HOST" in ended.stderr
