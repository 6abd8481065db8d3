"""Scorers: right is 1, wrong is 0, ties share, and an answer of another kind is wrong, not a crash."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
from dep_mcp.scoring import Choice, ExactMatch, Scorer, Target, Verifier, answer_tag, first_group, plain_number

CHOICE = ChoiceAnswer(log_likelihoods=(-1.0, -2.0), token_counts=(1, 1))
TEXT = TextAnswer(text="4")


def choice(*values: float, tokens: tuple[int, ...] | None = None) -> ChoiceAnswer:
    return ChoiceAnswer(log_likelihoods=values, token_counts=tokens or (1,) * len(values))


@pytest.mark.parametrize(
    ("text", "target", "score"),
    [("4", "4", 1.0), (" 4\n", "4", 1.0), ("4", 4, 1.0), ("5", "4", 0.0), ("", "4", 0.0), ("", "", 1.0)],
)
def test_exact_match_compares_the_whole_text_without_blanks_around_it(text: str, target: Target, score: float) -> None:
    """The plainest scorer, as a benchmark gets it by default."""
    assert ExactMatch().score(TextAnswer(text=text), target) == score


def test_exact_match_normalises_answer_and_target_alike() -> None:
    """Else the form of the data file would decide."""
    scorer = ExactMatch(normalize=plain_number)
    assert scorer.score(TextAnswer(text="1000"), "1,000") == 1.0
    assert scorer.score(TextAnswer(text="1,000"), "1000") == 1.0


def test_an_answer_that_is_not_in_the_form_asked_for_is_wrong() -> None:
    """Even where the target would normalise to nothing."""
    scorer = ExactMatch(extract=first_group(r"#### (\d+)"))
    assert scorer.score(TextAnswer(text="4"), "4") == 0.0
    assert scorer.score(TextAnswer(text="none"), "None") == 0.0
    assert scorer.score(TextAnswer(text="#### 4"), "4") == 1.0


@pytest.mark.parametrize(
    ("answer", "target", "score"),
    [
        (choice(-1, -2, -3), 0, 1.0),
        (choice(-1, -2, -3), 2, 0.0),
        (choice(-3, -2, -1), 2, 1.0),
        (choice(-1, -1, -3), 0, 0.5),
        (choice(-1, -1, -3), 1, 0.5),
        (choice(-1, -1, -3), 2, 0.0),
        (choice(-2, -2, -2, -2), 3, 0.25),
        (choice(-1, -2), 7, 0.0),
    ],
)
def test_a_choice_is_the_likeliest_option_and_ties_share_the_point(
    answer: ChoiceAnswer, target: Target, score: float
) -> None:
    """A model that can't tell options apart scores chance, wherever the right one stands."""
    assert Choice().score(answer, target) == score


def test_a_choice_normalised_by_length_weighs_each_token_alike() -> None:
    """A long option isn't at a loss for its length."""
    answer = choice(-3.0, -4.0, tokens=(1, 4))
    assert Choice().score(answer, 0) == 1.0
    assert Choice(normalize=True).score(answer, 1) == 1.0


@given(st.lists(st.floats(-1e6, 0), min_size=2, max_size=10))
def test_the_points_of_one_choice_add_up_to_one(values: list[float]) -> None:
    """Over all options as target, so that no position is favoured."""
    answer = choice(*values)
    assert sum(Choice().score(answer, index) for index in range(len(values))) == pytest.approx(1.0)


def test_a_verifier_judges_what_was_extracted() -> None:
    """The benchmark's own function sees the answer, not the chatter."""
    seen: list[tuple[str, Target]] = []

    def verify(text: str, target: Target) -> float:
        seen.append((text, target))
        return 0.25

    assert Verifier(verify, extract=answer_tag).score(TextAnswer(text="The answer is 4."), {"x": 1}) == 0.25
    assert seen == [("4", {"x": 1})]


def test_a_verdict_becomes_a_number() -> None:
    """Many verifiers return a bool."""
    value = Verifier(lambda _text, _target: True).score(TEXT, None)
    assert value == 1.0
    assert type(value) is float


def test_only_third_party_code_is_isolated() -> None:
    """A process for each verdict costs time; our own scorers are linear and can't hang."""
    assert Verifier(lambda _text, _target: 1.0).isolated
    assert not ExactMatch().isolated
    assert not Choice().isolated


@pytest.mark.parametrize(
    ("scorer", "answer"),
    [(ExactMatch(), CHOICE), (Choice(), TEXT), (Verifier(lambda _text, _target: 1.0), CHOICE)],
    ids=["exact", "choice", "verifier"],
)
def test_an_answer_of_another_kind_scores_zero(scorer: Scorer, answer: TextAnswer | ChoiceAnswer) -> None:
    """A client may send any kind for any item."""
    assert scorer.score(answer, "4") == 0.0


@given(st.text(), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers())))
def test_no_answer_and_no_target_crash_a_scorer(text: str, target: Target) -> None:
    """The verdict is a score in 0..1, always."""
    for scorer in (ExactMatch(), ExactMatch(extract=answer_tag, normalize=plain_number), Choice()):
        assert scorer.score(TextAnswer(text=text), target) in (0.0, 1.0)
