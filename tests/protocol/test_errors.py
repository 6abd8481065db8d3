"""The tree of errors: the docstring, the classes and the wire say the same."""

import re

import pytest

from dep_mcp.protocol import errors
from dep_mcp.protocol.errors import DepError, ErrorBody, ModelCallError, SealError

ROW = re.compile(
    r"^ *(?P<branch>[│├└─ ]*)(?P<name>\w+Error) +(?:(?P<code>[a-z_]+) +(?P<status>\d+|any))?", re.MULTILINE
)


def table() -> dict[str, tuple[str | None, str | None]]:
    rows = ROW.finditer(errors.__doc__ or "")
    return {row["name"]: (row["code"], row["status"]) for row in rows}


def classes() -> list[type[DepError]]:
    found: list[type[DepError]] = []
    todo = [DepError]
    while todo:
        kinds = [kind for kind in todo.pop().__subclasses__() if kind.__module__ == errors.__name__]
        found += kinds
        todo += kinds
    return found


CLASSES = classes()


def test_the_docstring_lists_every_class_and_no_other() -> None:
    """The tree is what people read instead of the code."""
    assert sorted(table()) == sorted(kind.__name__ for kind in CLASSES)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_code_and_status_are_those_of_the_docstring(kind: type[DepError]) -> None:
    """A code is the wire identity: changing one by mistake breaks clients that nobody here sees."""
    code, status = table()[kind.__name__]
    if kind is SealError:
        assert (code, status) == (None, None)
    elif kind is ModelCallError:
        assert (code, status) == (kind.code, "any")
    else:
        assert (code, status) == (kind.code, str(kind.status))


def test_the_docstring_draws_the_tree_that_the_classes_form() -> None:
    """Whoever catches `SealError` or `EngineError` relies on what hangs below it."""
    depths = {row["name"]: len(row["branch"]) // 4 for row in ROW.finditer(errors.__doc__ or "")}
    assert depths == {kind.__name__: len(kind.__mro__) - len(DepError.__mro__) for kind in CLASSES}


def test_no_two_errors_share_a_code() -> None:
    """Else a client would rebuild the wrong one."""
    codes = [kind.code for kind in CLASSES if kind is not SealError]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind is not SealError], ids=lambda kind: kind.__name__)
def test_an_error_is_rebuilt_from_its_wire_form(kind: type[DepError]) -> None:
    """By code alone: no class path travels, so the other side can't choose what is made."""
    error = kind("what happened")
    rebuilt = DepError.from_body(ErrorBody.model_validate_json(error.body().model_dump_json()))
    assert type(rebuilt) is kind
    assert (rebuilt.detail, rebuilt.status, rebuilt.retryable) == ("what happened", error.status, kind.retryable)
    assert str(rebuilt) == "what happened"


def test_the_root_is_rebuilt_as_it_was() -> None:
    """Its detail doesn't grow with every process it passes."""
    rebuilt = DepError.from_body(DepError("a fault").body())
    assert type(rebuilt) is DepError
    assert rebuilt.detail == "a fault"


@pytest.mark.parametrize("status", [401, 429, 529])
def test_a_failed_call_keeps_its_status_on_the_wire(status: int) -> None:
    """What a client does about it is a matter of the status alone."""
    assert DepError.from_body(ModelCallError("no", status).body()).status == status


@pytest.mark.parametrize("code", ["invented_later", "SealError", "os.system", ""])
def test_an_unknown_code_becomes_a_plain_error_that_names_it(code: str) -> None:
    """An older client meets a newer endpoint, or a hostile one."""
    error = DepError.from_body(ErrorBody(status=418, code=code, detail="teapot"))
    assert type(error) is DepError
    assert error.detail == f"{code}: teapot"


def test_a_failed_call_holds_what_the_provider_asked() -> None:
    """The caller waits as long."""
    assert ModelCallError("busy", 429, retry_after_s=7).retry_after_s == 7
    assert ModelCallError("broken").retry_after_s is None


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b31m", "\r", "\x00", "\u202e", "\x7f"])
def test_a_detail_cannot_steer_a_terminal(text: str) -> None:
    """A hostile benchmark or provider could hide or forge lines of what a person reads."""
    error = DepError.from_body(ErrorBody(status=500, code="bad_data", detail=f"a{text}b\n\tc"))
    assert error.detail.startswith("a\N{REPLACEMENT CHARACTER}")
    assert error.detail.endswith("b\n\tc")
    assert text[0] not in str(error)
