"""An endpoint that outlives its containers, and says so when it can't any more."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from dep_mcp.client import OperatorClient, SubjectClient
from dep_mcp.containers import Container, ContainerSpec
from dep_mcp.orchestrator import SealedEndpoint, endpoint
from dep_mcp.protocol import ItemPage, Open, Opened, ScoreState, Submission, TextAnswer, new_evaluation_id
from dep_mcp.protocol.errors import (
    ContainerLostError,
    DepError,
    EngineError,
    ReceiptError,
    StoreError,
    UnknownNameError,
)
from dep_mcp.server.benchmark import Draw
from dep_mcp.server.bundle import Bundle
from dep_mcp.server.loading import load_benchmark
from dep_mcp.server.session import SealedSession
from dep_mcp.testing import FakeContainer, FakeRuntime, toy_folder

SPEC = ContainerSpec(image="none", labels={})


def toy_session() -> SealedSession:
    benchmark = load_benchmark(toy_folder())
    bundle = Bundle.build(benchmark.items(Draw()))
    return SealedSession(benchmark, digest=bundle.digest, bundle=bundle)


def answer(number: int) -> Submission:
    return Submission(item_id=f"toy-{number}", answer=TextAnswer(text=f"target-{number + 1}"))


def numbers(page: ItemPage) -> list[int]:
    return [int(item.item_id.removeprefix("toy-")) for item in page.items]


@dataclass
class Kept:
    """A journal in memory."""

    answers: list[Submission] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    refuse_from: int = 100

    async def fix_items(self, opened: Opened) -> None:
        self.opened.append(opened)
        if len(self.opened) >= self.refuse_from:
            msg = "other items"
            raise StoreError(msg)

    async def submissions(self) -> AsyncIterator[tuple[Submission, ...]]:
        for start in range(0, len(self.answers), 100):
            yield tuple(self.answers[start : start + 100])


class Mortal(FakeRuntime):
    """Its containers die as soon as they are started, where `dies` says so of their number."""

    def __init__(self, dies: Callable[[int], bool]) -> None:
        super().__init__(toy_session)
        self._dies = dies

    @asynccontextmanager
    async def start(self, spec: ContainerSpec) -> AsyncGenerator[Container]:
        async with super().start(spec) as container:
            if self._dies(len(self.containers) - 1):
                self.containers[-1].kill()
            yield container


def endpoint_of(
    runtime: FakeRuntime, journal: Kept | None = None, events: list[str] | None = None, **opening: object
) -> SealedEndpoint:
    request = {"evaluation_id": new_evaluation_id(), "seed": "5eed" * 8} | opening
    told = events if events is not None else []
    return SealedEndpoint(
        runtime, SPEC, Open.model_validate(request), journal or Kept(), lambda event, _text: told.append(event)
    )


async def test_calls_go_to_the_container() -> None:
    """All four, and what was fixed is known."""
    journal = Kept()
    async with asyncio.timeout(20), endpoint_of(FakeRuntime(toy_session), journal, limit=2) as sealed:
        assert sealed.opened == journal.opened[0]
        assert (await sealed.describe()).benchmark == "toy"
        items = await sealed.get_items()
        assert (await sealed.submit(tuple(answer(number) for number in numbers(items)))).accepted == 2
        assert (await sealed.score()).state is ScoreState.SCORED


async def test_a_container_that_dies_at_start_is_an_error_with_its_last_words() -> None:
    """What it said on standard error is usually the reason; another start would end alike."""
    runtime, events = Mortal(lambda _number: True), list[str]()
    with pytest.raises(ContainerLostError) as error:
        async with asyncio.timeout(20), endpoint_of(runtime, events=events):
            pass
    assert "killed by the test" in error.value.detail
    assert "137" in error.value.detail
    assert len(runtime.containers) == 1
    assert events == ["container_started", "container_lost"]


async def test_an_engine_that_is_gone_is_the_error() -> None:
    """Not the container that it took along: the message must say what to do about it."""

    class Gone(Mortal):
        async def ping(self) -> str:
            msg = "no container engine answers"
            raise EngineError(msg)

    with pytest.raises(EngineError, match="no container engine answers"):
        async with asyncio.timeout(20), endpoint_of(Gone(lambda _number: True)):
            pass


async def test_a_lost_container_is_replaced_and_the_answers_replayed() -> None:
    """The caller sees nothing but a delay."""
    runtime, journal, events = FakeRuntime(toy_session), Kept([answer(n) for n in range(150)]), list[str]()
    async with asyncio.timeout(20), endpoint_of(runtime, journal, events) as sealed:
        first = await sealed.get_items()
        runtime.containers[-1].kill()
        assert await sealed.get_items() == first
        assert (await sealed.score()).missing == 150
        assert sealed.container_id == "fake-1"
    assert events == ["container_started", "container_ready", "container_lost", "container_replaced", "container_ready"]
    first_key, second_key = (opened.public_key for opened in journal.opened)
    assert first_key != second_key, "a key never leaves its container"
    assert journal.opened[0] == journal.opened[1].model_copy(update={"public_key": first_key})


async def test_the_first_score_stands() -> None:
    """A replaced container signs with another key at another time: what was given once isn't given twice otherwise."""
    runtime, journal = FakeRuntime(toy_session), Kept([answer(n) for n in range(300)])
    async with asyncio.timeout(20), endpoint_of(runtime, journal) as sealed:
        await sealed.submit(tuple(journal.answers[:100]))
        await sealed.submit(tuple(journal.answers[100:200]))
        await sealed.submit(tuple(journal.answers[200:]))
        first = await sealed.score()
        runtime.containers[-1].kill()
        second = await sealed.score()
        assert sealed.scored is not None
    assert first.receipt is not None
    assert first == second
    assert sealed.scored.opened.public_key == journal.opened[0].public_key != journal.opened[1].public_key
    assert sealed.scored.image == SPEC.image


