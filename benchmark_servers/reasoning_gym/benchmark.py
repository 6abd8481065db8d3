"""Reasoning Gym (Stojanovski et al. 2025): verified procedural tasks, fresh from a secret seed."""

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


def verify(answer: str, target: Target) -> float:
    """The library's own verdict, 0..1, on an entry generated anew from the sealed seed."""
    where = cast("Mapping[str, Any]", target)
    config = frozenset(where["config"].items())
    entries = dataset(where["task"], where["seed"], where["size"], config)
    return float(entries.score_answer(answer=answer, entry=entries[where["index"]]))


def examples(entries: Iterable[Mapping[str, Any]]) -> Iterator[Message]:
    """The worked examples as turns of a conversation, as long as they are short."""
    length = 0
    for entry in entries:
        if entry["answer"] is None:  # tasks whose verifier takes many answers may name none
            return
        length += len(entry["question"]) + len(str(entry["answer"]))
        if length > EXAMPLES_LENGTH:
            return
        yield Message(role="user", content=entry["question"])
        yield Message(role="assistant", content=str(entry["answer"]))


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
            entries = dataset(task, seed, size + EXAMPLES, frozenset(config.items()))
            lead = [
                Message(role="system", content=SYSTEM),
                *examples(entries[size + n] for n in range(EXAMPLES)),
            ]
            for index in range(size):
                target = {
                    "task": task,
                    "seed": seed,
                    "size": size + EXAMPLES,
                    "index": index,
                    "config": config,
                }
                prompt = [*lead, Message(role="user", content=entries[index]["question"])]
                yield SealedItem(f"{task}-{index}", prompt, target, subtask=task)
