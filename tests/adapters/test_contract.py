"""One contract for both HTTP adapters, against a real server that misbehaves: each outcome has exactly one status."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dep_mcp.adapters.litellm.adapter import Adapter as LiteLLM
from dep_mcp.adapters.openai_compatible.adapter import Adapter as Direct
from dep_mcp.models import Completion, ModelAdapter
from dep_mcp.protocol import STATUS_CONTRACT, Generation, Item, Message, ModelCard, TextAnswer, Usage
from dep_mcp.protocol.errors import ModelCallError, UnknownNameError
from dep_mcp.testing import FaultyProvider, faulty_provider

ITEM = Item(item_id="1", messages=(Message(role="user", content="the secret prompt"),))
KEY = "sk-do-not-print"


@asynccontextmanager
async def called(kind: str, api_base: str, **card: Any) -> AsyncGenerator[ModelAdapter]:
    names = {"direct": ("openai_compatible", "faulty"), "litellm": ("litellm", "openai/faulty")}
    adapter, model = names[kind]
    made = ModelCard.model_validate({"name": "faulty", "adapter": adapter, "model": model, "api_base": api_base} | card)
    async with (Direct if kind == "direct" else LiteLLM)(made, api_key=KEY) as entered:
        yield entered


async def complete(adapter: ModelAdapter, **generation: Any) -> Completion:
    return await adapter.complete(ITEM, Generation.model_validate(generation), timeout_s=2)


both = pytest.mark.parametrize("kind", ["direct", "litellm"])


@both
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("400", 400),
        ("401", 401),
        ("402", 402),
        ("403", 403),
        ("404", 404),
        ("408", 408),
        ("422", 422),
        ("429", 429),
        ("500", 500),
        ("502", 502),
        ("503", 503),
        ("504", 504),
        ("529", 529),
        ("insufficient_quota", 402),
        ("context_length_exceeded", 413),
        ("content_policy_violation", 451),
        ("error_in_200", 429),
        ("cut", 502),
        ("cut_body", 502),
        ("truncated", 502),
        ("html", 502),
        ("no_choices", 502),
        ("hang", 408),
    ],
)
async def test_every_failure_has_its_status(kind: str, fault: str, status: int) -> None:
    """Whatever class, message or half-open socket it comes as."""
    async with (
        faulty_provider(faults={fault: 1.0}, echo_prompt=True) as provider,
        called(kind, provider.api_base) as adapter,
    ):
        with pytest.raises(ModelCallError) as raised:
            await complete(adapter)
        counters = await provider.counters()
    assert raised.value.status == status
    assert status in STATUS_CONTRACT
    assert KEY not in str(raised.value)
    assert "secret prompt" not in str(raised.value)
    assert counters["requests"] == 1  # no library's own retries


@both
@pytest.mark.parametrize(
    ("fault", "text", "finish"),
    [("null", "", "stop"), ("empty", "", "stop"), ("content_filter", None, "content_filter")],
)
async def test_every_answer_is_an_answer(kind: str, fault: str, text: str | None, finish: str) -> None:
    """Empty, missing and filtered texts were answered: they are outcomes, not failures."""
    async with faulty_provider(faults={fault: 1.0}) as provider, called(kind, provider.api_base) as adapter:
        completion = await complete(adapter)
    assert isinstance(completion.answer, TextAnswer)
    assert completion.answer.finish_reason == finish
    assert text is None or completion.answer.text == text


@both
async def test_the_text_comes_back_untouched(kind: str) -> None:
    """Blanks at its ends included: what is stripped belongs to the scorer."""
    async with faulty_provider(answer="  \n x \n") as provider, called(kind, provider.api_base) as adapter:
        completion = await complete(adapter, temperature=0.5, top_p=0.9, max_tokens=5, stop=("END",), seed=7)
    assert isinstance(completion.answer, TextAnswer)
    assert completion.answer.text == "  \n x \n"
    assert completion.usage == Usage(prompt_tokens=3, completion_tokens=1)
    assert completion.model == "faulty"
    assert completion.latency_s > 0


@both
async def test_usage_that_wasnt_counted_is_unknown_not_zero(kind: str) -> None:
    """A cost computed from zeros would be wrong without a sign of it."""
    async with faulty_provider(faults={"no_usage": 1.0}) as provider, called(kind, provider.api_base) as adapter:
        assert (await complete(adapter)).usage == Usage()


@both
@pytest.mark.parametrize("dialect", ["seconds", "ms"])
async def test_the_wait_that_a_provider_asks_for_arrives(kind: str, dialect: str) -> None:
    """Or the runner would knock too early, again and again."""
    behaviour = {"faults": {"429": 1.0}, "retry_after": dialect, "retry_after_s": 7.5}
    async with faulty_provider(**behaviour) as provider, called(kind, provider.api_base) as adapter:
        with pytest.raises(ModelCallError) as raised:
            await complete(adapter)
    assert raised.value.retry_after_s == pytest.approx(7.5)


@both
async def test_nobody_at_the_address_is_an_unavailable_provider(kind: str) -> None:
    """503: it is retried and never scored."""
    async with called(kind, "http://127.0.0.1:9/v1") as adapter:
        with pytest.raises(ModelCallError) as raised:
            await complete(adapter)
    assert raised.value.status == 503


async def test_check_tells_a_dead_endpoint_from_a_wrong_key_from_a_wrong_model() -> None:
    """Before anything is paid."""
    async with called("direct", "http://127.0.0.1:9/v1") as adapter:
        with pytest.raises(ModelCallError) as dead:
            await adapter.check()
    assert dead.value.status == 503
    async with faulty_provider(api_key="another") as provider, called("direct", provider.api_base) as adapter:
        with pytest.raises(ModelCallError) as refused:
            await adapter.check()
    assert refused.value.status == 401
    async with faulty_provider(models=("faulty-7b",)) as provider, called("direct", provider.api_base) as adapter:
        with pytest.raises(UnknownNameError, match="faulty-7b"):
            await adapter.check()
    async with faulty_provider(models=None) as provider, called("direct", provider.api_base) as adapter:
        await adapter.check()


async def test_litellm_names_the_missing_key_and_the_nearest_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a call."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    card = ModelCard(name="m", adapter="litellm", model="openai/gpt-4o-mini")
    async with LiteLLM(card, api_key=None) as adapter:
        with pytest.raises(ModelCallError, match="OPENAI_API_KEY") as raised:
            await adapter.check()
    assert raised.value.status == 401
    async with LiteLLM(card.model_copy(update={"model": "opnai/gpt-4o-mini"}), api_key=None) as adapter:
        with pytest.raises(UnknownNameError, match="openai"):
            await adapter.check()


def test_no_exception_class_of_litellm_is_unmapped() -> None:
    """A new one in a later version must be looked at before it slips by."""
    import inspect

    from litellm import exceptions

    from dep_mcp.adapters.litellm.errors import BY_CLASS, BY_STATUS_ONLY

    classes = {
        name
        for name, value in vars(exceptions).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__.startswith("litellm")
    }
    assert classes - set(BY_CLASS) - BY_STATUS_ONLY == set()
    assert not set(BY_CLASS) & BY_STATUS_ONLY


async def test_a_provider_can_be_asked_and_changed_while_it_runs() -> None:
    """Its counters are the evidence of other tests."""
    async with faulty_provider() as provider, called("direct", provider.api_base) as adapter:
        assert isinstance(provider, FaultyProvider)
        await complete(adapter)
        await provider.behave(faults={"500": 1.0})
        with pytest.raises(ModelCallError):
            await complete(adapter)
        counters = await provider.counters()
    assert counters["requests"] == counters["sent_twice"] + counters["unique"] == 2
    assert counters["statuses"] == {"200": 1, "500": 1}
