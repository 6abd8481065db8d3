"""The bundle: items and targets by number, in an order that depends on data and seed alone."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import MESSAGE_BYTES, Item
from dep_mcp.protocol.errors import DataError
from dep_mcp.server import SealedItem
from dep_mcp.server.bundle import Bundle

SEED = "5eed" * 8


def items(**parts: int) -> Iterator[SealedItem]:
    for part, count in parts.items():
        for number in range(count):
            yield SealedItem(f"{part}-{number}", f"question {number}", {"is": [number]}, subtask=part)


def test_what_was_built_is_loaded_again(tmp_path: Path) -> None:
    """The image is built on one day and serves on another."""
    built = Bundle.build(items(a=3, b=2), tmp_path / "bundle.sqlite")
    loaded = Bundle.load(tmp_path / "bundle.sqlite")
    assert loaded.digest == built.digest
    assert loaded.subtasks == ["a", "a", "a", "b", "b"]
    assert loaded.item(4) == Item.model_validate_json(loaded.item_json(4))
    assert loaded.item(4).item_id == "b-1"
    assert loaded.target(4) == {"is": [1]}
    assert (loaded.number_of("b-1"), loaded.number_of("c-1")) == (4, None)


def test_a_loaded_bundle_is_read_only(tmp_path: Path) -> None:
    """The container's file system is too, and SQLite must not ask for a lock file beside it."""
    Bundle.build(items(a=1), tmp_path / "bundle.sqlite")
    bundle = Bundle.load(tmp_path / "bundle.sqlite")
    with pytest.raises(sqlite3.OperationalError):
        bundle._db.execute("DELETE FROM items")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle.sqlite"]


def test_an_id_twice_is_refused_when_the_image_is_built() -> None:
    """Two items under one id would share a slot, and the score would be over fewer items than it says."""
    with pytest.raises(DataError) as refused:
        Bundle.build([SealedItem("same", "a", "target-1"), SealedItem("same", "b", "target-2")])
    assert "'same'" in refused.value.detail
    assert "target-" not in refused.value.detail


def test_an_item_that_fits_into_no_message_is_refused_when_the_image_is_built() -> None:
    """Not when a model is waiting for it."""
    with pytest.raises(DataError) as refused:
        Bundle.build([SealedItem("long", "x" * MESSAGE_BYTES, "target-1")])
    assert "'long'" in refused.value.detail
    assert "target-" not in refused.value.detail


def test_no_items_are_refused() -> None:
    """A benchmark without items would score nothing and look as if it had."""
    with pytest.raises(DataError):
        Bundle.build([])


def test_the_digest_tells_prompts_and_order_apart_and_no_target() -> None:
    """It stands for the data in every report; of few possible targets, whoever knows the items could try all."""
    one, two = SealedItem("a", "q", "t"), SealedItem("b", "q", "t")
    digests = [Bundle.build(data).digest for data in ([one, two], [two, one], [one], [SealedItem("a", "p", "t"), two])]
    assert len(set(digests)) == 4
    assert Bundle.build([SealedItem("a", "q", "x"), two]).digest == digests[0]


def test_the_order_is_a_matter_of_digest_and_seed_alone(tmp_path: Path) -> None:
    """A container that replaces a lost one must give the same pages."""
    built = Bundle.build(items(a=20, b=20), tmp_path / "bundle.sqlite")
    order = built.draw(SEED, task=None, limit=None)
    assert Bundle.load(tmp_path / "bundle.sqlite").draw(SEED, task=None, limit=None) == order
    assert Bundle.build(items(a=20, b=20)).draw(SEED, task=None, limit=None) == order
    assert built.draw("0" * 32, task=None, limit=None) != order
    assert sorted(order) == list(range(40))


@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 12), min_size=1), st.integers(0, 2**128 - 1))
def test_any_prefix_of_the_order_is_balanced_over_the_sub_tasks(parts: dict[str, int], seed: int) -> None:
    """`--limit` and an interrupted run use a prefix: no part may be over-represented while another has items left."""
    bundle = Bundle.build(items(**parts))
    order = bundle.draw(f"{seed:032x}", task=None, limit=None)
    seen: Counter[str | None] = Counter()
    for number in order:
        seen[bundle.subtasks[number]] += 1
        most = max(seen.values())
        assert all(seen[part] >= min(most - 1, count) for part, count in parts.items())
    assert seen == parts


@pytest.mark.parametrize("limit", [1, 7, 40, 1000])
def test_a_limit_takes_a_prefix_of_the_whole_order(limit: int) -> None:
    """So that a longer run asks the same questions and some more."""
    bundle = Bundle.build(items(a=20, b=20))
    assert bundle.draw(SEED, task=None, limit=limit) == bundle.draw(SEED, task=None, limit=None)[:limit]


def test_a_task_takes_its_own_items_only() -> None:
    """`benchmark:task`."""
    bundle = Bundle.build(items(a=5, b=5))
    assert sorted(bundle.draw(SEED, task="b", limit=None)) == [5, 6, 7, 8, 9]


def test_a_sealed_item_never_shows_its_target() -> None:
    """Not in a log, not in a traceback."""
    assert "target-1" not in repr(SealedItem("a", "q", "target-1"))
