"""Runs a scorer so that nothing a model wrote can stall or kill the server.

A pure scorer runs in place. One that runs third-party code on the model's text runs in a forked child
that is killed when it takes too long; the child shares the parent's memory and holds no descriptor of
the wire, nor of the log: what such code prints may quote a target. Should that text get to run code in the
child, a verdict is all that it can give back: a few bytes of fixed form, never an object to be unpickled.
"""

import builtins
import math
import multiprocessing
import os
import resource
import struct
import sys
from multiprocessing.connection import Connection

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
from dep_mcp.scoring import Scorer, Target

TIMEOUT_S = 5.0

_FAULTS = (
    "",
    *sorted(
        name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
    ),
)
"""What a fault is called: Python's own names only, since whoever makes up a class can put a target into its name."""

_Verdict = tuple[float, int]
"""The score and 0, or NaN and the place of what was raised in `_FAULTS`."""

_FORM = struct.Struct("<dB")
"""A verdict on its way from the child, written and read at once: half of one would keep the server waiting."""


class Guard:
    """Calls a scorer; an exception, a time-out, or a value outside 0..1 becomes `None`.

    Args:
        scorer: The benchmark's.
        timeout_s: Wall time of one verdict, where the scorer is isolated.
    """

    def __init__(self, scorer: Scorer, *, timeout_s: float = TIMEOUT_S) -> None:
        self._scorer = scorer
        self._timeout_s = timeout_s

    def score(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> float | None:
        """Judge one answer."""
        judge = self._isolated if self._scorer.isolated else self._in_place
        value, fault = judge(answer, target)
        if 0 < fault < len(_FAULTS):
            sys.stderr.write(f"scorer raised {_FAULTS[fault]}\n")
        return value if 0.0 <= value <= 1.0 else None

    def _in_place(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> _Verdict:
        return _judge(self._scorer, answer, target)

    def _isolated(self, answer: TextAnswer | ChoiceAnswer, target: Target) -> _Verdict:
        """A fresh child for each answer: what one text did to its process can't touch the next verdict."""
        context = multiprocessing.get_context("fork")  # the scorer is a closure over an imported module
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(self._scorer, answer, target, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            said = os.read(ours.fileno(), _FORM.size) if ours.poll(self._timeout_s) else b""
        finally:
            process.kill()
            process.join()
            process.close()
            ours.close()
        return _FORM.unpack(said) if len(said) == _FORM.size else (math.nan, 0)  # or the child died on this answer


def _judge(scorer: Scorer, answer: TextAnswer | ChoiceAnswer, target: Target) -> _Verdict:
    try:
        return float(scorer.score(answer, target)), 0
    except (Exception, SystemExit) as error:  # noqa: BLE001 (an author's scorer may raise anything; the item is told apart as a scorer error)
        return math.nan, _fault(error)  # never its message, which may quote a target


def _fault(error: BaseException) -> int:
    """The nearest class that is Python's own."""
    return next(_FAULTS.index(kind.__name__) for kind in type(error).__mro__ if kind in vars(builtins).values())


def _serve(scorer: Scorer, answer: TextAnswer | ChoiceAnswer, target: Target, pipe: Connection) -> None:
    verdict_end = pipe.fileno()
    os.closerange(3, verdict_end)  # the wire's descriptors among them
    os.closerange(verdict_end + 1, 256)
    sink = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(sink, descriptor)
    sys.stdout = sys.stderr = os.fdopen(sink, "w", encoding="utf-8", errors="replace")
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))  # a child of its own would outlive it
    os.write(verdict_end, _FORM.pack(*_judge(scorer, answer, target)))
