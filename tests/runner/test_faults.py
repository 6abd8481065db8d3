"""The faulty provider's full matrix: whatever a call meets, its item ends in the right class, never as a wrong answer.

The real adapters call the real provider, and the real loop, store and server do the rest; only the container is a
fake. Each fault comes in three ways: once for a share of the items, for good for a share of them, and for all calls.
"""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from dep_mcp.adapters.litellm.adapter import Adapter as LiteLLM
from dep_mcp.adapters.openai_compatible.adapter import Adapter as Direct
from dep_mcp.containers import Image
from dep_mcp.models import Breaker, Caller, Limiter, RetryPolicy, caller
from dep_mcp.orchestrator import Orchestrator, Prepared
from dep_mcp.orchestrator.catalogue import read_folder
from dep_mcp.protocol import DeclaredFailure, Evaluation, Generation, Limits, ModelCard, ScoreReport, TextAnswer
from dep_mcp.protocol.errors import EvaluationPausedError, ModelCallError
from dep_mcp.receipts import SigningKey, countersigned
from dep_mcp.results import Store
from dep_mcp.runner import Progress, Runner
from dep_mcp.server.benchmark import Draw
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.loading import load_benchmark
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeRuntime, FaultyProvider, prompt_sha, toy_folder
from dep_mcp.testing.faulty_provider import FAULTS

ITEMS = 24
VICTIMS = ('"173 +', '"62 +', '"39 +', '"185 +')
"""A few of those items, by what their prompts hold."""
SEED = "00" * 16
TIMEOUT_S = 0.25
FAST = RetryPolicy(attempts=2, base_s=0.001, most_s=0.002)
PATIENT = RetryPolicy(attempts=10**6, base_s=0.001, most_s=0.002)
NUMBERS = count(1)

RIGHT = "right"
WAITS = {"retry_after_s": 0.02}


@dataclass(frozen=True)
class Row:
    """What a fault must lead to.

    Attributes:
        fault: Of the faulty provider.
        once: Class of an item that meets it once.
        always: Class of an item that always meets it; or `ends`, and with which status.
        all: How an evaluation ends whose every call meets it; `completed` scores what `always` says.
        behaviour: Of the provider besides.
        litellm: Whether it is tried through LiteLLM too.
    """

    fault: str
    once: str
    always: str
    all: str
    behaviour: dict[str, Any] = field(default_factory=dict)
    litellm: bool = False

    @property
    def name(self) -> str:
        """Fault and behaviour."""
        return " ".join([self.fault, *(f"{name}={value}" for name, value in self.behaviour.items())])


def retried(fault: str, status: int, **options: Any) -> Row:
    """A fault of the provider: retried; an item on which it persists is declared failed; a dead provider pauses."""
    return Row(fault, RIGHT, f"failed {status}", "paused 503", **options)


def refused(fault: str, status: int, **options: Any) -> Row:
    """The request's own fault: its item fails at once, the evaluation where all do."""
    return Row(fault, f"failed {status}", f"failed {status}", f"ends {status}", **options)


def hopeless(fault: str, status: int, **options: Any) -> Row:
    """No other call would fare better: nothing of it is recorded."""
    return Row(fault, *[f"ends {status}"] * 3, **options)


def outcome(fault: str, finish: str, **options: Any) -> Row:
    """The model's own doing: recorded and scored as what it is, empty, and sent once."""
    return Row(fault, f"empty {finish}", f"empty {finish}", "completed", **options)


def waited(**options: Any) -> Row:
    """Refused for its rate: waited for, attempts untouched; after an hour without end the evaluation pauses."""
    behaviour = {"retry_after_s": 0.02} | options.pop("behaviour", {})
    return Row(options.pop("fault", "429"), RIGHT, "ends 429", "ends 429", behaviour=behaviour, **options)


def answered(fault: str, **options: Any) -> Row:
    """An answer, however odd what surrounds it."""
    return Row(fault, RIGHT, RIGHT, "completed", **options)


