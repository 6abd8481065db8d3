"""Every misbehaviour of a provider ends in the right class, and never as a wrong answer.

The provider is a process of its own, its counters are the evidence; adapters, runner, store and the benchmark's server
are the real ones, only the container is the fake runtime's.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.adapters.litellm.adapter import Adapter as LiteLLM
from dep_mcp.adapters.openai_compatible.adapter import Adapter as Direct
from dep_mcp.containers import Image
from dep_mcp.models import Caller, Limiter, RetryPolicy
from dep_mcp.orchestrator import Orchestrator, Prepared
from dep_mcp.orchestrator.catalogue import read_folder
from dep_mcp.protocol import Limits, ModelCard, Record, ScoreReport
from dep_mcp.protocol.errors import DepError, EvaluationPausedError, ModelCallError
from dep_mcp.results import Store
from dep_mcp.runner import Progress, Runner
from dep_mcp.testing import FakeRuntime, faulty_provider, prompt_sha, toy_folder
from tests.runner.test_runner import toy_session

ITEMS = 24
FAST = RetryPolicy(attempts=3, base_s=0.01, most_s=0.02)

RETRIED = {
    **{str(status): status for status in (408, 429, 500, 502, 503, 504, 529)},
    "hang": 408,
    "cut": 502,
    "cut_body": 502,
    "truncated": 502,
    "html": 502,
    "no_choices": 502,
    "error_in_200": 429,
}
"""Faults that are sent again, and the status they have; all answered in the end."""

MALFORMED = {"400": 400, "422": 422}
OUTCOMES = {
    "413": "413",
    "451": "451",
    "context_length_exceeded": "413",
    "content_policy_violation": "451",
    "content_filter": "content_filter",
    "null": "stop",
    "empty": "stop",
}
"""The model's own doing: recorded with this finish reason and scored as what it is."""
ANSWERED = ("no_usage", "wrong_usage", "slow_body")
HOPELESS = {"401": 401, "403": 403, "404": 404, "402": 402, "insufficient_quota": 402}


@dataclass
class Ended:
    """What one evaluation came to."""

    report: ScoreReport | None
    error: DepError | None
    records: list[Record]
    counters: dict[str, Any]
    faults: dict[int, int]


async def evaluate(folder: Path, kind: str, *, items: int = ITEMS, timeout_s: float = 0.5, **behaviour: Any) -> Ended:
    answers = folder / "answers.json"
    answers.write_text(
        json.dumps({prompt_sha([f"{n} + 1 ="]): f"target-{n + 1}" for n in range(300)}), encoding="utf-8"
    )
    model = {"direct": "faulty", "litellm": "openai/faulty"}[kind]
    async with faulty_provider(answers=str(answers), retry_after_s=0.01, slow_body_s=0.1, **behaviour) as provider:
        card = ModelCard(name="m", adapter=kind, model=model, api_base=provider.api_base)
        progress = Progress()

        def on_fault(status: int, _detail: str) -> None:
            progress.faults[status] = progress.faults.get(status, 0) + 1

        async with (
            Store.open(folder / "store.sqlite") as store,
            (Direct if kind == "direct" else LiteLLM)(card, api_key="k") as adapter,
        ):
            orchestrator = Orchestrator(FakeRuntime(toy_session), store, owner="me", dead=lambda _owner: False)
            image = Image(tag="toy", digest="sha256:" + "0" * 64)
            prepared = Prepared(benchmark=read_folder(toy_folder()), task=None, image=image)
            evaluation = await orchestrator.create(prepared, card, limit=items)
            flow = Limiter(Limits(concurrency=4)).flow()
            caller = Caller(adapter=adapter, flow=flow, timeout_s=timeout_s, policy=FAST, on_fault=on_fault)
            report, error = None, None
            async with await orchestrator.endpoint(evaluation, lambda _event, _text: None) as endpoint:
                runner = Runner(evaluation, endpoint=endpoint, journal=store, caller=caller, progress=progress)
                try:
                    report = await runner.run()
                except DepError as raised:
                    error = raised
            records = [record async for page in store.journal(evaluation.evaluation_id) for record in page]
            return Ended(report, error, records, await provider.counters(), progress.faults)


both = pytest.mark.parametrize("kind", ["direct", "litellm"])


@both
@pytest.mark.parametrize("fault", RETRIED)
async def test_what_passes_is_sent_again_and_answered(tmp_path: Path, kind: str, fault: str) -> None:
    """A third of the first calls meet it: everything is answered, once, and right."""
    ended = await evaluate(tmp_path, kind, faults={fault: 0.34}, recover_after=1)
    assert ended.report is not None, ended.error
    assert (ended.report.overall.value, ended.report.counts.scored, ended.report.counts.failed) == (1.0, ITEMS, 0)
    assert ended.faults.keys() == {RETRIED[fault]}
    assert ended.counters["answered"] == ITEMS
    assert ended.counters["answered_twice"] == 0
    assert ended.counters["requests"] == ITEMS + sum(ended.faults.values())


