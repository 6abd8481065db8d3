"""The guard: no text and no scorer can stall, kill or mislead the server."""

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dep_mcp.protocol import TextAnswer
from dep_mcp.scoring import ExactMatch, Target, Verifier
from dep_mcp.server.guard import Guard

# Python 3.12 and newer warn when a process with threads forks; a benchmark's container has none at that time.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

TARGET = "target-4"


def misbehave(text: str, target: Target) -> float:  # noqa: C901 (a list of misdeeds)
    """Does what the text says."""
    if text == "hang":
        threading.Event().wait()
    if text == "spin":
        while True:
            pass
    if text == "die":
        os._exit(3)
    if text == "exit":
        sys.exit(f"the target is {target}")
    if text == "interrupt":
        raise KeyboardInterrupt(target)
    if text == "raise":
        raise ValueError(target)
    if text == "print":
        for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.write(f"{target}\n")
            stream.flush()
            os.write(descriptor, str(target).encode())
    if text == "read":
        return float(len(os.read(0, 10)))
    odd = {"nan": math.nan, "two": 2.0, "minus": -0.1, "inf": math.inf, "half": 0.5}
    return odd.get(text, 1.0)


@contextmanager
def guarding(verify: Callable[[str, Target], float] = misbehave, timeout_s: float = 5.0) -> Iterator[Guard]:
    guard = Guard(Verifier(verify), timeout_s=timeout_s)
    try:
        yield guard
    finally:
        if guard._child is not None:
            process, pipe = guard._child
            process.kill()
            process.join()
            pipe.close()


def judged(guard: Guard, text: str) -> float | None:
    return guard.score(TextAnswer(text=text), TARGET)


@pytest.mark.parametrize("text", ["hang", "spin"])
def test_a_scorer_that_hangs_is_cut_off_and_the_next_answer_scored(text: str) -> None:
    """One adversarial answer may cost seconds, never the evaluation."""
    with guarding(timeout_s=0.2) as guard:
        start = time.perf_counter()
        assert judged(guard, text) is None
        assert time.perf_counter() - start < 3
        assert judged(guard, "right") == 1.0


@pytest.mark.parametrize("text", ["die", "exit", "interrupt"])
def test_a_scorer_that_ends_its_process_is_replaced(text: str) -> None:
    """A library that calls `exit` takes its child along, not the server."""
    with guarding() as guard:
        assert judged(guard, text) is None
        assert judged(guard, "right") == 1.0


@pytest.mark.parametrize("text", ["raise", "nan", "two", "minus", "inf"])
def test_no_verdict_and_an_impossible_one_are_none(text: str) -> None:
    """It is told apart as a scorer's error; a score above 1 must never lift a mean."""
    with guarding() as guard:
        assert judged(guard, text) is None
        assert judged(guard, "half") == 0.5


@pytest.mark.parametrize("text", ["raise", "exit", "interrupt", "print"])
def test_what_a_scorer_says_never_reaches_the_containers_output(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output is the wire and standard error is shown when a container dies: both may quote a target."""
    with guarding() as guard:
        judged(guard, text)
        judged(guard, "right")
    left = capfd.readouterr()
    assert TARGET not in left.out + left.err


def test_a_scorer_cannot_read_the_wire() -> None:
    """Its standard input is empty: the requests of the client are none of its business."""
    with guarding() as guard:
        assert judged(guard, "read") == 0.0


def test_one_child_serves_many_answers() -> None:
    """A fork for each would cost more than most verdicts."""
    with guarding(lambda _text, _target: 1 / os.getpid()) as guard:
        assert len({judged(guard, str(n)) for n in range(20)}) == 1


def test_the_child_ends_with_its_server() -> None:
    """When the server closes its end, or is killed, nothing is left behind."""
    with guarding() as guard:
        judged(guard, "right")
        assert guard._child is not None
        process, pipe = guard._child
        guard._child = None
        pipe.close()
        process.join(5)
        assert process.exitcode == 0


class Raising(ExactMatch):
    def score(self, answer: object, target: Target) -> float:  # type: ignore[override]
        if isinstance(answer, TextAnswer) and answer.text == "exit":
            sys.exit(str(target))
        raise LookupError(target)


@pytest.mark.parametrize("text", ["raise", "exit"])
def test_a_scorer_that_runs_in_place_may_fail_too(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The item counts as a scorer's error; the server goes on, and quotes nothing."""
    assert Guard(Raising()).score(TextAnswer(text=text), TARGET) is None
    assert TARGET not in capfd.readouterr().err


def test_a_scorer_that_runs_in_place_is_called_in_place() -> None:
    """Our own scorers need no child."""
    guard = Guard(ExactMatch())
    assert guard.score(TextAnswer(text="4"), "4") == 1.0
    assert guard._child is None
