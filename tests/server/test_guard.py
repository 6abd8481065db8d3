"""The guard: no text and no scorer can stall, kill or mislead the server."""

import math
import multiprocessing
import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
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
    yield Guard(Verifier(verify), timeout_s=timeout_s)
    assert not multiprocessing.active_children()


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


def test_each_answer_has_a_process_of_its_own() -> None:
    """Code that a verifier ran on one answer must not decide the next one's verdict."""
    seen: list[str] = []

    def remembering(text: str, _target: Target) -> float:
        seen.append(text)
        return 1 / len(seen)

    with guarding(remembering) as guard:
        assert [judged(guard, str(number)) for number in range(3)] == [1.0, 1.0, 1.0]


def test_a_scorer_inherits_no_descriptor_but_its_verdict() -> None:
    """The wire is a private duplicate above the standard three: forged replies could be written to it."""

    def counting(_text: str, _target: Target) -> float:
        return 1 / len([descriptor for descriptor in range(3, 256) if exists(descriptor)])

    def exists(descriptor: int) -> bool:
        try:
            os.fstat(descriptor)
        except OSError:
            return False
        return True

    with guarding(counting) as guard:
        assert judged(guard, "x") == pytest.approx(1 / 2)  # the verdict's end and the sink


def write_verdict(data: bytes) -> None:
    """What code that an answer ran could do: write to the verdict's end by itself, and never come back."""
    for descriptor in range(3, 256):
        with suppress(OSError):
            os.write(descriptor, data)
    threading.Event().wait()


class Unpickled:
    """Kills whoever unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:  # noqa: D105
        return os._exit, (7,)


PICKLE = pickle.dumps(Unpickled())


@pytest.mark.parametrize("data", [struct.pack("!i", len(PICKLE)) + PICKLE, b"\0", struct.pack("!i", 1 << 30)])
def test_what_a_child_says_is_a_number_or_nothing(data: bytes) -> None:
    """An object would be unpickled by the server, which holds the wire; half of one would keep it waiting for ever."""

    def writing(text: str, _target: Target) -> float:
        if text != "right":
            write_verdict(data)
        return 1.0

    with guarding(writing, timeout_s=0.5) as guard:
        start = time.perf_counter()
        judged(guard, "wrong")
        assert time.perf_counter() - start < 3
        assert judged(guard, "right") == 1.0


def test_an_exception_is_named_by_a_class_of_python_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """A class that was made up on the way may bear the target's name."""

    def raising(_text: str, target: Target) -> float:
        raise type(str(target), (LookupError,), {"__module__": "builtins"})

    with guarding(raising) as guard:
        assert judged(guard, "x") is None
    assert capfd.readouterr().err == "scorer raised LookupError\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root has no limit of processes; the attacks run it in a container")
def test_a_scorers_child_can_have_no_child() -> None:
    """It would outlive the verdict, and take part in the next ones."""

    def forking(_text: str, _target: Target) -> float:
        return float(os.fork() > 0)

    with guarding(forking) as guard:
        assert judged(guard, "x") is None


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
    here: list[int] = []

    class Noting(ExactMatch):
        def score(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> float:
            here.append(os.getpid())
            return super().score(answer, target)

    assert Guard(Noting()).score(TextAnswer(text="4"), "4") == 1.0
    assert here == [os.getpid()]