@pytest.mark.parametrize("fault", [fault for fault, status in RETRIED.items() if status != 429])
async def test_what_stays_pauses_and_nothing_is_scored(tmp_path: Path, fault: str) -> None:
    """A provider that is down isn't a model that is wrong: no answer, no failure is recorded."""
    ended = await evaluate(tmp_path, "direct", faults={fault: 1.0}, timeout_s=0.1)
    assert isinstance(ended.error, EvaluationPausedError)
    assert ended.records == []


@both
@pytest.mark.parametrize("fault", MALFORMED)
async def test_a_malformed_request_fails_its_item_without_another_call(tmp_path: Path, kind: str, fault: str) -> None:
    """Reported apart: the score is over the rest, with both bounds."""
    ended = await evaluate(tmp_path, kind, faults={fault: 0.3})
    assert ended.report is not None
    failed = ended.report.counts.failed
    assert 0 < failed < ITEMS
    assert (ended.report.overall.value, ended.report.upper) == (1.0, 1.0)
    assert ended.report.ranked == pytest.approx(1 - failed / ITEMS)
    assert ended.counters["requests"] == ITEMS
    statuses = {
        record.submission.answer.status for record in ended.records if record.submission.answer.kind == "failure"
    }
    assert statuses == {MALFORMED[fault]}


@both
@pytest.mark.parametrize("fault", OUTCOMES)
async def test_the_models_own_doing_is_recorded_as_what_it_is(tmp_path: Path, kind: str, fault: str) -> None:
    """Sent once, an outcome with its finish reason; the provider's answer to the others is right."""
    ended = await evaluate(tmp_path, kind, faults={fault: 0.3})
    assert ended.report is not None, ended.error
    assert ended.report.counts.failed == 0
    assert ended.counters["requests"] == ITEMS
    other = [r.submission.answer for r in ended.records if r.submission.answer.kind == "text"]
    odd = [answer for answer in other if not answer.text or answer.finish_reason == "content_filter"]
    assert odd
    assert {answer.finish_reason for answer in odd} == {OUTCOMES[fault]}
    assert ended.report.overall.value == pytest.approx(1 - sum(not answer.text for answer in odd) / ITEMS)


@both
@pytest.mark.parametrize("fault", ANSWERED)
async def test_an_answer_is_an_answer_however_odd_its_wrapping(tmp_path: Path, kind: str, fault: str) -> None:
    """Usage that is missing or absurd is unknown, not 0; a slow body is waited for."""
    ended = await evaluate(tmp_path, kind, faults={fault: 1.0}, timeout_s=5)
    assert ended.report is not None, ended.error
    assert ended.report.overall.value == 1.0
    if (kind, fault) != ("litellm", "wrong_usage"):  # the library raises at counts that are no numbers: sent again
        assert ended.counters["requests"] == ITEMS
    for record in ended.records:
        counts = (record.usage.prompt_tokens, record.usage.completion_tokens)
        assert all(count is None or count >= 0 for count in counts)
        if fault == "no_usage":
            assert counts == (None, None)


@both
@pytest.mark.parametrize("fault", HOPELESS)
async def test_what_no_call_can_better_ends_it_after_the_calls_in_flight(tmp_path: Path, kind: str, fault: str) -> None:
    """Nothing is recorded of them; what was answered stays."""
    ended = await evaluate(tmp_path, kind, faults={fault: 1.0})
    assert isinstance(ended.error, ModelCallError)
    assert ended.error.status == HOPELESS[fault]
    assert ended.counters["requests"] <= 4
    assert ended.records == []


@pytest.mark.parametrize(
    "behaviour",
    [{"retry_after": "seconds"}, {"retry_after": "ms"}, {"retry_after": "date"}, {"retry_after": "none"},
     {"retry_after": "none", "ratelimit_headers": True}],
    ids=str,
)  # fmt: skip
async def test_a_limit_costs_no_attempt_however_it_is_told(tmp_path: Path, behaviour: dict[str, Any]) -> None:
    """More refusals than an item has attempts, in each dialect."""
    ended = await evaluate(tmp_path, "direct", items=4, faults={"429": 1.0}, recover_after=4, **behaviour)
    assert ended.report is not None, ended.error
    assert (ended.report.overall.value, ended.report.counts.failed) == (1.0, 0)
    assert ended.faults == {429: 16}
    assert {record.attempts for record in ended.records} == {1}
