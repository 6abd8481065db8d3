"""The log of answers: container and owner come to the same, and any other answer comes to something else."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import Answer, ChoiceAnswer, DeclaredFailure, Submission, TextAnswer
from dep_mcp.receipts import AnswerLog

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
ANSWERS: st.SearchStrategy[Answer] = st.one_of(
    st.builds(TextAnswer, text=st.text(max_size=20), finish_reason=st.none() | st.text(max_size=5)),
    st.builds(lambda one, two: ChoiceAnswer(log_likelihoods=(one, two), token_counts=(1, 2)), FLOATS, FLOATS),
    st.builds(DeclaredFailure, status=st.integers(400, 599)),
)


def digest(answer: Answer) -> bytes | None:
    return None if isinstance(answer, DeclaredFailure) else Submission(item_id="i", answer=answer).digest()


def logged(answers: list[Answer]) -> AnswerLog:
    log = AnswerLog()
    for answer in answers:
        log.add(digest(answer))
    return log


@given(st.lists(ANSWERS, min_size=1, max_size=20))
def test_what_crossed_the_wire_has_the_same_hash(answers: list[Answer]) -> None:
    """The container hashes what it was sent, the owner what its journal holds: numbers and any text come out alike."""
    sent = [Submission(item_id="i", answer=answer).model_dump_json() for answer in answers]
    received = [Submission.model_validate_json(text).answer for text in sent]
    assert logged(received).root == logged(answers).root


@given(st.lists(ANSWERS, min_size=1, max_size=20), st.data())
def test_another_answer_or_order_has_another_hash(answers: list[Answer], data: st.DataObject) -> None:
    """One answer in 200,000 changed after the score was given shows."""
    place = data.draw(st.integers(0, len(answers) - 1))
    other = data.draw(ANSWERS)
    changed = [*answers[:place], other, *answers[place + 1 :]]
    if [line(answer) for answer in changed] == [line(answer) for answer in answers]:
        return
    before, after = logged(answers), logged(changed)
    assert before.root != after.root
    assert before.list_sha256 != after.list_sha256


def line(answer: Answer) -> str:
    return AnswerLog().add(digest(answer))


def test_an_empty_answer_is_no_failure() -> None:
    """Which is a line of its own, whatever its status: a resumed run may fail with another one."""
    assert line(DeclaredFailure(status=500)) == "-\n" != line(TextAnswer(text=""))


def test_the_list_is_text_that_sha256sum_reads() -> None:
    """Its lines are what `add` returned, its digest that of the file."""
    log = AnswerLog()
    text = log.add(b"\x01" * 32) + log.add(None)
    assert text == "01" * 32 + "\n-\n"
    assert log.list_sha256 == hashlib.sha256(text.encode()).hexdigest()
    assert log.count == 2