@pytest.mark.parametrize("change", [{"items": ()}, {"total": 301}])
async def test_a_page_of_other_items_than_were_opened_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """A hostile benchmark would hand out pages without end, each of them paid for."""
    well = SubjectClient.get_items

    async def get_items(client: SubjectClient, cursor: str | None = None) -> ItemPage:
        return (await well(client, cursor)).model_copy(update=change)

    monkeypatch.setattr(SubjectClient, "get_items", get_items)
    async with asyncio.timeout(20), endpoint_of(FakeRuntime(toy_session)) as sealed:
        with pytest.raises(DepError) as error:
            await sealed.get_items()
    assert error.value.code == "internal"


@pytest.mark.parametrize("change", [{"items": 3}, {"epochs": 2}])
async def test_a_benchmark_that_opens_more_than_was_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """Who says `--limit 2` doesn't pay for three."""
    well = OperatorClient.open

    async def open_(client: OperatorClient, opening: Open) -> Opened:
        return (await well(client, opening)).model_copy(update=change)

    monkeypatch.setattr(OperatorClient, "open", open_)
    with pytest.raises(DepError) as error:
        async with asyncio.timeout(20), endpoint_of(FakeRuntime(toy_session), limit=2):
            pass
    assert error.value.code == "internal"


async def test_a_score_without_a_receipt_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that was built without one says what it likes."""
    monkeypatch.setattr(SealedSession, "_receipt", lambda *_: None)
    async with asyncio.timeout(20), endpoint_of(FakeRuntime(toy_session), limit=1) as sealed:
        await sealed.submit(tuple(answer(number) for number in numbers(await sealed.get_items())))
        with pytest.raises(ReceiptError, match="without a receipt"):
            await sealed.score()


async def test_a_replaced_container_cannot_score_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scorer that isn't reproducible would have its better day."""
    runtime, journal, report = FakeRuntime(toy_session), Kept(), SealedSession._report
    async with asyncio.timeout(20), endpoint_of(runtime, journal, limit=1) as sealed:
        journal.answers = [answer(number) for number in numbers(await sealed.get_items())]
        await sealed.submit(tuple(journal.answers))
        first = (await sealed.score()).report
        monkeypatch.setattr(
            SealedSession, "_report", lambda *of: report(*of).model_copy(update={"ranked": 0.0, "upper": 0.0})
        )
        runtime.containers[-1].kill()
        with pytest.raises(ReceiptError, match="first score stands"):
            await sealed.score()
        assert sealed.scored is not None
        assert sealed.scored.report == first


async def test_many_calls_that_find_it_gone_cause_one_replacement() -> None:
    """Each of a hundred workers would otherwise start a container."""
    runtime = FakeRuntime(toy_session)
    async with asyncio.timeout(20), endpoint_of(runtime) as sealed:
        runtime.containers[-1].kill()
        pages = await asyncio.gather(*(sealed.get_items() for _ in range(20)))
    assert len({page.model_dump_json() for page in pages}) == 1
    assert len(runtime.containers) == 2


async def test_containers_that_die_again_and_again_are_given_up() -> None:
    """A bug or a want of memory comes back: after three replacements the evaluation stops."""
    runtime = FakeRuntime(toy_session)
    async with asyncio.timeout(20), endpoint_of(runtime) as sealed:
        for _ in range(endpoint.MOST_REPLACEMENTS):
            runtime.containers[-1].kill()
            await sealed.get_items()
        runtime.containers[-1].kill()
        with pytest.raises(ContainerLostError) as error:
            await sealed.get_items()
        with pytest.raises(ContainerLostError):
            await sealed.score()
    assert "killed by the test" in error.value.detail
    assert len(runtime.containers) == endpoint.MOST_REPLACEMENTS + 1


