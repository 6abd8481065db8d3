"""The catalogue: benchmarks by name or folder, their data by digest; their code is never run here."""

import hashlib
import os
from pathlib import Path

import pytest

from dep_mcp.orchestrator import BenchmarkFolder, Catalogue, find_data
from dep_mcp.orchestrator.catalogue import build_spec, read_folder
from dep_mcp.protocol.errors import CardError, DataError, UnknownNameError
from dep_mcp.testing import toy_folder

CARD = "name: mine\nversion: '1'\ntitle: t\ndescription: d\nlicense: x\nsource: s\n"
CONTENT = b'{"question": 1}\n'
DIGEST = hashlib.sha256(CONTENT).hexdigest()
DATA = f"data: [{{name: test.jsonl, sha256: {DIGEST}}}]\n"
TOYS = toy_folder().parents[1]


def folder(root: Path, name: str = "mine", card: str = CARD) -> Path:
    path = root / "benchmark_servers" / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "dataset_card.yaml").write_text(card, encoding="utf-8")
    (path / "benchmark.py").write_text(
        "raise SystemExit('the code of a benchmark was run on the host')\n", encoding="utf-8"
    )
    return path


# -- by name


def test_bundled_benchmarks_and_those_of_a_folder_are_found(tmp_path: Path) -> None:
    """A user's folder works exactly as a bundled one, and only its card is read."""
    found = Catalogue([TOYS, (folder(tmp_path), tmp_path)[1]]).benchmarks()
    assert {"gsm8k", "reasoning_gym", "toy", "toy_choice", "mine"} <= found.keys()


def test_a_name_may_have_a_task() -> None:
    """`benchmark:task`."""
    benchmark, task = Catalogue([]).resolve("reasoning_gym:chain_sum")
    assert (benchmark.card.name, task, benchmark.by_path) == ("reasoning_gym", "chain_sum", False)
    assert Catalogue([]).resolve("gsm8k")[1] is None
    assert Catalogue([]).resolve("gsm8k:")[1] is None


@pytest.mark.parametrize(("name", "near"), [("gsm8", "gsm8k"), ("reasoning-gym", "reasoning_gym"), ("", "gsm8k")])
def test_an_unknown_name_is_told_with_the_nearest(name: str, near: str) -> None:
    """A typing error costs seconds."""
    with pytest.raises(UnknownNameError) as error:
        Catalogue([]).resolve(name)
    assert near in error.value.detail


def test_the_users_benchmark_wins_over_the_bundled(tmp_path: Path) -> None:
    """As with model cards."""
    path = folder(tmp_path, "gsm8k", CARD.replace("mine", "gsm8k"))
    assert Catalogue([tmp_path]).resolve("gsm8k")[0].folder == path


# -- by folder


def test_a_folder_is_named_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absolute or not; resume finds it from anywhere, so the absolute path is kept."""
    path = folder(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in (str(path), "./benchmark_servers/mine", "benchmark_servers/mine/"):
        benchmark, task = Catalogue([]).resolve(name)
        assert (benchmark.folder, benchmark.by_path, task) == (path, True, None)
    monkeypatch.chdir(path)
    assert Catalogue([]).resolve(".:part")[0].folder == path
    assert Catalogue([]).resolve(".:part")[1] == "part"


def test_a_path_to_no_benchmark_is_told(tmp_path: Path) -> None:
    """By the path."""
    with pytest.raises(UnknownNameError) as error:
        Catalogue([]).resolve(str(tmp_path))
    assert str(tmp_path) in error.value.detail


# -- cards


@pytest.mark.parametrize(
    ("card", "field"),
    [
        (CARD + "policy: {disclosure: everything}\n", "disclosure"),
        (CARD + "resources: {memory_mb: 1}\n", "resources.memory_mb"),
        (CARD + "data: [{name: ../x, sha256: abc}]\n", "data.0.sha256"),
        (CARD.replace("title: t\n", ""), "title"),
        ("", "card"),
        ("name: [\n", "line 2"),
        (CARD + "released: 2024-13-45\n", "month"),
    ],
)
def test_a_broken_card_names_its_file_and_field(tmp_path: Path, card: str, field: str) -> None:
    """Whoever wrote it can mend it without reading our code."""
    path = folder(tmp_path, card=card)
    with pytest.raises(CardError) as error:
        Catalogue([tmp_path]).resolve("mine")
    assert str(path / "dataset_card.yaml") in error.value.detail
    assert field in error.value.detail


def test_a_folder_without_code_is_told(tmp_path: Path) -> None:
    """Before an image is built from it."""
    path = folder(tmp_path)
    (path / "benchmark.py").unlink()
    with pytest.raises(CardError) as error:
        read_folder(path)
    assert "benchmark.py" in error.value.detail


def test_a_folder_without_a_card_is_told(tmp_path: Path) -> None:
    """By the card's path."""
    with pytest.raises(CardError):
        read_folder(tmp_path)


