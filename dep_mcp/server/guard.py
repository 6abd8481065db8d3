"""Runs a scorer so that nothing a model wrote can stall or kill the server.

A pure scorer runs in place. One that runs third-party code on the model's text runs in a forked child
that is killed when it takes too long; the child shares the parent's memory and holds no descriptor of
the wire, nor of the log: what such code prints may quote a target.
"""

import multiprocessing
import os
import sys
from multiprocessing.connection import Connection

from dep_mcp.protocol import ChoiceAnswer, TextAnswer
from dep_mcp.scoring import Scorer, Target

TIMEOUT_S = 5.0

_Verdict = tuple[float | None, str]
"""The score, or `None` and the name of the exception, if it was one."""


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
        if fault:
            sys.stderr.write(f"scorer raised {fault}\n")
        return value if value is not None and 0.0 <= value <= 1.0 else None

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
            if ours.poll(self._timeout_s):
                verdict: _Verdict = ours.recv()
                return verdict
        except (EOFError, OSError):
            pass  # the child died on this answer
        finally:
            process.kill()
            process.join()
            process.close()
            ours.close()
        return None, ""


def _judge(scorer: Scorer, answer: TextAnswer | ChoiceAnswer, target: Target) -> _Verdict:
    try:
        return float(scorer.score(answer, target)), ""
    except (Exception, SystemExit) as error:  # noqa: BLE001 (an author's scorer may raise anything; the item is told apart as a scorer error)
        return None, type(error).__name__  # never its message, which may quote a target


def _serve(scorer: Scorer, answer: TextAnswer | ChoiceAnswer, target: Target, pipe: Connection) -> None:
    verdict_end = pipe.fileno()
    os.closerange(3, verdict_end)  # the wire's descriptors among them
    os.closerange(verdict_end + 1, 256)
    sink = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(sink, descriptor)
    sys.stdout = sys.stderr = os.fdopen(sink, "w", encoding="utf-8", errors="replace")
    pipe.send(_judge(scorer, answer, target))
