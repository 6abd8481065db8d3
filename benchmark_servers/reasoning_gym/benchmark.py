"""Reasoning Gym (Stojanovski et al. 2025): verified procedural tasks, fresh from a secret seed."""

import ast
import inspect
import json
import random
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import reasoning_gym
import yaml
from reasoning_gym.factory import DATASETS

from dep_mcp.protocol import Message
from dep_mcp.scoring import Target, Verifier, answer_tag, short_answer, whole
from dep_mcp.server import Benchmark, Draw, SealedItem

SIZE = 50
"""Items of each task, where no limit asks for fewer or more."""

SPARE = 4
"""Entries generated for each item wanted at most: questions that came before are left out."""

LEAD = (
    Message(role="system", content="Answer each question with the final answer only, without any explanation."),
    Message(role="user", content="What is the capital of France?"),
    Message(role="assistant", content="Paris"),
    Message(role="user", content="Is the number 10 odd? Answer Yes or No."),
    Message(role="assistant", content="No"),
    Message(role="user", content="Sort these numbers in ascending order: 7, 3, 5"),
    Message(role="assistant", content="3, 5, 7"),
)
"""Shows the form of an answer, the same for all tasks and the content of none."""


@lru_cache(maxsize=128)
def dataset(task: str, seed: int, size: int, config: str) -> Any:  # noqa: ANN401 (the library's, untyped)
    """The generator of one task; the same arguments give the same entries in every process."""
    return reasoning_gym.create_dataset(task, seed=seed, size=size, **json.loads(config))


def entry(task: str, seed: int, size: int, config: str, index: int) -> dict[str, Any]:
    """One entry; the same in every process, although some tasks draw from the global generator."""
    random.seed(f"{seed}/{index}")
    return cast("dict[str, Any]", dataset(task, seed, size, config)[index])


_EVALUATES = re.compile(r"(?<!literal_)\beval\(|\bexec\(|parse_expr\(|sympify\(|simplify\(|\bS\(")
_NAME = re.compile(r"[^\W\d]\w*")
_WORDS = re.compile(r"[\w\s]*")
_ATTRIBUTE = re.compile(r"\.\s*[^\W\d]")
_KNOWN = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "sec",
        "csc",
        "cot",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "asinh",
        "acosh",
        "atanh",
        "exp",
        "log",
        "ln",
        "sqrt",
        "Abs",
        "erf",
        "pi",
        "Integral",
        "True",
        "False",
        "and",
        "or",
        "not",
    ]
)


@lru_cache(maxsize=128)
def evaluates(task: str) -> bool:
    """Whether a task's verifier may run its answer as Python: some call `eval`, or SymPy's parser, which does."""
    return _EVALUATES.search(inspect.getsource(sys.modules[DATASETS[task][0].__module__])) is not None


def harmless(answer: str) -> bool:
    """Whether a text is bare words, a literal, or an expression of numbers, letters and known functions only."""
    if _WORDS.fullmatch(answer):  # a name that isn't called does nothing
        return True
    try:
        ast.literal_eval(answer)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        quiet = not any(mark in answer for mark in ("'", '"', "\\", "@", ";", ":=", "_"))
        return (
            quiet
            and not _ATTRIBUTE.search(answer)
            and all(len(name) == 1 or name in _KNOWN for name in _NAME.findall(answer))
        )
    return True


def verify(answer: str, target: Target) -> float:
    """1 where the library's verifier gives full credit to the answer, or to the short answer at its end, else 0.

    Its partial credit is for training: it gives a quarter to a three-letter word spelt wrong.
    """
    where = cast("Mapping[str, Any]", target)
    entries = dataset(where["task"], where["seed"], where["size"], where["config"])
    right = entry(where["task"], where["seed"], where["size"], where["config"], where["index"])
    if "canary" in where:
        right["answer"] = f"{right['answer']}{where['canary']}"
    fault: Exception | None = None
    for reading in dict.fromkeys((whole(answer), answer_tag(answer), short_answer(answer))):
        if evaluates(where["task"]) and not harmless(reading):
            continue  # it is no answer to such a task, and the verifier would run it
        try:
            if entries.score_answer(answer=reading, entry=right) >= 1.0:
                return 1.0
        except Exception as error:  # noqa: BLE001 (verifiers raise on some junk)
            fault = error
    if fault is not None:
        raise fault
    return 0.0


class ReasoningGym(Benchmark):
    """All tasks of the library, and `composite`, the suite of `suite.yaml`."""

    scorer = Verifier(verify, extract=whole)
    generated = True

    def plant(self, target: Target, canary: str) -> Target:
        """Beside what an entry is made from, and so into its answer."""
        return {**cast("Mapping[str, Any]", target), "canary": canary}

    def tasks(self) -> Sequence[str]:
        """The library's names."""
        return sorted(DATASETS)

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Generate one task, or the suite; no question comes twice."""
        if draw.task in (None, "composite"):
            suite = yaml.safe_load((self.folder / "suite.yaml").read_text(encoding="utf-8"))
        else:
            suite = {draw.task: {}}
        size = SIZE if draw.limit is None else -(-draw.limit // len(suite))
        for task, config in suite.items():
            where = {"task": task, "seed": draw.rng(task).getrandbits(31), "size": SPARE * size}
            where |= {"config": json.dumps(config, sort_keys=True)}
            seen: set[str] = set()
            for index in range(SPARE * size):
                question = entry(**where, index=index)["question"]
                if question not in seen:
                    seen.add(question)
                    prompt = [*LEAD, Message(role="user", content=question)]
                    yield SealedItem(f"{task}-{index}", prompt, where | {"index": index}, subtask=task)
                if len(seen) == size:
                    break
