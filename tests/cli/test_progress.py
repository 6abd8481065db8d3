"""What people see while evaluations run."""

from pathlib import Path

import pytest
from rich.console import Console

from dep_mcp.cli.meter import Meter, Snapshot
from dep_mcp.cli.plan import Plan
from dep_mcp.cli.progress import plain, view
from dep_mcp.models import Limiter
from dep_mcp.protocol import Limits
from dep_mcp.protocol.errors import UsageError
from dep_mcp.runner import Progress

BUSY = Snapshot(
    title="openai/gpt-4o-mini on gsm8k",
    total=1319,
    done=403,
    failed=2,
    in_flight=37,
    size=64,
    rate_per_s=98.4,
    rate_limited=12,
    faults={429: 12, 500: 3},
    items_per_s=41.2,
    tokens_per_s=12345,
    cost_usd=0.1234,
)
SAYS = (
    "37 in flight of 64",
    "98.4/s",
    "41.2 items/s",
    "12,345 tokens/s",
    "2 failed",
    "12 x 429",
    "3 x 500",
    "0.1234 USD",
)


@pytest.mark.parametrize("width", [60, 80, 140])
def test_nothing_is_cut_off_however_narrow_the_terminal(width: int) -> None:
    """What refuses and what it costs matter most when something is wrong."""
    console = Console(width=width, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(view([BUSY, Snapshot(title="another")]))
    text = " ".join(capture.get().split())
    for said in (*SAYS, "403/1319", "0:22 left", "starting the container", "2 evaluations"):
        assert said in text


def test_a_plain_line_says_the_same() -> None:
    """In a log of a job."""
    for said in (*SAYS, "403 of 1319", "0:22 left"):
        assert said in plain(BUSY)


def test_a_wait_that_the_provider_asked_for_is_said() -> None:
    """Nothing in flight for an hour looks like a hang otherwise; but calls that still go out say more."""
    waiting = BUSY.model_copy(update={"in_flight": 0, "told_wait_s": 3541.0})
    assert "all wait 59:01, as the provider asked" in plain(waiting)
    for other in ({"in_flight": 1}, {"told_wait_s": 0.5}):
        assert "provider asked" not in plain(waiting.model_copy(update=other))


def test_a_meter_measures_and_what_it_publishes_reads_back() -> None:
    """`watch` shows the numbers of another process."""
    progress = Progress(
        total=10, answered=4, failed=1, prompt_tokens=40, completion_tokens=8, faults={429: 2}, unpriced=5
    )
    snapshot = Meter("t", progress, Limiter(Limits(concurrency=3)).flow()).now()
    assert (snapshot.done, snapshot.size, snapshot.rate_limited, snapshot.cost_usd) == (5, 3, 2, None)
    assert Snapshot.read(snapshot.model_dump_json(), "t") == snapshot
    assert Snapshot.read(None, "t") == Snapshot(title="t")


def test_a_plan_names_file_and_field_that_are_wrong(tmp_path: Path) -> None:
    """Closed: a misspelt field isn't ignored; flags win."""
    path = tmp_path / "plan.yaml"
    path.write_text("benchmarks: [b]\nmodels: [m]\nlimit: 5\nepoch: 2\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"plan\.yaml: epoch: "):
        Plan.read(path, {})
    path.write_text("benchmarks: [b]\nmodels: [m]\nlimit: 5\n", encoding="utf-8")
    assert Plan.read(path, {"limit": 7, "models": []}).limit == 7
    path.write_text("- b", encoding="utf-8")
    with pytest.raises(UsageError, match="mapping"):
        Plan.read(path, {})
    with pytest.raises(UsageError) as error:
        Plan.read(None, {"models": ["m"]})
    assert error.value.detail == "--benchmark: is missing"
    plan = Plan.read(None, {"benchmarks": ["b"], "models": ["m"], "limit": None, "data": ()})
    assert (plan.limit, plan.epochs, plan.parallel) == (None, 1, 4)
