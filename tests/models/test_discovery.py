"""Models by name: cards, files, providers; and what is said of a name or a card that is wrong."""

import sys
from pathlib import Path

import pytest

from dep_mcp.models import ModelAdapter, Models
from dep_mcp.protocol import Limits, ModelCard, RequestKind, parse_card
from dep_mcp.protocol.errors import CardError, UnknownNameError, UsageError

BOTH = (RequestKind.CHAT, RequestKind.CHOICE)
ADAPTER = """
class Adapter:
    def __init__(self, card, *, api_key):
        self.card, self.api_key = card, api_key
"""


def card_in(folder: Path, name: str = "mine", **fields: object) -> Path:
    path = folder / "adapters" / "cards" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {"name": name, "adapter": "replay", "model": name} | fields
    path.write_text("".join(f"{key}: {value}\n" for key, value in whole.items()), encoding="utf-8")
    return path


def adapter_in(folder: Path, name: str, code: str = ADAPTER) -> None:
    path = folder / "adapters" / name / "adapter.py"
    path.parent.mkdir(parents=True)
    path.write_text(code, encoding="utf-8")


# -- resolve


def test_a_bundled_card_is_found_by_its_name() -> None:
    """What the README's first command uses."""
    card = Models([]).resolve("smollm2-135m")
    assert (card.adapter, card.serve, card.requests) == ("openai_compatible", "llamacpp", BOTH)


def test_a_card_of_the_users_folder_works_like_a_bundled_one(tmp_path: Path) -> None:
    """A plugin folder needs no registration."""
    card_in(tmp_path)
    assert Models([tmp_path]).resolve("mine").model == "mine"


def test_the_users_card_wins_over_the_bundled_and_the_later_folder_over_the_earlier(tmp_path: Path) -> None:
    """A user can mend a card without touching the installation."""
    card_in(tmp_path / "one", "smollm2-135m", model="one")
    card_in(tmp_path / "two", "smollm2-135m", model="two")
    assert Models([tmp_path / "one"]).resolve("smollm2-135m").model == "one"
    assert Models([tmp_path / "one", tmp_path / "two"]).resolve("smollm2-135m").model == "two"


def test_a_gguf_file_is_served_locally(tmp_path: Path) -> None:
    """One call at a time: it is this machine's processor."""
    weights = tmp_path / "tiny.Q4.gguf"
    weights.write_bytes(b"GGUF")
    card = Models([]).resolve(str(weights))
    assert (card.name, card.serve, card.weights) == ("tiny.Q4", "llamacpp", str(weights))
    assert (card.limits.concurrency, card.requests) == (1, BOTH)


def test_a_gguf_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Before a server is started for it."""
    with pytest.raises(UnknownNameError):
        Models([]).resolve(str(tmp_path / "none.gguf"))


def test_recorded_answers_are_a_model() -> None:
    """`replay:FILE`."""
    card = Models([]).resolve("replay:out/answers.jsonl")
    assert (card.adapter, card.model, card.requests) == ("replay", "out/answers.jsonl", BOTH)


def test_a_program_is_a_model() -> None:
    """`command:LINE`; as many at once as a small machine bears."""
    card = Models([]).resolve("command:./my-model --flag a/b")
    assert (card.adapter, card.model, card.requests) == ("command", "./my-model --flag a/b", BOTH)
    assert card.limits.concurrency == 4


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("callable:package.module:answer", "package.module:answer"),
        ("callable:/some/file.py:answer", "/some/file.py:answer"),
        ("callable:file.py:answer", f"{Path.cwd() / 'file.py'}:answer"),
    ],
)
def test_a_function_is_a_model(name: str, model: str) -> None:
    """A file by its whole path: `resume` may be called elsewhere."""
    card = Models([]).resolve(name)
    assert (card.adapter, card.model, card.requests, card.limits.concurrency) == ("callable", model, BOTH, 1)


@pytest.mark.parametrize(
    "name", ["command:", "command: ", "callable:f", "callable::f", "callable:a/b.py", "callable:a:"]
)
def test_half_a_name_is_told_with_the_whole_form(name: str) -> None:
    """Rather than taken for a provider's model."""
    with pytest.raises(UsageError):
        Models([]).resolve(name)


def test_a_command_too_long_to_be_a_name_is_told() -> None:
    """A card's name has its limit."""
    with pytest.raises(UsageError):
        Models([]).resolve("command:./model " + "x" * 500)


def test_a_model_behind_an_api_is_named_by_provider_and_model() -> None:
    """As LiteLLM knows it, slashes of the model included."""
    card = Models([]).resolve("together_ai/meta/llama-3")
    assert (card.adapter, card.model, card.name) == ("litellm", "together_ai/meta/llama-3", "together_ai/meta/llama-3")


def test_an_endpoint_of_ones_own_is_named_with_its_address() -> None:
    """Without the address no call could be made: told at once and not at the first item."""
    models = Models([])
    card = models.resolve("openai-compatible/llama", "http://localhost:8000/v1")
    assert (card.adapter, card.model, card.api_base) == ("openai_compatible", "llama", "http://localhost:8000/v1")
    with pytest.raises(UsageError):
        models.resolve("openai-compatible/llama")


