"""Loading a benchmark's folder inside its image: what an author may get wrong, and what the command says of it."""

import sys
from pathlib import Path

import pytest

from dep_mcp.protocol import Open, new_evaluation_id
from dep_mcp.protocol.errors import CardError, DataError
from dep_mcp.server.__main__ import main
from dep_mcp.server.loading import BUNDLE, index, load_benchmark, load_session
from dep_mcp.testing import toy_folder

CARD = "name: mine\nversion: '1'\ntitle: t\ndescription: d\nlicense: x\nsource: s\n"
CODE = """
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import Benchmark, SealedItem

class Mine(Benchmark):
    scorer = ExactMatch()

    def items(self, draw):
        return [SealedItem("i-0", "q", "target-1"), SealedItem("i-1", "q", "target-1")]
"""
GENERATED = CODE.replace("scorer =", "generated = True\n    scorer =")
SECOND = "\nclass Second(Mine):\n    pass\n"


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading is made for a process that serves one benchmark: path and modules are put back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def folder(path: Path, *, card: str | bytes = CARD, code: str = CODE, **files: str) -> Path:
    (path / "dataset_card.yaml").write_bytes(card if isinstance(card, bytes) else card.encode())
    (path / "benchmark.py").write_text(code, encoding="utf-8")
    for name, text in files.items():
        (path / f"{name}.py").write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "card",
    ["", "name: [", CARD + "extra: 1\n", CARD.replace("'1'", "1.0"), CARD + "released: 2024-13-45\n", b"name: \xff\n"],
    ids=["empty", "torn", "unknown field", "number", "impossible date", "not UTF-8"],
)
def test_a_broken_card_is_told(tmp_path: Path, card: str | bytes) -> None:
    """By its file, as a card's error and not as a traceback."""
    with pytest.raises(CardError) as error:
        load_benchmark(folder(tmp_path, card=card))
    assert error.value.detail.startswith("dataset_card.yaml")


def test_a_missing_card_is_told(tmp_path: Path) -> None:
    """The folder is no benchmark."""
    with pytest.raises(CardError):
        load_benchmark(tmp_path)


@pytest.mark.parametrize("code", ["", CODE + SECOND, "from dep_mcp.server import Benchmark\n"])
def test_a_module_defines_exactly_one_benchmark(tmp_path: Path, code: str) -> None:
    """An imported class isn't defined there; of two, nobody could say which is meant."""
    with pytest.raises(CardError):
        load_benchmark(folder(tmp_path, code=code))


def test_modules_beside_the_benchmark_can_be_imported(tmp_path: Path) -> None:
    """An author may split the code."""
    code = "import parts_of_mine\n" + CODE.replace('"target-1"', "parts_of_mine.TARGET")
    benchmark = load_benchmark(folder(tmp_path, code=code, parts_of_mine="TARGET = 'x'\n"))
    assert benchmark.card.name == "mine"
    assert benchmark.folder == tmp_path


def test_an_indexed_benchmark_serves_its_bundle(tmp_path: Path) -> None:
    """Indexed when the image is built, twice without harm; served later."""
    folder(tmp_path)
    index(tmp_path)
    index(tmp_path)
    session = load_session(tmp_path)
    opened = session.open(Open(evaluation_id=new_evaluation_id(), seed="0" * 32))
    assert opened.items == 2


def test_a_generated_benchmark_has_no_bundle_and_the_digest_of_its_code(tmp_path: Path) -> None:
    """Its data is its code: another generator, another digest."""
    folder(tmp_path, code=GENERATED)
    index(tmp_path)
    assert not (tmp_path / BUNDLE).exists()
    first = load_session(tmp_path).describe().data_digest
    assert load_session(tmp_path).describe().data_digest == first
    folder(tmp_path, code=GENERATED + "\n# changed\n")
    assert load_session(tmp_path).describe().data_digest != first


@pytest.mark.parametrize("code", [CODE, GENERATED], ids=["indexed", "generated"])
def test_an_id_twice_fails_the_build(tmp_path: Path, code: str) -> None:
    """Not the evaluation, days later."""
    with pytest.raises(DataError):
        index(folder(tmp_path, code=code.replace("i-1", "i-0")))


def test_the_toy_benchmark_loads() -> None:
    """It is what the tests above this room run on."""
    assert load_benchmark(toy_folder()).card.name == "toy"


@pytest.mark.parametrize("arguments", [[], ["index"], ["list", "x"], ["index", "x", "y"]])
def test_the_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, as for any wrong usage."""
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage:")


def test_the_command_indexes(tmp_path: Path) -> None:
    """A step of the image's build."""
    assert main(["index", str(folder(tmp_path))]) == 0
    assert (tmp_path / BUNDLE).is_file()


@pytest.mark.parametrize("command", ["index", "serve"])
def test_the_command_names_the_code_of_what_is_wrong(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last words of a container are what its user gets to read."""
    assert main([command, str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("broken_card: ")