ROWS = (
    refused("400", 400, litellm=True),
    hopeless("401", 401),
    hopeless("402", 402),
    hopeless("403", 403, litellm=True),
    hopeless("404", 404),
    retried("408", 408),
    outcome("413", "413", litellm=True),
    refused("418", 400),
    refused("422", 422),
    waited(behaviour={"retry_after": "none"}),
    waited(behaviour={"retry_after": "seconds"}, litellm=True),
    waited(behaviour={"retry_after": "ms"}),
    waited(behaviour={"retry_after": "date"}),
    waited(behaviour={"retry_after": "none", "ratelimit_headers": True}),
    outcome("451", "451", litellm=True),
    retried("500", 500, litellm=True),
    retried("502", 502),
    retried("503", 503),
    retried("504", 504),
    retried("520", 500),
    retried("529", 529, litellm=True),
    hopeless("insufficient_quota", 402, litellm=True),
    outcome("context_length_exceeded", "413", litellm=True),
    outcome("content_policy_violation", "451"),
    retried("hang", 408, litellm=True),
    retried("cut", 502, litellm=True),
    retried("cut_body", 502),
    retried("truncated", 502),
    retried("html", 502, litellm=True),
    retried("no_choices", 502, litellm=True),
    outcome("null", "stop", litellm=True),
    outcome("empty", "stop"),
    Row("content_filter", "right content_filter", "right content_filter", "completed", litellm=True),
    answered("no_usage"),
    answered("wrong_usage"),
    waited(fault="error_in_200", behaviour={"error_code": 429}, litellm=True),
    retried("error_in_200", 500, behaviour={"error_code": 500}),
    outcome("error_in_200", "413", behaviour={"error_code": "context_length_exceeded"}),
    answered("slow_body", behaviour={"slow_body_s": 0.05}, litellm=True),
    retried("slow_body", 408, behaviour={"slow_body_s": 30}),
)


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Generator[FaultyProvider]:
    """One process for the whole matrix."""
    answers = tmp_path_factory.mktemp("faults") / "answers.json"
    known = {prompt_sha([f"{number} + 1 ="]): f"target-{number + 1}" for number in range(300)}
    answers.write_text(json.dumps(known))
    command = [sys.executable, "-m", "dep_mcp.testing", "--behaviour", json.dumps({"answers": str(answers)})]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield FaultyProvider(json.loads(process.stdout.readline())["port"])
        process.terminate()


@dataclass
class Ended:
    """How an evaluation ended: the classes of its items, its report or its error, and what it cost in requests."""

    classes: Counter[str]
    report: ScoreReport | None
    error: str | None
    requests: int


