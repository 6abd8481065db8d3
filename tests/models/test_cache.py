"""Answers kept across evaluations: only what would be answered alike again."""

from pathlib import Path

import pytest

from dep_mcp.models import CachedAdapter
from dep_mcp.protocol import Generation, Item, Message, ModelCard, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, StoreError
from dep_mcp.testing import ScriptedModel

CARD = ModelCard(name="m", adapter="a", model="m")


def item(text: str = "q") -> Item:
    return Item(item_id="i", messages=(Message(role="user", content=text),))


async def ask(
    path: Path, model: ScriptedModel, *, card: ModelCard = CARD, text: str = "q", epoch: int = 1, **set_: float
) -> str:
    async with CachedAdapter(model, card, path) as adapter:
        completion = await adapter.complete(item(text), Generation.model_validate(set_), timeout_s=1, epoch=epoch)
    assert isinstance(completion.answer, TextAnswer)
    return completion.answer.text + ("*" if completion.cached else "")


async def test_the_same_request_is_asked_once(tmp_path: Path) -> None:
    """And told to be kept, with nothing paid; in another process as well: it is a file."""
    model, path = ScriptedModel(lambda _item, call: f"answer {call}"), tmp_path / "deep" / "cache.sqlite"
    assert [await ask(path, model) for _ in range(3)] == ["answer 1", "answer 1*", "answer 1*"]
    async with CachedAdapter(model, CARD, path) as adapter:
        kept = await adapter.complete(item(), Generation(), timeout_s=1)
    assert (kept.usage, kept.cost_usd) == (Usage(), 0.0)
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "other",
    [
        {"text": "another"},
        {"max_tokens": 5},
        {"seed": 1},
        {"card": CARD.model_copy(update={"api_base": "http://elsewhere/v1"})},
        {"card": CARD.model_copy(update={"model": "n"})},
        {"temperature": 0.7},
        {"epoch": 2},
    ],
    ids=str,
)
async def test_any_other_request_is_asked(tmp_path: Path, other: dict[str, object]) -> None:
    """Another prompt, setting, model, endpoint; and whatever is sampled, each time."""
    model, path = ScriptedModel(lambda _item, call: f"answer {call}"), tmp_path / "cache.sqlite"
    await ask(path, model)
    assert await ask(path, model, **other) == "answer 2"  # type: ignore[arg-type]
    sampled = "temperature" in other or "epoch" in other
    assert await ask(path, model, **other) == ("answer 3" if sampled else "answer 2*")  # type: ignore[arg-type]


async def test_a_failure_is_never_kept(tmp_path: Path) -> None:
    """It is asked again."""
    model = ScriptedModel(lambda _item, call: ModelCallError("no", 500) if call == 1 else "4")
    with pytest.raises(ModelCallError):
        await ask(tmp_path / "cache.sqlite", model)
    assert await ask(tmp_path / "cache.sqlite", model) == "4"


async def test_a_file_that_cant_be_is_said(tmp_path: Path) -> None:
    """With what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="--cache"):
        await ask(tmp_path / "file" / "cache.sqlite", ScriptedModel(lambda _item, _call: "4"))
