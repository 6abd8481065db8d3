"""Choices by log-likelihood, against an endpoint that does what llama.cpp does with a grammar of tokens."""

import pytest

from dep_mcp.adapters.openai_compatible.adapter import Adapter
from dep_mcp.protocol import ChoiceAnswer, Generation, Item, Message, ModelCard, RequestKind
from dep_mcp.protocol.errors import ModelCallError
from dep_mcp.testing import faulty_provider

ITEM = Item(item_id="1", messages=(Message(role="user", content="?"),), options=("yes", "no", "né"))
BOTH = (RequestKind.CHAT, RequestKind.CHOICE)


def adapter(api_base: str, requests: tuple[RequestKind, ...] = BOTH) -> Adapter:
    card = ModelCard(name="m", adapter="openai_compatible", model="faulty", api_base=api_base, requests=requests)
    return Adapter(card, api_key=None)


async def test_every_option_gets_its_weight_and_its_token_count() -> None:
    """In the order of the options; the tokens of this endpoint are bytes."""
    async with faulty_provider() as provider, adapter(provider.api_base) as entered:
        completion = await entered.complete(ITEM, Generation(), timeout_s=5)
        again = await entered.complete(ITEM, Generation(), timeout_s=5)
        counters = await provider.counters()
    assert isinstance(completion.answer, ChoiceAnswer)
    assert completion.answer.token_counts == (3, 2, 3)
    assert all(value < 0 for value in completion.answer.log_likelihoods)
    assert len(set(completion.answer.log_likelihoods)) == 3
    assert completion.answer == again.answer
    assert completion.usage.prompt_tokens is not None
    assert counters["requests"] == 6


@pytest.mark.parametrize(("fault", "status"), [("503", 503), ("hang", 408), ("no_choices", 502), ("cut", 502)])
async def test_a_fault_of_one_option_is_the_items(fault: str, status: int) -> None:
    """Half a choice is none."""
    async with faulty_provider(faults={fault: 1.0}) as provider, adapter(provider.api_base) as entered:
        with pytest.raises(ModelCallError) as raised:
            await entered.complete(ITEM, Generation(), timeout_s=1)
    assert raised.value.status == status


async def test_the_deadline_holds_for_all_options_together() -> None:
    """Each of them is in time, all of them aren't."""
    async with faulty_provider(latency_s=0.6) as provider, adapter(provider.api_base) as entered:
        with pytest.raises(ModelCallError) as raised:
            await entered.complete(ITEM, Generation(), timeout_s=1)
    assert raised.value.status == 408


async def test_a_card_that_names_no_choices_gets_none_sent() -> None:
    """400: the item fails, nothing is paid."""
    async with faulty_provider() as provider, adapter(provider.api_base, (RequestKind.CHAT,)) as entered:
        with pytest.raises(ModelCallError) as raised:
            await entered.complete(ITEM, Generation(), timeout_s=1)
        assert (await provider.counters())["requests"] == 0
    assert raised.value.status == 400