def test_an_address_given_by_hand_replaces_the_local_server() -> None:
    """`--api-base`: the model is being served elsewhere."""
    card = Models([]).resolve("smollm2-135m", "http://localhost:8000/v1")
    assert (card.api_base, card.serve) == ("http://localhost:8000/v1", None)


@pytest.mark.parametrize(
    "name",
    ["smolm2-135m", "SmolLM2", "replay:", "openai-compatible/", "openai/", ""],
)
def test_an_unknown_name_is_told_with_the_nearest(name: str) -> None:
    """A typing error costs seconds."""
    with pytest.raises(UnknownNameError) as error:
        Models([]).resolve(name)
    assert "smollm2-135m" in error.value.detail


# -- cards


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("name: x\nadapter: replay\n", "model"),
        ("name: x\nadapter: replay\nmodel: x\nlimits: {concurrency: 0}\n", "limits.concurrency"),
        ("name: x\nadapter: replay\nmodel: x\napi_key: sk-1\n", "api_key"),
        ("", "card"),
        ("- a list\n", "card"),
        ("name: [\n", "line 2"),
    ],
)
def test_a_broken_card_names_its_file_and_field(tmp_path: Path, text: str, field: str) -> None:
    """Whoever wrote it can mend it without reading our code."""
    path = card_in(tmp_path)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CardError) as error:
        Models([tmp_path]).resolve("x")
    assert str(path) in error.value.detail
    assert field in error.value.detail


@pytest.mark.parametrize("content", [b"name: \xff\n", b"name: x\nmodel: 2024-13-45\n"], ids=["not UTF-8", "no date"])
def test_a_card_that_cannot_be_read_is_a_broken_card(tmp_path: Path, content: bytes) -> None:
    """And no traceback."""
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(CardError) as error:
        parse_card(ModelCard, path.read_bytes, path)
    assert str(path) in error.value.detail


def test_a_card_that_is_not_there_is_told(tmp_path: Path) -> None:
    """By its path."""
    with pytest.raises(CardError):
        parse_card(ModelCard, (tmp_path / "none.yaml").read_bytes, "none.yaml")


def test_the_current_card_is_the_files_with_what_run_was_told(tmp_path: Path) -> None:
    """Resume compares it with the recorded one: a changed file must show, a flag of `run` must not."""
    path = card_in(tmp_path)
    models = Models([tmp_path])
    recorded = models.resolve("mine", "http://localhost/v1").model_copy(update={"limits": Limits(concurrency=3)})
    assert models.current(recorded) == recorded
    path.write_text("name: mine\nadapter: replay\nmodel: other\n", encoding="utf-8")
    assert models.current(recorded) != recorded


def test_a_card_without_a_file_stays_as_it_is() -> None:
    """`provider/model` has none."""
    card = Models([]).resolve("openai/gpt-4o-mini")
    assert Models([]).current(card) == card


# -- adapters


@pytest.fixture(autouse=True)
def _restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's adapter is loaded under a module name of ours: put back."""
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


@pytest.mark.parametrize("name", ["replay", "openai_compatible"])
def test_a_bundled_adapter_is_made_from_a_card(name: str) -> None:
    """It implements the port; nothing is opened before it is entered."""
    card = ModelCard(name="x", adapter=name, model="x", api_base="http://localhost/v1")
    assert isinstance(Models([]).adapter(card, None), ModelAdapter)


def test_a_users_adapter_is_loaded_once_and_gets_card_and_key(tmp_path: Path) -> None:
    """A user's folder works exactly as a bundled one."""
    adapter_in(tmp_path, "mine")
    card = ModelCard(name="x", adapter="mine", model="x")
    first, second = (Models([tmp_path]).adapter(card, "key") for _ in range(2))
    assert (first.card, first.api_key) == (card, "key")  # type: ignore[attr-defined]
    assert type(first) is type(second)


def test_a_users_adapter_wins_over_the_bundled(tmp_path: Path) -> None:
    """As with cards."""
    adapter_in(tmp_path, "replay")
    card = ModelCard(name="x", adapter="replay", model="x")
    assert Models([tmp_path]).adapter(card, "key").api_key == "key"  # type: ignore[attr-defined]


def test_an_unknown_adapter_is_told_with_the_nearest() -> None:
    """A card may name one that isn't installed."""
    with pytest.raises(UnknownNameError) as error:
        Models([]).adapter(ModelCard(name="x", adapter="opnai_compatible", model="x"), None)
    assert "openai_compatible" in error.value.detail


def test_an_adapter_module_without_an_adapter_is_told(tmp_path: Path) -> None:
    """By its file."""
    adapter_in(tmp_path, "mine", "class Adaptor: pass\n")
    with pytest.raises(CardError) as error:
        Models([tmp_path]).adapter(ModelCard(name="x", adapter="mine", model="x"), None)
    assert "adapter.py" in error.value.detail