class Bench:
    """Evaluations of one model on the toy benchmark.

    Args:
        store: Open.
        provider: Whose behaviour changes between them.
        kind: Of the adapter.
    """

    def __init__(self, store: Store, provider: FaultyProvider, kind: str) -> None:
        self.store, self.provider = store, provider
        self.calling: dict[str, Any] = {"policy": FAST}
        name, model = {"direct": ("openai_compatible", "faulty"), "litellm": ("litellm", "openai/faulty")}[kind]
        limits = Limits(concurrency=8, timeout_s=TIMEOUT_S)
        self.card = ModelCard(name="faulty", adapter=name, model=model, api_base=provider.api_base, limits=limits)
        self.adapter = (Direct if kind == "direct" else LiteLLM)(self.card, api_key="sk")
        self.orchestrator = Orchestrator(
            FakeRuntime(_session),
            store,
            owner="me",
            dead=lambda _owner: False,
            sign=partial(countersigned, key=SigningKey.mint()),
        )

    async def create(self) -> Evaluation:
        prepared = Prepared(
            benchmark=read_folder(toy_folder()), task=None, image=Image(tag="toy", digest="sha256:" + "0" * 64)
        )
        new = Generation(seed=next(NUMBERS))  # requests that the provider has not seen
        return await self.orchestrator.create(prepared, self.card, limit=ITEMS, seed=SEED, generation=new)

    async def run(self, evaluation: Evaluation, row: Row | None = None, **behaviour: Any) -> Ended:
        """Run it while the provider answers with a row's fault."""
        faults = {} if row is None else {row.fault: 1.0}
        normal = {"faults_in": (), "recover_after": None}
        await self.provider.behave(faults=faults, **normal | ({} if row is None else row.behaviour) | behaviour)
        before, report, error = await self.provider.counters(), None, None
        flow = Limiter(self.card.limits).flow()
        caller = Caller(adapter=self.adapter, flow=flow, timeout_s=TIMEOUT_S, **self.calling)
        async with await self.orchestrator.endpoint(evaluation, lambda _event, _text: None) as endpoint:
            runner = Runner(evaluation, endpoint=endpoint, journal=self.store, caller=caller, progress=Progress())
            try:
                report = await runner.run()
            except EvaluationPausedError:
                error = "paused 503"
            except ModelCallError as raised:
                error = f"ends {raised.status}"
        after = await self.provider.counters()
        classes = await self._classes(evaluation)
        requests = after["requests"] - before["requests"]
        return Ended(classes, report, error, requests)

    async def _classes(self, evaluation: Evaluation) -> Counter[str]:
        found: Counter[str] = Counter()
        async for page in self.store.journal(evaluation.evaluation_id):
            found.update(_class(record.submission.item_id, record.submission.answer) for record in page)
        return found


def _session() -> SealedSession:
    benchmark = load_benchmark(toy_folder())
    bundle = Bundle.build(benchmark.items(Draw()))
    return SealedSession(benchmark, digest=bundle.digest, bundle=bundle)


def _class(item_id: str, answer: object) -> str:
    if isinstance(answer, DeclaredFailure):
        return f"failed {answer.status}"
    assert isinstance(answer, TextAnswer)
    right = f"target-{int(item_id.removeprefix('toy-')) + 1}"
    what = {right: "right", "": "empty"}.get(answer.text, "WRONG")
    return what if (what, answer.finish_reason) == ("right", "stop") else f"{what} {answer.finish_reason}"


def _check_completed(ended: Ended, expected: str, share: int) -> None:
    """All items are accounted for, and only what the model itself left empty costs points."""
    assert ended.error is None
    assert ended.report is not None
    assert ended.classes == Counter({RIGHT: ITEMS - share}) + Counter({expected: share})
    failed = ended.classes[expected] if expected.startswith("failed") else 0
    empty = ended.classes[expected] if expected.startswith("empty") else 0
    counts, overall = ended.report.counts, ended.report.overall
    assert (counts.failed, counts.scored) == (failed, ITEMS - failed)
    assert overall.value == pytest.approx((ITEMS - failed - empty) / (ITEMS - failed))


async def _check_ended(bench: Bench, evaluation: Evaluation, ended: Ended, expected: str) -> None:
    """Nothing of the fault was recorded as an answer, and once the provider is well again all is answered right."""
    assert ended.error == expected
    assert all(name == RIGHT or name.startswith("failed") for name in ended.classes), ended.classes
    if expected not in ("ends 400", "ends 422"):
        assert set(ended.classes) <= {RIGHT}
    resumed = await bench.run(evaluation)
    assert resumed.classes == {RIGHT: ITEMS}
    assert resumed.report is not None
    assert (resumed.report.overall.value, resumed.report.counts.failed) == (1.0, 0)
    assert resumed.requests == ITEMS - ended.classes[RIGHT]


async def _evaluated(bench: Bench, row: Row, expected: str, share: int, **behaviour: Any) -> None:
    evaluation = await bench.create()
    chosen = {"faults_in": VICTIMS} if share < ITEMS else {}
    ended = await bench.run(evaluation, row, **chosen, **behaviour)
    assert "WRONG" not in str(ended.classes)
    if expected.startswith(("ends", "paused")):
        await _check_ended(bench, evaluation, ended, expected)
    else:
        _check_completed(ended, expected, share)
        if expected.startswith("empty"):
            assert ended.requests == ITEMS  # an outcome is never sent again


