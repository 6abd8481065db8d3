"""The JSON Schemas in docs/ are what the models say, and the tool that writes them tells when they aren't."""

import json
import runpy
from pathlib import Path

import pytest

from dep_mcp.protocol.schemas import __file__ as module
from dep_mcp.protocol.schemas import main, schemas

DOCS = Path(__file__).parents[2] / "docs" / "schemas"


def test_the_published_schemas_are_current() -> None:
    """Clients in other languages are made from them."""
    assert {path.name: path.read_text(encoding="utf-8") for path in DOCS.glob("*.json")} == schemas()


@pytest.mark.parametrize("name", schemas())
def test_a_schema_of_an_object_is_closed(name: str) -> None:
    """The schema refuses what the model refuses."""
    assert json.loads(schemas()[name])["additionalProperties"] is False


def test_written_schemas_pass_the_check(tmp_path: Path) -> None:
    """`make format` and `make check` agree."""
    folder = tmp_path / "new"
    assert main([str(folder)]) == 0
    assert main(["--check", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == set(schemas())


@pytest.mark.parametrize("spoil", ["changed", "missing", "left over"])
def test_the_check_names_each_file_that_differs(tmp_path: Path, spoil: str, capsys: pytest.CaptureFixture[str]) -> None:
    """And changes none of them."""
    main([str(tmp_path)])
    path = tmp_path / ("Old.json" if spoil == "left over" else "Item.json")
    if spoil == "missing":
        path.unlink()
    else:
        path.write_text("{}\n", encoding="utf-8")
    assert main(["--check", str(tmp_path)]) == 1
    assert [line.split()[0] for line in capsys.readouterr().err.splitlines()] == [str(path)]
    assert path.exists() is (spoil != "missing")


def test_writing_removes_the_schema_of_a_type_that_is_gone(tmp_path: Path) -> None:
    """A schema that nothing answers to would mislead."""
    (tmp_path / "Gone.json").write_text("{}", encoding="utf-8")
    assert main([str(tmp_path)]) == 0
    assert not (tmp_path / "Gone.json").exists()


def test_the_command_ends_with_the_status_of_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`make check` goes by it."""
    monkeypatch.setattr("sys.argv", ["schemas", "--check", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(module, run_name="__main__")
    assert ended.value.code == 1
