"""The demo: a real small model, on sealed benchmarks, through the shipped image."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.docker, pytest.mark.model]

MODEL = "smollm2-135m"


def test_the_demo_gives_a_score_that_is_neither_floor_nor_ceiling(shared_cli: Callable[[], Any]) -> None:
    """And prints what a reader needs: id, score with n and interval, failures, image, record."""
    cli = shared_cli()
    ended = cli("run", "-b", "reasoning_gym", "-m", MODEL, "--limit", 48, "--seed", "5eed" * 8, timeout_s=600)
    assert ended.returncode == 0, ended.stderr
    for wanted in ("ev_", "95 % interval", "n = 48", "failures    none of 48", "sha256:", "store.sqlite"):
        assert wanted in ended.stdout
    (document,) = cli.documents("show", next(word for word in ended.stdout.split() if word.startswith("ev_")))
    assert 0.1 < document["report"]["overall"]["value"] < 0.6
    assert len(document["report"]["subtasks"]) == 8


def test_two_benchmarks_print_a_leaderboard(shared_cli: Callable[[], Any]) -> None:
    """One of them by log-likelihood, where the model is clearly above chance."""
    cli = shared_cli()
    ended = cli("run", "-b", "toy_choice,reasoning_gym:chain_sum", "-m", MODEL, "--limit", 6, timeout_s=600)
    assert ended.returncode == 0, ended.stderr
    assert "Leaderboard" in ended.stdout
    board = cli("leaderboard").stdout
    assert "toy_choice 1 (limit 6)" in board
    assert "reasoning_gym:chain_sum" in board
    (choice,) = [row for row in cli.documents("leaderboard") if row["report"]["benchmark"] == "toy_choice"]
    assert choice["report"]["overall"]["value"] > 0.5


def test_the_same_seed_gives_the_same_items_and_answers(shared_cli: Callable[[], Any]) -> None:
    """Temperature 0, one slot, no prompt cache: a local evaluation can be repeated."""
    cli = shared_cli()
    arguments = ("run", "-b", "reasoning_gym", "-m", MODEL, "--limit", 8, "--seed", "ab" * 16)
    first, second = (cli.documents(*arguments, timeout_s=600)[0] for _ in range(2))
    assert first["report"]["items_digest"] == second["report"]["items_digest"]
    assert first["report"]["overall"] == second["report"]["overall"]
    assert first["totals"] == second["totals"]
