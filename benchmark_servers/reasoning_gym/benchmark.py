"""Reasoning Gym (Stojanovski et al. 2025): verified procedural tasks, fresh from a secret seed."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import reasoning_gym
import yaml
from reasoning_gym.factory import DATASETS

from dep_mcp.protocol import Message
from dep_mcp.scoring import Target, Verifier, answer_tag
from dep_mcp.server import Benchmark, Draw, SealedItem

SIZE = 50
"""Items of each task, where no limit asks for fewer or more."""

EXAMPLES, EXAMPLES_LENGTH = 3, 2000
"""Worked examples before each question, by the same generator: at most so many, in so many characters."""

SYSTEM = "Reply with only the final answer, nothing else."


@lru_cache(maxsize=128)
def dataset(task: str, seed: int, size: int, config: frozenset[tuple[str, Any]]) -> Any:  # noqa: ANN401 (the library's, untyped)
    """The generator of one task; the same arguments give the same entries in every process."""
    return reasoning_gym.create_dataset(task, seed=seed, size=size, **dict(config))


def entry(task: str, seed: int, size: int, config: Mapping[str, Any], index: int) -> dict[str, Any]:
    """One entry; the same in every process, although some tasks draw from the global generator."""
    entries = dataset(task, seed, size, frozenset(config.items()))
    random.seed(f"{seed}/{index}")
    return cast("dict[str, Any]", entries[index])


def verify(answer: str, target: Target) -> float:
    """The library's own verdict, 0..1, on an entry generated anew from the sealed seed."""
    where = cast("Mapping[str, Any]", target)
    entries = dataset(where["task"], where["seed"], where["size"], frozenset(where["config"].items()))
    return float(entries.score_answer(answer=answer, entry=entry(**where)))


def examples(entries: Iterable[Mapping[str, Any]]) -> Iterator[Message]:
    """The worked examples as turns of a conversation, as long as they are short."""
    length = 0
    for example in entries:
        if example["answer"] is None:  # tasks whose verifier takes many answers may name none
            return
        length += len(example["question"]) + len(str(example["answer"]))
        if length > EXAMPLES_LENGTH:
            return
        yield Message(role="user", content=example["question"])
        yield Message(role="assistant", content=str(example["answer"]))


class ReasoningGym(Benchmark):
    """All tasks of the library, and `composite`, the suite of `suite.yaml`."""

    scorer = Verifier(verify, extract=answer_tag)
    generated = True

    def tasks(self) -> Sequence[str]:
        """The library's names."""
        return sorted(DATASETS)

    def items(self, draw: Draw) -> Iterator[SealedItem]:
        """Generate one task, or the suite."""
        if draw.task in (None, "composite"):
            suite = yaml.safe_load((self.folder / "suite.yaml").read_text(encoding="utf-8"))
        else:
            suite = {draw.task: {}}
        size = SIZE if draw.limit is None else -(-draw.limit // len(suite))
        for task, config in suite.items():
            seed = draw.rng(task).getrandbits(31)
            where = {"task": task, "seed": seed, "size": size + EXAMPLES, "config": config}
            shown = examples(entry(**where, index=size + number) for number in range(EXAMPLES))
            lead = [Message(role="system", content=SYSTEM), *shown]
            for index in range(size):
                target = where | {"index": index}
                prompt = [*lead, Message(role="user", content=entry(**target)["question"])]
                yield SealedItem(f"{task}-{index}", prompt, target, subtask=task)
