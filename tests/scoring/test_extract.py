"""Post-processing of model text: what it finds, that it never crashes, and that no text makes it slow."""

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.benchmark_servers.gsm8k.benchmark import GSM8K
from dep_mcp.protocol import TextAnswer
from dep_mcp.scoring import answer_tag, first_group, plain_number, short_answer, whole

MEGABYTE = 1024 * 1024
numbers = first_group(r"(?:####|\bA:) ?(-?[0-9.,]+)")
"""The extractor of GSM8K, as its benchmark has it (tested below)."""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("<answer>4</answer>", "4"),
        ("so <answer> 4 </answer> it is", "4"),
        ("<ANSWER>4</Answer>", "4"),
        ("<answer>3</answer> no, <answer>4</answer>", "4"),
        ("<answer>a\nb</answer>", "a\nb"),
        ("<answer></answer>", ""),
        ("<answer>1 <answer>2</answer>", "1 <answer>2"),
        ("<answer>4</answer></answer>", "4"),
        ("</answer><answer>4</answer>", "4"),
        ("<answer>4</answer> <answer>never closed", "4"),
    ],
)
def test_what_stands_in_the_last_answer_tag_is_the_answer(text: str, found: str) -> None:
    """A model corrects itself; what it wrote last counts."""
    assert answer_tag(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("4", "4"),
        ("  4\n", "4"),
        ("4.", "4"),
        ("4.0", "4.0"),
        ("**4**", "4"),
        ("**4**.", "4"),
        ("`4`", "4"),
        ("$4$", "4"),
        ("The answer is 4.", "4"),
        ("the final answer is: 4", "4"),
        ("Answer: 4", "4"),
        ("ANSWER 4", "4"),
        ("The correct answer is **x y**.", "x y"),
        ("answered", "answered"),
        ("", ""),
        (".", ""),
        ("I think that the answer is 4", "I think that the answer is 4"),
        ("<answer>4", "<answer>4"),
    ],
)
def test_without_a_tag_the_chatter_around_the_answer_goes(text: str, found: str) -> None:
    """Small models seldom use tags; only what can't be part of an answer is taken off."""
    assert answer_tag(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She has 3 + 4 = 7 eggs.\n#### 7", "7"),
        ("####7", "7"),
        ("#### -1,234.50", "-1,234.50"),
        ("Q: what?\nA: 42", "42"),
        ("A:42", "42"),
        ("#### 1\n#### 2", "1"),
        ("##### 5", "5"),
        ("the answer is 7", None),
        ("#### seven", None),
        ("BA: 7", None),
        ("####\n7", None),
        ("", None),
    ],
)
def test_the_number_of_gsm8k_stands_behind_its_mark(text: str, found: str | None) -> None:
    """Both forms of the authors' published outputs: `#### 7` and `A: 7`."""
    assert numbers(text) == found


@pytest.mark.parametrize(
    ("text", "target", "score"),
    [
        ("#### 1,234", " 1234", 1.0),
        ("A: 1234", " 1,234", 1.0),
        ("#### 1235", " 1234", 0.0),
        ("1234", " 1234", 0.0),
        ("####", " 1234", 0.0),
    ],
)
def test_gsm8k_compares_numbers_without_their_commas(text: str, target: str, score: float) -> None:
    """The benchmark's own scorer, on targets as they stand in its file (after `####`)."""
    assert GSM8K.scorer.score(TextAnswer(text=text), target) == score


def test_a_group_that_took_no_part_in_the_match_is_no_answer() -> None:
    """An author's pattern may have an optional group."""
    assert first_group(r"answer:(\d)?")("answer:") is None


@pytest.mark.parametrize(("text", "found"), [("1,234,567", "1234567"), (" 7 ", "7"), ("", ""), ("-1.5", "-1.5")])
def test_commas_of_thousands_go(text: str, found: str) -> None:
    """`1,000` and `1000` are one number."""
    assert plain_number(text) == found


@given(st.text())
def test_no_text_crashes_an_extractor(text: str) -> None:
    """Models write anything."""
    assert isinstance(answer_tag(text), str)
    assert whole(text) == text.strip()
    assert isinstance(plain_number(text), str)
    found = numbers(text)
    assert found is None or found in text


@given(st.lists(st.sampled_from(["<answer>", "</answer>", "4", " ", "\n", ".", "<ANSWER>", "**", "answer", ":"])))
def test_no_mix_of_tags_crashes_the_tag_extractor(pieces: list[str]) -> None:
    """Nested, crossed and torn tags; what is found is a part of the text."""
    text = "".join(pieces)
    assert answer_tag(text) in text


ADVERSARIAL = {
    "openings": "<answer>" * (MEGABYTE // 8),
    "closings": "</answer>" * (MEGABYTE // 9),
    "openings of half a tag": "<answer" * (MEGABYTE // 7),
    "less-than": "<" * MEGABYTE,
    "hashes": "#" * MEGABYTE,
    "hashes and blanks": "#### " * (MEGABYTE // 5),
    "digits": "#### " + "1," * (MEGABYTE // 2),
    "minus": "#### " + "-" * MEGABYTE,
    "blanks": " " * MEGABYTE,
    "blanks inside": "answer" + " " * MEGABYTE + "x",
    "blanks and colons": "answer" + " :" * (MEGABYTE // 2),
    "line ends": "the answer is" + "\n" * MEGABYTE + ":",
    "stars": "*" * MEGABYTE + "x" + "*" * MEGABYTE,
    "stops": "." * MEGABYTE,
    "leads": "the answer is " * (MEGABYTE // 14),
}


@pytest.mark.parametrize(
    "extract",
    [answer_tag, short_answer, numbers, plain_number, whole],
    ids=["tag", "short", "numbers", "plain", "whole"],
)
@pytest.mark.parametrize("text", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_a_megabyte_of_anything_is_read_at_once(extract: Callable[[str], object], text: str) -> None:
    """Scoring is on the way of every submission: a quadratic pattern would let one answer stall an evaluation."""
    start = time.perf_counter()
    extract(text)
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("6 + 2 = 8", "8"),
        ("The GCD of 4 and 12 is 12.", "12"),
        ("The answer is: **7**.", "7"),
        ("Paris", "Paris"),
        ("", ""),
        ("It is a sentence whose tail has far too many words.", "It is a sentence whose tail has far too many words"),
        ("one = 1\ntwo\nthree\nfour", "1"),
        ("is", "is"),
        ("<answer>x = 3</answer>", "3"),
    ],
)
def test_the_short_answer_is_the_tail_of_a_sentence_or_an_equation(text: str, found: str) -> None:
    """Small models answer in whole sentences whatever they are told."""
    assert short_answer(text) == found
