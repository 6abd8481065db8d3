"""What adapters get from their base, by the example of the documentation."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dep_mcp.adapters.base import BaseAdapter
from dep_mcp.models import Completion, ModelAdapter, Models
from dep_mcp.protocol import Generation, Item, Message, ModelCard, TextAnswer
from dep_mcp.protocol.errors import ModelCallError

QUESTION = "a question of more than sixteen characters"
KEY = "sk-0123456789abcdef"
ITEM = Item(item_id="1", messages=(Message(role="user", content=QUESTION),))


def adapter(said: Callable[[Item], str]) -> BaseAdapter:
    class Adapter(BaseAdapter):
        async def reply(self, item: Item, generation: Generation, epoch: int) -> Completion:
            del generation
            await asyncio.sleep(0 if epoch == 1 else 60)
            return Completion(answer=TextAnswer(text=said(item)))

    return Adapter(ModelCard(name="m", adapter="mine", model="m"), api_key=KEY)


def fail(item: Item) -> str:
    msg = f"can't answer {item.messages[-1].content} with {KEY}"
    raise ModelCallError(msg, 429, retry_after_s=3)


async def test_a_reply_is_asked_with_the_system_prompt_and_timed() -> None:
    """So that an adapter can't forget either."""
    async with adapter(lambda item: " ".join(message.role for message in item.messages)) as entered:
        await entered.check()
        completion = await entered.complete(ITEM, Generation(system_prompt="Be brief."), timeout_s=5)
    assert completion.answer == TextAnswer(text="system user")
    assert completion.latency_s > 0


async def test_an_error_keeps_its_status_and_quotes_neither_prompt_nor_key() -> None:
    """It is recorded, logged and shown."""
    with pytest.raises(ModelCallError) as raised:
        await adapter(fail).complete(ITEM, Generation(), timeout_s=5)
    assert (raised.value.status, raised.value.retry_after_s) == (429, 3)
    assert QUESTION not in raised.value.detail
    assert KEY not in raised.value.detail


async def test_a_call_ends_at_its_deadline() -> None:
    """408, which is sent again."""
    with pytest.raises(ModelCallError) as raised:
        await adapter(lambda _item: "").complete(ITEM, Generation(), timeout_s=0.05, epoch=2)
    assert raised.value.status == 408


async def test_the_documented_adapter_is_one(tmp_path: Path) -> None:
    """A folder beside the work is all it takes."""
    document = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", document, re.DOTALL)[-1]
    imports = "from dep_mcp.adapters.base import BaseAdapter\nfrom dep_mcp.models import Completion\n"
    imports += "from dep_mcp.protocol import Generation, Item, TextAnswer\n"
    (tmp_path / "adapters" / "documented").mkdir(parents=True)
    (tmp_path / "adapters" / "documented" / "adapter.py").write_text(imports + code, encoding="utf-8")
    made = Models([tmp_path]).adapter(ModelCard(name="m", adapter="documented", model="m"), None)
    assert isinstance(made, ModelAdapter)
    assert (await made.complete(ITEM, Generation(), timeout_s=5)).answer == TextAnswer(text=QUESTION)
