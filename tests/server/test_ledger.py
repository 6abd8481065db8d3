"""The ledger: write-once slots, counted apart."""

import hashlib
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol.errors import SubmissionConflictError
from dep_mcp.server.ledger import Entry, Ledger


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def test_an_answer_again_is_a_duplicate_and_another_a_conflict() -> None:
    """Write-once: nobody climbs to a score by trying."""
    ledger = Ledger(2, 1)
    assert not ledger.is_duplicate(0, digest("a"), failure=False)
    ledger.write(0, digest("a"), Entry.SCORED, 0.5)
    assert ledger.is_duplicate(0, digest("a"), failure=False)
    with pytest.raises(SubmissionConflictError):
        ledger.is_duplicate(0, digest("b"), failure=False)
    assert not ledger.is_duplicate(1, digest("b"), failure=False)


@pytest.mark.parametrize("entry", [Entry.SCORED, Entry.SCORER_ERROR])
def test_an_answer_never_becomes_a_failure(entry: Entry) -> None:
    """Else a bad answer could be taken back."""
    ledger = Ledger(1, 1)
    ledger.write(0, digest("a"), entry)
    with pytest.raises(SubmissionConflictError):
        ledger.is_duplicate(0, digest("failure"), failure=True)


def test_a_failure_may_become_an_answer_but_no_other_failure() -> None:
    """A resumed run answers what failed; a failure of another status changes nothing."""
    ledger = Ledger(1, 1)
    ledger.write(0, digest("500"), Entry.FAILED)
    assert ledger.is_duplicate(0, digest("500"), failure=True)
    assert ledger.is_duplicate(0, digest("503"), failure=True)
    assert not ledger.is_duplicate(0, digest("a"), failure=False)


def test_the_mean_of_an_item_is_over_its_scored_epochs() -> None:
    """A failed epoch is unscored, which isn't 0; a scorer's error counts as 0."""
    ledger = Ledger(2, 3)
    ledger.write(3, digest("a"), Entry.SCORED, 1.0)
    ledger.write(4, digest("b"), Entry.FAILED)
    assert ledger.item_mean(0) is None
    assert ledger.item_mean(1) == 1.0
    ledger.write(5, digest("c"), Entry.SCORER_ERROR)
    assert ledger.item_mean(1) == 0.5
    assert [ledger.value(slot) for slot in range(6)] == [None, None, None, 1.0, None, 0.0]
    assert ledger.total() == 1.0
    assert ledger.count() == {Entry.MISSING: 3, Entry.FAILED: 1, Entry.SCORED: 1, Entry.SCORER_ERROR: 1}


@dataclass(frozen=True)
class Slot:
    failure: bool
    text: str


steps = st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.sampled_from("abc")), max_size=40)


@given(steps)
def test_the_ledger_behaves_as_a_dictionary_that_is_written_once(taken: list[tuple[int, bool, str]]) -> None:
    """Any sequence of submissions, against the plainest model of the rules."""
    ledger, model = Ledger(3, 2), dict[int, Slot]()
    for slot, failure, text in taken:
        there = model.get(slot)
        name = ("failure " if failure else "answer ") + text
        if there is not None and not there.failure and there.text != name:
            with pytest.raises(SubmissionConflictError):
                ledger.is_duplicate(slot, digest(name), failure=failure)
            continue
        duplicate = there is not None and (there.text == name or (there.failure and failure))
        assert ledger.is_duplicate(slot, digest(name), failure=failure) is duplicate
        if not duplicate:
            model[slot] = Slot(failure, name)
            ledger.write(slot, digest(name), Entry.FAILED if failure else Entry.SCORED, 0.0 if failure else 1.0)
    scored = sum(not slot.failure for slot in model.values())
    count = ledger.count()
    assert (count[Entry.SCORED], count[Entry.FAILED]) == (scored, len(model) - scored)
    assert sum(count.values()) == 6
    assert ledger.total() == scored
