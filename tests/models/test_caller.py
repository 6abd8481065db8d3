"""One item's call, by the status contract: what is sent again, what is declared, what ends everything."""

import asyncio
import time
from collections.abc import Callable

import pytest

from dep_mcp.models import Caller, Completion, Limiter, RetryPolicy, caller
from dep_mcp.protocol import STATUS_CONTRACT, Action, DeclaredFailure, Generation, Item, Limits, Message, TextAnswer
from dep_mcp.protocol.errors import ModelCallError
from dep_mcp.testing import ScriptedModel

ITEM = Item(item_id="i", messages=(Message(role="user", content="q"),))
ATTEMPTS = 3
FAST = RetryPolicy(attempts=ATTEMPTS, base_s=0.0001, most_s=0.0002)


def statuses(*actions: Action) -> list[int]:
    return [status for status, rule in STATUS_CONTRACT.items() if rule.action in actions]


def limiter(most: int) -> Limiter:
    return Limiter(Limits(concurrency=most))


def calling(model: object, **changed: object) -> Caller:
    options: dict[str, object] = {"timeout_s": 10, "flow": limiter(5).flow(), "policy": FAST}
    return Caller(adapter=model, **(options | changed))  # type: ignore[arg-type]


def failing(*refusals: int | ModelCallError) -> ScriptedModel:
    """Fails as told, call by call, then answers `4`."""
    errors = [ModelCallError("no", refusal) if isinstance(refusal, int) else refusal for refusal in refusals]
    return ScriptedModel(lambda _item, call: errors[call - 1] if call <= len(errors) else "4")


class Hanging(ScriptedModel):
    """Never answers."""

    def __init__(self) -> None:
        super().__init__(lambda _item, _call: "never")
        self.sent = 0

    async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
        del item, generation, timeout_s, epoch
        self.sent += 1
        await asyncio.Event().wait()
        raise AssertionError


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_an_answer_is_recorded_and_not_asked_for_again() -> None:
    """Even an empty one: 200 is an answer."""
    model = ScriptedModel(lambda _item, _call: "")
    called = await calling(model).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == TextAnswer(text="", finish_reason="stop")
    assert (called.attempts, called.exhausted, model.calls["i"]) == (1, False, 1)


@pytest.mark.parametrize("status", [*statuses(Action.FAIL_EVALUATION, Action.PAUSE)])
async def test_a_status_that_no_other_call_could_better_ends_the_evaluation(status: int) -> None:
    """At the first call: money and time are the user's."""
    model = failing(status)
    with pytest.raises(ModelCallError) as error:
        await calling(model).call(ITEM, Generation(), epoch=1)
    assert (error.value.status, model.calls["i"]) == (status, 1)


@pytest.mark.parametrize("status", [*statuses(Action.FAIL_ITEM), 405, 499])
async def test_a_malformed_request_fails_its_item_at_once(status: int) -> None:
    """The same request would be refused again."""
    model = failing(status)
    called = await calling(model).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == DeclaredFailure(status=status)
    assert (called.attempts, called.exhausted, called.detail, model.calls["i"]) == (1, False, "no", 1)


@pytest.mark.parametrize("status", statuses(Action.OUTCOME))
async def test_the_models_own_doing_is_an_empty_answer(status: int) -> None:
    """Recorded and scored as what it is: a model that refuses is wrong, not absent."""
    model = failing(status)
    called = await calling(model).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == TextAnswer(text="", finish_reason=str(status))
    assert model.calls["i"] == 1


@pytest.mark.parametrize("status", [*statuses(Action.RETRY), 599, 302])
async def test_a_fault_of_the_provider_is_retried(status: int) -> None:
    """It is never the model's wrong answer."""
    model = failing(status, status)
    called = await calling(model).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == TextAnswer(text="4", finish_reason="stop")
    assert (called.attempts, model.calls["i"]) == (3, 3)


@pytest.mark.parametrize("status", statuses(Action.RETRY))
async def test_an_item_whose_attempts_run_out_is_a_declared_failure(status: int) -> None:
    """And it says that it was the provider's fault, so that the runner can tell a provider that is down."""
    model = failing(*[status] * ATTEMPTS)
    called = await calling(model).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == DeclaredFailure(status=status)
    assert (called.attempts, called.exhausted, model.calls["i"]) == (ATTEMPTS, True, ATTEMPTS)


async def test_a_refusal_for_the_rate_uses_up_no_attempt() -> None:
    """Ten of them and two faults: the item still has its third attempt."""
    model = failing(*[429] * 5, 500, *[429] * 5, 500)
    called = await calling(model).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == TextAnswer(text="4", finish_reason="stop")
    assert (called.attempts, model.calls["i"]) == (3, 13)


async def test_the_wait_that_the_provider_asks_for_is_honoured() -> None:
    """Not shortened by our own back-off, whose ceiling is lower here."""
    model = failing(ModelCallError("busy", 429, retry_after_s=0.15))
    start = time.monotonic()
    await calling(model).call(ITEM, Generation(), epoch=1)
    assert time.monotonic() - start >= 0.15