def _tried() -> list[Any]:
    return [
        pytest.param(kind, row, id=f"{kind}-{row.name}")
        for kind in ("direct", "litellm")
        for row in ROWS
        if kind == "direct" or row.litellm
    ]


@pytest.mark.parametrize(("kind", "row"), _tried())
async def test_every_fault_ends_in_its_class(
    tmp_path: Path, provider: FaultyProvider, monkeypatch: pytest.MonkeyPatch, kind: str, row: Row
) -> None:
    """Once for some items, for good for some, and for all calls; never as a wrong answer."""
    monkeypatch.setattr(caller, "RATE_LIMIT_PATIENCE_S", 0.15)
    async with Store.open(tmp_path / "store.sqlite") as store:
        bench = Bench(store, provider, kind)
        async with bench.adapter:
            await _evaluated(bench, row, row.once, len(VICTIMS), recover_after=1)
            await _evaluated(bench, row, row.always, len(VICTIMS))
            await _evaluated(bench, row, row.always if row.all == "completed" else row.all, ITEMS)


@pytest.mark.parametrize("row", [row for row in ROWS if row.fault == "429"], ids=lambda row: row.name)
async def test_a_limit_costs_no_attempt_however_it_is_told(tmp_path: Path, provider: FaultyProvider, row: Row) -> None:
    """More refusals than an item has attempts, in each dialect."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        bench = Bench(store, provider, "direct")
        async with bench.adapter:
            evaluation = await bench.create()
            ended = await bench.run(evaluation, row, faults_in=VICTIMS, recover_after=FAST.attempts + 2)
            _check_completed(ended, RIGHT, 0)
            assert ended.requests == ITEMS + len(VICTIMS) * (FAST.attempts + 2)
            attempts = {r.attempts async for page in store.journal(evaluation.evaluation_id) for r in page}
    assert attempts == {1}


async def test_litellm_loses_some_replies_with_wrong_counts_but_scores_none_wrong(
    tmp_path: Path, provider: FaultyProvider
) -> None:
    """The library can't read a reply whose counts are no numbers: its item is a failure, as the reply is malformed."""
    row = answered("wrong_usage")
    async with Store.open(tmp_path / "store.sqlite") as store:
        bench = Bench(store, provider, "litellm")
        async with bench.adapter:
            await _evaluated(bench, row, row.once, len(VICTIMS), recover_after=1)
            ended = await bench.run(await bench.create(), row, faults_in=VICTIMS)
    assert set(ended.classes) <= {RIGHT, "failed 502"}
    assert ended.classes.total() == ITEMS
    assert ended.report is not None
    assert ended.report.overall.value == 1.0


async def test_an_endpoint_that_only_hangs_pauses_before_attempts_run_out(
    tmp_path: Path, provider: FaultyProvider
) -> None:
    """Each call that hangs halves how many are sent at once: the attempts of five items could take an hour."""
    async with Store.open(tmp_path / "store.sqlite") as store:
        bench = Bench(store, provider, "direct")
        async with bench.adapter, asyncio.timeout(20):
            evaluation = await bench.create()
            bench.calling = {"policy": PATIENT, "breaker": Breaker(calls=20, seconds=0.5)}
            ended = await bench.run(evaluation, retried("hang", 408))
            assert 20 <= ended.requests <= 28
            await _check_ended(bench, evaluation, ended, "paused 503")


def test_the_matrix_is_full() -> None:
    """A fault that the provider learns needs a row here."""
    assert {row.fault for row in ROWS} >= FAULTS
    named = {400, 401, 402, 403, 404, 408, 413, 422, 429, 451, 500, 502, 503, 504, 529}
    assert {row.fault for row in ROWS} >= {str(status) for status in named}