async def test_replacements_that_die_at_start_are_given_up() -> None:
    """As above; every caller that waits is told."""
    runtime = Mortal(lambda number: number > 0)
    async with asyncio.timeout(20), endpoint_of(runtime) as sealed:
        runtime.containers[-1].kill()
        done = await asyncio.gather(*(sealed.get_items() for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in done] == [ContainerLostError] * 3
    assert len(runtime.containers) == endpoint.MOST_REPLACEMENTS + 1


async def test_a_replacement_with_other_items_ends_the_evaluation() -> None:
    """The benchmark isn't reproducible: its score would be of two tests."""
    runtime = FakeRuntime(toy_session)
    async with asyncio.timeout(20), endpoint_of(runtime, Kept(refuse_from=2)) as sealed:
        runtime.containers[-1].kill()
        with pytest.raises(StoreError):
            await sealed.get_items()
    assert len(runtime.containers) == 2


async def test_a_benchmark_that_refuses_to_open_is_not_started_again() -> None:
    """The error is the benchmark's own, by its code."""
    runtime = FakeRuntime(toy_session)
    with pytest.raises(UnknownNameError):
        async with asyncio.timeout(20), endpoint_of(runtime, task="prime"):
            pass
    assert len(runtime.containers) == 1


class Garbling(FakeContainer):
    """Sends what can't be read once it is told to, as an attached container whose line is over the limit."""

    def __init__(self, number: int, image: str) -> None:
        super().__init__(number, image)
        self.garble = asyncio.Event()

    async def lines(self) -> AsyncIterator[bytes]:
        lines = super().lines()
        reading = asyncio.ensure_future(anext(lines))
        garbling = asyncio.create_task(self.garble.wait())
        try:
            while True:
                await asyncio.wait([reading, garbling], return_when=asyncio.FIRST_COMPLETED)
                if garbling.done():
                    msg = "sent what can't be read"
                    raise ContainerLostError(msg)
                try:
                    yield reading.result()
                except StopAsyncIteration:
                    return
                reading = asyncio.ensure_future(anext(lines))
        finally:
            reading.cancel()
            garbling.cancel()
            await asyncio.wait([reading, garbling])


@pytest.mark.parametrize(("in_flight", "wait_for"), [(0, 1), (0, 2), (3, 1)])
async def test_a_container_whose_output_cannot_be_read_is_replaced(
    monkeypatch: pytest.MonkeyPatch, in_flight: int, wait_for: int
) -> None:
    """Whether a call finds it or nobody does: its connection ends by an error of its own."""
    monkeypatch.setattr("dep_mcp.testing.fake_runtime.FakeContainer", Garbling)
    runtime, journal, events = FakeRuntime(toy_session), Kept(), list[str]()
    async with asyncio.timeout(20), endpoint_of(runtime, journal, events) as sealed:
        first = await sealed.get_items()
        calls = [asyncio.create_task(sealed.get_items()) for _ in range(in_flight)]
        garbling = runtime.containers[-1]
        assert isinstance(garbling, Garbling)
        garbling.garble.set()
        assert await asyncio.gather(*calls) == [first] * in_flight
        while len(journal.opened) < wait_for:  # 2: the replacement is there before any call asks for it
            await asyncio.sleep(0)
        assert await sealed.get_items() == first
    assert events == ["container_started", "container_ready", "container_lost", "container_replaced", "container_ready"]


async def test_a_container_that_says_nothing_at_start_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait is bounded."""

    class Mute(FakeContainer):
        async def write(self, data: bytes) -> None:
            self.written.append(data)

    monkeypatch.setattr("dep_mcp.testing.fake_runtime.FakeContainer", Mute)
    monkeypatch.setattr(endpoint, "START_TIMEOUT_S", 0.05)
    runtime = FakeRuntime(toy_session)
    with pytest.raises(ContainerLostError) as error:
        async with asyncio.timeout(20), endpoint_of(runtime):
            pass
    assert "no exit status" in error.value.detail
    assert runtime.containers[0].task is not None
    assert runtime.containers[0].task.done()


async def test_leaving_the_block_removes_the_container() -> None:
    """Also when the block fails."""
    runtime = FakeRuntime(toy_session)
    with pytest.raises(KeyError):
        async with asyncio.timeout(20), endpoint_of(runtime):
            raise KeyError
    assert runtime.containers[0].task is not None
    assert runtime.containers[0].task.done()
