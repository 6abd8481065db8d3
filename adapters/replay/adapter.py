"""Replays answers recorded elsewhere: `-m replay:answers.jsonl`, one `{"item_id", "answer", "epoch"}` a line."""

import json
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from dep_mcp.adapters.base import BaseAdapter
from dep_mcp.models import Completion
from dep_mcp.protocol import Answer, Generation, Item, ModelCard, TextAnswer
from dep_mcp.protocol.errors import DataError, ModelCallError

_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


class Adapter(BaseAdapter):
    """Answers from a file.

    Args:
        card: Its `model` is the file's path. `answer` is text, or an answer of the protocol as an object;
            `epoch` is 1 where it is left out.
        api_key: Not used.
    """

    def __init__(self, card: ModelCard, *, api_key: str | None) -> None:
        super().__init__(card, api_key=api_key)
        self._path = Path(card.model)
        self._answers: dict[tuple[str, int], Answer] = {}

    async def check(self) -> None:
        """Read the file.

        Raises:
            DataError: It is missing or a line is broken; the message has the line's number.
        """
        try:
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{self._path}: {error}"
            raise DataError(msg) from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                key, answer = self._read(line, number)
                if self._answers.setdefault(key, answer) != answer:
                    msg = f"{self._path}, line {number}: another answer of {key[0]!r}, epoch {key[1]}, stands above"
                    raise DataError(msg)

    def _read(self, line: str, number: int) -> tuple[tuple[str, int], Answer]:
        try:
            row = json.loads(line)
            said = row["answer"]
            answer = TextAnswer(text=said) if isinstance(said, str) else _ANSWER.validate_python(said)
            return (str(row["item_id"]), int(row.get("epoch", 1))), answer
        except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
            msg = f'{self._path}, line {number}: needs {{"item_id": "...", "answer": "..."}} ({type(error).__name__})'
            raise DataError(msg) from error

    async def reply(self, item: Item, generation: Generation, epoch: int) -> Completion:
        """The recorded answer.

        Raises:
            ModelCallError: 422: the file holds none for this item and epoch.
        """
        del generation
        answer = self._answers.get((item.item_id, epoch))
        if answer is None:
            msg = f"{self._path} holds no answer to this item and epoch"
            raise ModelCallError(msg, 422)
        return Completion(answer=answer)
