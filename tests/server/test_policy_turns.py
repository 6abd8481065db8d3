"""The store's turns and the server's policy together: whatever happens in whatever order, no more is told."""

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from dep_mcp.protocol import (
    Envelope,
    EvaluationState,
    Generation,
    ModelCard,
    Open,
    Policy,
    Quota,
    ScoreReport,
    Settings,
    Turn,
    new_evaluation_id,
    new_seed,
)
from dep_mcp.protocol.errors import QuotaError, TurnError, UsageError
from dep_mcp.receipts import SigningKey
from dep_mcp.results import Store
from tests.server.policy_oracle import SessionOracle

Value = TypeVar("Value")
ITEMS, WINDOW_H = 10, 3
RECEIPT = Envelope(
    payloadType="application/vnd.in-toto+json", payload="e30=", signatures=(SigningKey.mint().sign(b"{}"),)
)
POLICIES = st.builds(
    Policy,
    step=st.sampled_from([0.0, 0.2]),
    quota=st.sampled_from([
        None,
        Quota(scores=3),
        Quota(scores=4, reserved=2),
        Quota(scores=3, window_s=3600 * WINDOW_H, reserved=1),
    ]),
)  # fmt: skip


class Clock(datetime):
    """The store's clock, which a rule sets."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return cls.at.astimezone(tz)


@dataclass
class One:
    """An evaluation, as it should be."""

    evaluation_id: str
    settings: Settings
    right: int
    state: EvaluationState = EvaluationState.RUNNING
    opening: Open | None = None
    """With which it was admitted, until it fails."""
    told: str | None = None
    """The score, as the first container gave it, byte for byte."""


def chosen(identity: str, epochs: int, *, final: bool) -> Settings:
    return Settings(
        benchmark="binary",
        benchmark_version="1",
        task=None,
        limit=None,
        epochs=epochs,
        image_tag="binary:1",
        image_digest="sha256:" + "0" * 64,
        memory_mb=256,
        cpus=1.0,
        publish_seed=True,
        identity=identity,
        final=final,
        model=ModelCard(name="m", adapter="replay", model="m"),
        generation=Generation(),
        package_version="0",
        protocol="0.2",
    )


class Turns(RuleBasedStateMachine):
    """Two identities whose evaluations start, pause, fail, lose containers, go on and end; and time passes."""

    evaluations = Bundle("evaluations")

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("dep_mcp.results.store.datetime", Clock)
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.store = self.do(self.stack.enter_async_context(Store.open(Path(folder) / "store.sqlite")))
        self.all: list[One] = []

    def do(self, work: Coroutine[Any, Any, Value]) -> Value:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.do(self.stack.aclose())
        self.do(self.loop.shutdown_default_executor())
        self.loop.close()
        self.patch.undo()

    @initialize(policy=POLICIES)
    def declare(self, policy: Policy) -> None:
        self.policy = policy
        self.oracle = SessionOracle("01" * (ITEMS // 2), policy)

    def _become(self, one: One, state: EvaluationState, cause: str) -> None:
        self.do(self.store.transition(one.evaluation_id, state, cause))
        one.state = state

    def _open(self, one: One) -> None:
        """As the orchestrator does: take the turn, start a container, open it; a refusal fails the evaluation."""
        turn, earlier = self.do(self.store.take_turn(one.evaluation_id, one.settings))
        opening = Open(
            evaluation_id=one.evaluation_id, seed="5eed" * 8, epochs=one.settings.epochs, turn=turn, earlier=earlier
        )
        due = self._full(turn) or bool(self.policy.step and self._open_ones(one.settings.identity, one))
        refused = None
        try:
            self.oracle._session().open(opening)
        except (QuotaError, TurnError) as error:
            refused = error.code
        assert (refused is not None) == due
        if refused is not None:
            assert one.opening is None, "what was admitted stays admitted"
            self._become(one, EvaluationState.FAILED, refused)
            return
        assert one.opening is None or one.opening.turn == turn
        one.opening = opening

    def _full(self, turn: Turn) -> bool:
        """Whether one more would be one too many."""
        within, quota = self._within(turn), self.policy.quota
        if quota is None:
            return False
        trials = sum(other.epochs for other in within if not other.final) + turn.epochs
        everything = sum(other.epochs for other in within) + turn.epochs
        return everything > quota.scores or (not turn.final and trials > quota.scores - quota.reserved)

    def _told(self, one: One) -> ScoreReport:
        """Of a container of its own, which is told everything again; it must say what the first one said."""
        assert one.opening is not None
        answers = {number: "01"[(number + (number >= one.right)) % 2] for number in range(ITEMS)}
        report = self.oracle._evaluate(one.opening, lambda _numbers: answers).report
        one.told = one.told or report.model_dump_json()
        assert report.model_dump_json() == one.told
        return report

    @rule(
        target=evaluations,
        identity=st.sampled_from("aab"),
        epochs=st.sampled_from([1, 1, 2]),
        final=st.booleans(),
        right=st.integers(0, ITEMS),
        whole=st.booleans(),
    )
    def start(self, identity: str, epochs: int, right: int, *, final: bool, whole: bool) -> One:
        one = One(new_evaluation_id(), chosen(identity, epochs, final=final), right)
        self.do(self.store.create(one.evaluation_id, one.settings, new_seed()))
        self.all.append(one)
        self._open(one)
        if whole:
            self.score(one)
        return one

    @rule(one=evaluations)
    def replace_the_container(self, one: One) -> None:
        if one.state is EvaluationState.RUNNING:
            self._told(one)

    @rule(one=evaluations)
    def pause(self, one: One) -> None:
        if one.state is EvaluationState.RUNNING:
            self._become(one, EvaluationState.PAUSED, "paused")

    @rule(one=evaluations)
    def cancel(self, one: One) -> None:
        if one.state in (EvaluationState.RUNNING, EvaluationState.PAUSED):
            self._become(one, EvaluationState.FAILED, "cancelled")
            one.opening = one.told = None  # what its containers said was released to nobody

    @rule(one=evaluations, hours=st.sampled_from([0, 1, WINDOW_H]))
    def resume(self, one: One, hours: float) -> None:
        self.wait(hours)
        if one.state in (EvaluationState.PAUSED, EvaluationState.FAILED):
            self._become(one, EvaluationState.RUNNING, "resumed")
            self._open(one)

    @rule(one=evaluations)
    def score(self, one: One) -> None:
        if one.state is EvaluationState.RUNNING:
            report, best = self._told(one), self._best(one)
            self.do(self.store.complete(one.evaluation_id, report, RECEIPT))
            one.state = EvaluationState.COMPLETED
            assert not self.policy.step or report.ranked >= best

    def _best(self, one: One) -> float:
        reports = (self.do(self.store.report(other.evaluation_id)) for other in self._of(one.settings.identity))
        return max((report.ranked for report in reports if report), default=0.0)

    @rule(one=evaluations, state=st.sampled_from(list(EvaluationState)))
    def roll_again(self, one: One, state: EvaluationState) -> None:
        """A score that is out stays as it is, and its turn is never freed."""
        if one.state is EvaluationState.COMPLETED and state is not one.state:
            with pytest.raises(UsageError):
                self.do(self.store.transition(one.evaluation_id, state, "again"))
            report = self.do(self.store.report(one.evaluation_id))
            assert report is not None
            assert report.model_dump_json() == one.told

    @rule(hours=st.sampled_from([0.5, 1, WINDOW_H]))
    def wait(self, hours: float) -> None:
        Clock.at += timedelta(hours=hours)

    def _of(self, identity: str | None) -> list[One]:
        """Those that were scored or may yet be."""
        return [one for one in self.all if one.settings.identity == identity and one.opening is not None]

    def _open_ones(self, identity: str | None, but: One | None = None) -> int:
        return sum(one.state is not EvaluationState.COMPLETED and one is not but for one in self._of(identity))

    def _within(self, last: Turn) -> list[Turn]:
        """The turns of its identity in the window that ends with a turn, which isn't among them."""
        ((identity,),) = [{one.settings.identity for one in self.all if one.evaluation_id == last.evaluation_id}]
        turns = [one.opening.turn for one in self._of(identity) if one.opening and one.opening.turn]
        window = timedelta.max if self.policy.quota is None else timedelta(seconds=self.policy.quota.window_s or 1e9)
        return [turn for turn in turns if turn != last and timedelta() <= last.at - turn.at < window]

    @invariant()
    def no_window_holds_more_than_the_quota(self) -> None:
        """Those that may yet be scored too."""
        for identity in "ab" if self.all and self.policy.quota else "":
            for one in self._of(identity):
                assert one.opening is not None
                assert one.opening.turn is not None
                assert not self._full(one.opening.turn)

    @invariant()
    def where_scores_are_rounded_one_is_open(self) -> None:
        for identity in "ab" if self.all and self.policy.step else "":
            assert self._open_ones(identity) <= 1


TestTurns = Turns.TestCase
TestTurns.settings = settings(max_examples=settings().max_examples // 2, stateful_step_count=30)
