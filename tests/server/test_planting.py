"""Canaries in targets: where they are put, and that they make an item's own leak visible."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.protocol import CANARY_SEED, ChoiceAnswer, DatasetCard, Planting, TextAnswer, canary, canary_ends
from dep_mcp.scoring import Choice, ExactMatch
from dep_mcp.server import Benchmark, Draw, SealedItem
from dep_mcp.server.planting import planted

SEED = "5eed" * 16
HEAD, TAIL = canary_ends(SEED)
Row = dict[str, Any]
ROWS: list[Row] = [
    {
        "question": f"Question {number}?",
        "answer": f"because #### {number}",
        "options": ["no", "yes"],
        "right": number % 2,
    }
    for number in range(4)
]
CARD = {"name": "q", "version": "1", "title": "t", "description": "d", "license": "x", "source": "s"}


@pytest.fixture
def items(tmp_path: Path) -> Callable[..., list[SealedItem]]:
    """The planted items that a function makes of rows."""

    def make(read: Callable[[Row], SealedItem], *, generated: bool = False) -> list[SealedItem]:
        class Quiz(Benchmark):
            scorer = ExactMatch()

            def items(self, draw: Draw) -> Iterator[SealedItem]:  # noqa: ARG002 (they are fixed)
                yield from map(read, self.rows("test.jsonl"))

        Quiz.generated = generated
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        (tmp_path / CANARY_SEED).write_text(SEED)
        return list(planted(Quiz, tmp_path)(DatasetCard.model_validate(CARD), tmp_path).items(Draw()))

    return make


@pytest.fixture
def make_planted(tmp_path: Path) -> Callable[..., Planting]:
    """What is said of the planting in items that a function makes of rows."""

    def make(read: Callable[[Row], SealedItem], copies: int = 1) -> Planting:
        class Quiz(Benchmark):
            scorer = ExactMatch()

            def items(self, draw: Draw) -> Iterator[SealedItem]:  # noqa: ARG002 (they are fixed)
                for _ in range(copies):
                    yield from map(read, self.rows("test.jsonl"))

        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        (tmp_path / CANARY_SEED).write_text(SEED)
        benchmark: Any = planted(Quiz, tmp_path)(DatasetCard.model_validate(CARD), tmp_path)
        list(benchmark.items(Draw()))
        said: Planting = benchmark.planting
        return said

    return make


def shown(item: SealedItem) -> str:
    return item.item.model_dump_json()


def test_without_the_file_a_benchmark_is_itself(tmp_path: Path) -> None:
    """No image that serves has it, so none pays for it or can be confused by it."""
    assert planted(Benchmark, tmp_path) is Benchmark


def test_the_field_that_a_target_is_made_from_is_planted(items: Callable[..., list[SealedItem]]) -> None:
    """The author's own code cuts the target out of it, as it does of the real one; the question stays as it is."""
    made = items(lambda row: SealedItem(row["question"], row["question"], row["answer"].split("#### ")[1]))
    assert [item.target for item in made] == [f"{number}{canary(SEED, number)}" for number in range(4)]
    assert not any(HEAD in shown(item) for item in made)
    assert made[1].item.messages[0].content == "Question 1?"


def test_a_prompt_that_shows_its_target_shows_the_canary(items: Callable[..., list[SealedItem]]) -> None:
    """The commonest leak of all, which canaries put in after `items()` couldn't find."""
    made = items(lambda row: SealedItem(row["question"], f"{row['question']} ({row['answer']})", row["answer"]))
    assert all(HEAD in shown(item) and TAIL in shown(item) for item in made)


def test_an_option_that_is_shown_among_others_is_no_leak(items: Callable[..., list[SealedItem]]) -> None:
    """The right option's text is the target, and stands in the prompt as the wrong ones do."""
    made = items(
        lambda row: SealedItem(row["question"], f"{row['question']} {row['options']}", row["options"][row["right"]])
    )
    assert all(HEAD in str(item.target) for item in made)
    assert not any(HEAD in shown(item) for item in made)


def test_code_that_does_not_bear_such_rows_gets_them_as_they_are(items: Callable[..., list[SealedItem]]) -> None:
    """Then the canary is added to what it made."""

    def strict(row: Row) -> SealedItem:
        assert len(row["question"]) < 20
        return SealedItem(row["question"], row["question"], row["answer"])

    made = items(strict)
    assert made[2].target == ROWS[2]["answer"] + canary(SEED, 2)
    assert made[2].item.item_id == "Question 2?"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (7, int(f"7{canary(SEED, 0)}")),
        (2.5, int(f"2{canary(SEED, 0)}")),
        (["a", {"b": "c", "d": None}], [f"a{canary(SEED, 0)}", {"b": f"c{canary(SEED, 0)}", "d": None}]),
        ([], [canary(SEED, 0)]),
        ({}, {canary(SEED, 0): canary(SEED, 0)}),
        (True, True),
        (None, None),
    ],
)
def test_targets_of_any_form_hold_one(items: Callable[..., list[SealedItem]], target: Any, expected: Any) -> None:
    """But for truth values, which have no room."""
    (first, *_) = items(lambda row: SealedItem(row["question"], "?", target))
    assert first.target == expected


def test_an_index_of_an_option_still_scores(items: Callable[..., list[SealedItem]]) -> None:
    """The canary stands beside it, as an index that no option has."""
    made = items(lambda row: SealedItem(row["question"], "?", [0, 1][row["right"]], options=row["options"]))
    assert made[1].target == [1, int(canary(SEED, 1))]
    answer = ChoiceAnswer(log_likelihoods=(-2.0, -1.0), token_counts=(1, 1))
    assert [Choice().score(answer, item.target) for item in made] == [0.0, 1.0, 0.0, 1.0]
    assert Choice().score(TextAnswer(text="1"), made[1].target) == 0.0


def test_generated_items_are_planted_as_they_come(items: Callable[..., list[SealedItem]]) -> None:
    """Their targets come from no file."""
    made = items(lambda row: SealedItem(row["question"], "?", row["answer"]), generated=True)
    assert all(str(item.target).endswith(TAIL) for item in made)


def test_a_number_in_the_raw_data_is_planted_too(items: Callable[..., list[SealedItem]]) -> None:
    """A prompt that shows it would else be green."""
    made = items(lambda row: SealedItem(row["question"], f"How many? {row['right']}", row["right"]))
    assert all(HEAD in shown(item) and str(item.target).endswith(TAIL) for item in made)


def test_what_became_of_the_planting_is_said(make_planted: Callable[..., Any]) -> None:
    """What no canary can show, a person has to look at."""
    whole = make_planted(lambda row: SealedItem(row["question"], "?", row["answer"].split("#### ")[1]))
    assert (whole.fields, whole.shared, whole.shown, whole.same) == (("test.jsonl: answer",), (), 0, False)
    part = make_planted(lambda row: SealedItem(row["question"], row["answer"][:30], row["answer"].split("#### ")[1]))
    assert part.shared == ("test.jsonl: answer",)
    told = make_planted(lambda row: SealedItem(row["question"], f"It is {row['options'][1]}!!!!", "yes!"))
    assert (told.fields, told.shown, told.example) == ((), 4, "Question 0?")
    first = make_planted(lambda row: SealedItem(row["question"], "?", 0, options=row["options"]), copies=2)
    assert first.same
