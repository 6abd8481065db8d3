"""Answers recorded elsewhere."""

from pathlib import Path

import pytest

from dep_mcp.adapters.replay.adapter import Adapter
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, ModelCard, TextAnswer
from dep_mcp.protocol.errors import DataError, ModelCallError

ITEM = Item(item_id="a", messages=(Message(role="user", content="?"),))


def adapter(path: Path) -> Adapter:
    return Adapter(ModelCard(name="replay", adapter="replay", model=str(path)), api_key=None)


async def test_each_item_and_epoch_gets_its_own_answer(tmp_path: Path) -> None:
    """Epoch 1 where none is given; a choice as an object of the protocol."""
    path = tmp_path / "answers.jsonl"
    choice = '{"kind": "choice", "log_likelihoods": [-1, -2], "token_counts": [1, 1]}'
    path.write_text(f'{{"item_id": "a", "answer": "one"}}\n\n{{"item_id": "a", "epoch": 2, "answer": {choice}}}\n')
    async with adapter(path) as replay:
        await replay.check()
        first = await replay.complete(ITEM, Generation(), timeout_s=1)
        second = await replay.complete(ITEM, Generation(), timeout_s=1, epoch=2)
        with pytest.raises(ModelCallError) as missing:
            await replay.complete(ITEM, Generation(), timeout_s=1, epoch=3)
    assert first.answer == TextAnswer(text="one")
    assert second.answer == ChoiceAnswer(log_likelihoods=(-1, -2), token_counts=(1, 1))
    assert missing.value.status == 422


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"item_id": "a"}',
        "[]",
        '{"item_id": "a", "answer": 3}',
        '{"item_id": "a", "answer": "x", "epoch": "y"}',
    ],
)
async def test_a_broken_line_is_named_by_its_number(tmp_path: Path, text: str) -> None:
    """The third of the file, the first of the errors."""
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{{"item_id": "a", "answer": "one"}}\n\n{text}\n')
    with pytest.raises(DataError, match="line 3"):
        await adapter(path).check()


async def test_two_answers_to_one_item_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """Which of two was meant can't be told."""
    path = tmp_path / "answers.jsonl"
    path.write_text('{"item_id": "a", "answer": "one"}\n{"item_id": "a", "answer": "two"}\n')
    with pytest.raises(DataError, match="line 2"):
        await adapter(path).check()
    with pytest.raises(DataError, match="nothing"):
        await adapter(tmp_path / "nothing.jsonl").check()