@pytest.mark.parametrize("retry_after_s", [0.0, None])
async def test_a_provider_that_keeps_refusing_is_given_up_in_the_end(
    monkeypatch: pytest.MonkeyPatch, retry_after_s: float | None
) -> None:
    """Even one that says "again at once": it would otherwise be asked for ever, as fast as it refuses."""
    monkeypatch.setattr(caller, "RATE_LIMIT_PATIENCE_S", 0.01)
    model = ScriptedModel(lambda _item, _call: ModelCallError("busy", 429, retry_after_s=retry_after_s))
    async with asyncio.timeout(10):
        with pytest.raises(ModelCallError) as error:
            await calling(model).call(ITEM, Generation(), epoch=1)
    assert error.value.status == 429


async def test_a_call_that_hangs_is_a_time_out_of_ours() -> None:
    """The adapter's own deadline comes first; an adapter that has none can't stop the evaluation."""
    called = await calling(Hanging(), timeout_s=-4.999).call(ITEM, Generation(), epoch=1)  # 5 s of grace less 4.999
    assert called is not None
    assert called.completion.answer == DeclaredFailure(status=408)
    assert called.attempts == ATTEMPTS


async def test_a_time_out_that_an_adapter_raises_is_retried_too() -> None:
    """As a bare `TimeoutError`, which libraries raise."""

    class Late(ScriptedModel):
        async def complete(self, item: Item, generation: Generation, *, timeout_s: float, epoch: int = 1) -> Completion:
            if self.calls["i"] == 0:
                self.calls["i"] += 1
                raise TimeoutError
            return await super().complete(item, generation, timeout_s=timeout_s, epoch=epoch)

    called = await calling(Late(lambda _item, _call: "4")).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.attempts == 2


async def test_stopping_ends_a_wait_at_once() -> None:
    """Ctrl-C during a long `Retry-After`: nothing is recorded, and resume sends it."""
    model = failing(ModelCallError("busy", 429, retry_after_s=3000))
    calls = calling(model)
    task = asyncio.create_task(calls.call(ITEM, Generation(), epoch=1))
    await until(lambda: model.calls["i"] == 1)
    calls.flow.stop()
    async with asyncio.timeout(5):
        assert await task is None
    assert model.calls["i"] == 1


async def test_what_waits_for_its_turn_when_stopped_is_never_sent() -> None:
    """The window may be narrow, and many wait for a place: a stop costs no further call."""
    model = ScriptedModel(lambda _item, _call: "4", latency_s=0.05)
    calls = calling(model, flow=limiter(1).flow())
    tasks = [asyncio.create_task(calls.call(ITEM, Generation(), epoch=1)) for _ in range(4)]
    await until(lambda: model.calls["i"] == 1)
    calls.flow.stop()
    done = await asyncio.gather(*tasks)
    assert [called is None for called in done] == [False, True, True, True]
    assert model.calls["i"] == 1


async def test_a_call_in_flight_when_stopped_is_kept() -> None:
    """It is paid for."""
    model = ScriptedModel(lambda _item, _call: "4", latency_s=0.02)
    calls = calling(model)
    task = asyncio.create_task(calls.call(ITEM, Generation(), epoch=1))
    await until(lambda: model.calls["i"] == 1)
    calls.flow.stop()
    assert await task is not None


async def test_every_fault_is_told() -> None:
    """The progress line shows what the provider does, retried or not."""
    told: list[tuple[int, str]] = []
    calls = calling(failing(429, 500, 413), on_fault=lambda status, detail: told.append((status, detail)))
    await calls.call(ITEM, Generation(), epoch=1)
    assert told == [(429, "no"), (500, "no"), (413, "no")]


async def test_only_refusals_for_the_rate_narrow_the_window() -> None:
    """A broken provider isn't a congested one."""
    shared = limiter(10)
    await calling(failing(500, 503), flow=shared.flow()).call(ITEM, Generation(), epoch=1)
    assert (shared.rate_limited, shared.size) == (0, 10)
    await calling(failing(429), flow=shared.flow()).call(ITEM, Generation(), epoch=1)
    assert (shared.rate_limited, shared.in_flight) == (1, 0)
    assert shared.size < 10


async def test_a_bug_in_an_adapter_is_not_hidden() -> None:
    """It ends in a declared failure that names it, and leaves its place in flight."""

    def broken(_item: Item, _call: int) -> str:
        raise KeyError

    shared = limiter(1)
    called = await calling(ScriptedModel(broken), flow=shared.flow()).call(ITEM, Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == DeclaredFailure(status=500)
    assert "KeyError" in (called.detail or "")
    assert shared.in_flight == 0


@pytest.mark.parametrize(("failures", "most"), [(1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (1000, 30.0)])
def test_the_back_off_doubles_with_full_jitter_up_to_a_ceiling(failures: int, most: float) -> None:
    """So that a thousand clients don't return in step."""
    waits = [RetryPolicy().wait_s(failures) for _ in range(300)]
    assert all(0 <= wait <= most for wait in waits)
    assert max(waits) > most * 0.8
    assert min(waits) < most * 0.2


async def test_an_answer_that_the_protocol_doesnt_take_is_a_failure_of_the_call() -> None:
    """Two megabytes of text must not end the evaluation with a traceback, nor be cut silently."""
    model = ScriptedModel(lambda _item, _call: "x" * (2 << 20))
    caller = Caller(adapter=model, flow=limiter(1).flow(), timeout_s=5, policy=RetryPolicy(attempts=2, base_s=0.001))
    called = await caller.call(Item(item_id="1", messages=(Message(role="user", content="?"),)), Generation(), epoch=1)
    assert called is not None
    assert called.completion.answer == DeclaredFailure(status=500)
    assert called.attempts == 2