# -- data


def with_data(tmp_path: Path) -> BenchmarkFolder:
    return read_folder(folder(tmp_path, card=CARD + DATA))


@pytest.mark.parametrize("place", ["the file", "its folder", "the benchmark's folder"])
def test_a_data_file_is_found_where_it_may_lie(tmp_path: Path, place: str) -> None:
    """Given by path or by folder, or beside the card."""
    benchmark = with_data(tmp_path)
    path = (benchmark.folder if place == "the benchmark's folder" else tmp_path) / "data" / "test.jsonl"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    places = {"the file": [path], "its folder": [path.parent], "the benchmark's folder": []}[place]
    assert find_data(benchmark, places) == {"test.jsonl": path}


def test_missing_data_is_told_by_name(tmp_path: Path) -> None:
    """And how to give it."""
    with pytest.raises(DataError) as error:
        find_data(with_data(tmp_path), [tmp_path])
    assert "test.jsonl" in error.value.detail
    assert "--data" in error.value.detail


def test_data_that_is_not_what_the_card_pins_is_refused(tmp_path: Path) -> None:
    """A changed file would score another benchmark under the same name."""
    path = tmp_path / "test.jsonl"
    path.write_bytes(CONTENT + b"\n")
    with pytest.raises(DataError) as error:
        find_data(with_data(tmp_path), [path])
    assert DIGEST in error.value.detail
    assert str(path) in error.value.detail


def test_a_benchmark_without_data_needs_none() -> None:
    """It generates its items."""
    assert find_data(read_folder(toy_folder()), []) == {}


# -- what an image is built from


def test_an_image_holds_the_sealed_rooms_and_nothing_of_the_host(tmp_path: Path) -> None:
    """No runner, no adapter and no key can be in it; and a benchmark's tests and caches don't change its content."""
    path = folder(tmp_path)
    for name in ("tests/test_it.py", "__pycache__/x.pyc", "data/other.jsonl", "bundle.sqlite", "more/part.py"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text("", encoding="utf-8")
    spec = build_spec(read_folder(path), {"test.jsonl": Path(os.devnull)}, "base:1")
    rooms = {name.split("/")[1] for name in spec.files if name.startswith("dep_mcp/")}
    assert rooms == {"__init__.py", "protocol", "metrics", "receipts", "scoring", "server"}
    assert {name for name in spec.files if name.startswith("benchmark/")} == {
        "benchmark/benchmark.py",
        "benchmark/dataset_card.yaml",
        "benchmark/more/part.py",
        "benchmark/data/test.jsonl",
    }
    assert spec.build_args == {}
    assert spec.below is not None
    assert spec.below.build_args == {"BASE_IMAGE": "base:1"}
    assert spec.below.files["benchmark-requirements.txt"] == b""
    assert not [name for name in spec.below.files if name.startswith(("benchmark/", "dep_mcp/"))], "built with network"


def test_a_benchmarks_own_requirements_are_installed(tmp_path: Path) -> None:
    """They are part of its content."""
    path = folder(tmp_path)
    (path / "requirements.txt").write_text("x==1\n", encoding="utf-8")
    spec = build_spec(read_folder(path), {}, "base:1")
    assert spec.below is not None
    assert spec.below.files["benchmark-requirements.txt"] == path / "requirements.txt"


@pytest.mark.parametrize("name", ["notes.txt", "more"])
def test_a_link_in_a_benchmarks_folder_is_refused(tmp_path: Path, name: str) -> None:
    """It would bring whatever file of the host it names into the image, and from there into a prompt."""
    path = folder(tmp_path)
    (path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CardError, match=name):
        build_spec(read_folder(path), {}, "base:1")
