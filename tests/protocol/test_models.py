"""Wire types: closed, immutable, bounded."""

import math
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from dep_mcp import protocol
from dep_mcp.protocol import (
    PAGE_ITEMS,
    TRANSITIONS,
    Answer,
    ChoiceAnswer,
    DataFile,
    DatasetCard,
    DeclaredFailure,
    Digest,
    EvaluationState,
    Generation,
    GetItems,
    Item,
    ItemScore,
    Limits,
    Message,
    ModelCard,
    Open,
    RequestKind,
    Resources,
    Submission,
    Submit,
    TextAnswer,
    Usage,
    WireModel,
    new_evaluation_id,
)

MODELS = [
    value
    for name in protocol.__all__
    if isinstance(value := getattr(protocol, name), type) and issubclass(value, WireModel)
]
CARD = {"name": "b", "version": "1", "title": "t", "description": "d", "license": "MIT", "source": "s"}
MODEL_CARD = {"name": "m", "adapter": "replay", "model": "m"}
OPEN = {"evaluation_id": "ev_" + "0" * 36, "seed": "0" * 32}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_wire_type_is_closed_and_immutable(model: type[WireModel]) -> None:
    """An ignored argument is a setting that somebody believes was applied."""
    assert model.model_config["extra"] == "forbid"
    assert model.model_config["frozen"] is True
    with pytest.raises(ValidationError) as refused:
        model.model_validate({"no_such_field": 1})
    assert ("no_such_field",) in [
        fault["loc"] for fault in refused.value.errors() if fault["type"] == "extra_forbidden"
    ]


def test_a_value_cannot_be_changed() -> None:
    """What was recorded is what was used."""
    item = Item(item_id="x", messages=(Message(role="user", content="q"),))
    with pytest.raises(ValidationError):
        item.item_id = "y"  # type: ignore[misc]


@pytest.mark.parametrize(("options", "kind"), [((), RequestKind.CHAT), (("a", "b"), RequestKind.CHOICE)])
def test_an_item_with_options_is_a_choice(options: tuple[str, ...], kind: RequestKind) -> None:
    """Adapters ask the item, not the card."""
    assert Item(item_id="x", messages=(Message(role="user", content="q"),), options=options).kind is kind


REFUSED: list[tuple[type[WireModel], dict[str, Any]]] = [
    (Item, {"item_id": "x", "messages": []}),
    (Item, {"item_id": "x", "messages": [{"role": "user", "content": "q"}], "options": ["alone"]}),
    (Message, {"role": "tool", "content": "q"}),
    (Message, {"role": "user", "content": None}),
    (Generation, {"temperature": -0.1}),
    (Generation, {"temperature": 10.1}),
    (Generation, {"temperature": math.nan}),
    (Generation, {"top_p": 0}),
    (Generation, {"top_p": 1.01}),
    (Generation, {"max_tokens": 0}),
    (TextAnswer, {"text": "x" * (1024 * 1024 + 1)}),
    (ChoiceAnswer, {"log_likelihoods": [-1.0], "token_counts": [1]}),
    (ChoiceAnswer, {"log_likelihoods": [-1.0, -2.0], "token_counts": [1]}),
    (ChoiceAnswer, {"log_likelihoods": [-1.0, -2.0], "token_counts": [1, 0]}),
    (ChoiceAnswer, {"log_likelihoods": [-1.0, math.nan], "token_counts": [1, 1]}),
    (ChoiceAnswer, {"log_likelihoods": [-1.0, -math.inf], "token_counts": [1, 1]}),
    (Submission, {"item_id": "x", "epoch": 0, "answer": {"kind": "text", "text": ""}}),
    (Submission, {"item_id": "x", "answer": {"kind": "guess", "text": ""}}),
    (Submission, {"item_id": "x", "answer": {"kind": "text", "text": "", "score": 1.0}}),
    (ItemScore, {"item_id": "x", "epoch": 1, "value": math.nan}),
    (Usage, {"prompt_tokens": -1}),
    (DataFile, {"name": "../secret", "sha256": "0" * 64}),
    (DataFile, {"name": "a/b", "sha256": "0" * 64}),
    (DataFile, {"name": ".hidden", "sha256": "0" * 64}),
    (DataFile, {"name": "x", "sha256": "0" * 63}),
    (DataFile, {"name": "x", "sha256": "A" * 64}),
    (Resources, {"memory_mb": 63}),
    (Resources, {"memory_mb": 65537}),
    (Resources, {"cpus": 0}),
    (Resources, {"cpus": 65}),
    (Limits, {"concurrency": 0}),
    (Limits, {"concurrency": 10001}),
    (Limits, {"timeout_s": 0}),
    (Limits, {"timeout_s": math.inf}),
    (DatasetCard, CARD | {"name": "a b"}),
    (DatasetCard, CARD | {"name": ""}),
    (DatasetCard, CARD | {"name": "../b"}),
    (DatasetCard, CARD | {"name": "x" * 201}),
    (DatasetCard, CARD | {"policy": {"disclosure": "everything"}}),
    (DatasetCard, CARD | {"version": 1.0}),
    (ModelCard, MODEL_CARD | {"api_key_env": "sk-something"}),
    (ModelCard, MODEL_CARD | {"serve": "vllm"}),
    (ModelCard, MODEL_CARD | {"adapter": "../adapter"}),
    (Open, OPEN | {"seed": "0" * 31}),
    (Open, OPEN | {"seed": "G" * 32}),
    (Open, OPEN | {"limit": 0}),
    (Open, OPEN | {"epochs": 0}),
    (Open, OPEN | {"epochs": 1001}),
    (GetItems, {"evaluation_id": "ev_" + "0" * 36, "limit": 0}),
    (GetItems, {"evaluation_id": "ev_" + "0" * 36, "limit": PAGE_ITEMS + 1}),
    (GetItems, {"evaluation_id": "ev_" + "0" * 36, "cursor": "9" * 201}),
    (Submit, {"evaluation_id": "ev_" + "0" * 36, "submissions": []}),
]


@pytest.mark.parametrize(
    ("model", "values"), REFUSED, ids=[f"{model.__name__}-{n}" for n, (model, _) in enumerate(REFUSED)]
)
def test_what_is_out_of_bounds_is_refused(model: type[WireModel], values: dict[str, Any]) -> None:
    """Each bound guards memory, a path, a terminal or a number's meaning."""
    with pytest.raises(ValidationError):
        model.model_validate(values)


ACCEPTED: list[tuple[type[WireModel], dict[str, Any]]] = [
    (Generation, {"temperature": None, "top_p": 1, "max_tokens": 1}),
    (Generation, {"temperature": 10}),
    (TextAnswer, {"text": "x" * 1024 * 1024}),
    (TextAnswer, {"text": ""}),
    (ChoiceAnswer, {"log_likelihoods": [-1.0, 0.0], "token_counts": [1, 20]}),
    (Resources, {"memory_mb": 64, "cpus": 64}),
    (Limits, {"concurrency": 10000, "timeout_s": 0.1}),
    (DatasetCard, CARD),
    (DatasetCard, CARD | {"name": "org/b.c-d_e"}),
    (ModelCard, MODEL_CARD | {"api_key_env": "_KEY1", "weights": "/x.gguf", "serve": "llamacpp"}),
    (Open, OPEN | {"epochs": 1000, "limit": 1, "task": "t"}),
]


@pytest.mark.parametrize(
    ("model", "values"), ACCEPTED, ids=[f"{model.__name__}-{n}" for n, (model, _) in enumerate(ACCEPTED)]
)
def test_what_lies_on_a_bound_is_accepted(model: type[WireModel], values: dict[str, Any]) -> None:
    """A bound off by one would refuse somebody's benchmark; and the wire form reads back as the same value."""
    value = model.model_validate(values)
    assert model.model_validate_json(value.model_dump_json()) == value


@pytest.mark.parametrize("count", [PAGE_ITEMS, PAGE_ITEMS + 1])
def test_a_call_takes_at_most_a_page_of_submissions(count: int) -> None:
    """A call is scored within its deadline."""
    submissions = [{"item_id": str(n), "answer": {"kind": "text", "text": ""}} for n in range(count)]
    values = {"evaluation_id": new_evaluation_id(), "submissions": submissions}
    if count <= PAGE_ITEMS:
        assert len(Submit.model_validate(values).submissions) == count
    else:
        with pytest.raises(ValidationError):
            Submit.model_validate(values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"kind": "text", "text": "a"}, TextAnswer),
        ({"kind": "choice", "log_likelihoods": [-1, -2], "token_counts": [1, 1]}, ChoiceAnswer),
        ({"kind": "failure", "status": 500}, DeclaredFailure),
    ],
)
def test_an_answer_is_told_by_its_kind(values: dict[str, Any], kind: type[WireModel]) -> None:
    """Never by guessing from its fields."""
    adapter: TypeAdapter[Any] = TypeAdapter(Answer)
    assert type(adapter.validate_python(values)) is kind


def test_the_digest_of_a_submission_is_of_the_answer_alone() -> None:
    """The same answer sent again is a duplicate; any other text, even by one blank, is not."""
    one = Submission(item_id="a", epoch=1, answer=TextAnswer(text="4"))
    same = Submission(item_id="a", epoch=1, answer=TextAnswer(text="4"))
    other = Submission(item_id="a", epoch=1, answer=TextAnswer(text="4 "))
    failure = Submission(item_id="a", epoch=1, answer=DeclaredFailure(status=500))
    assert one.digest() == same.digest()
    assert len({one.digest(), other.digest(), failure.digest()}) == 3
    assert len(one.digest()) == 32


@pytest.mark.parametrize("bad", ["sha256:" + "0" * 63, "sha512:" + "0" * 64, "0" * 64, "sha256:" + "0" * 64 + "\n"])
def test_a_digest_names_its_algorithm(bad: str) -> None:
    """Two digests can be compared only when both are of one kind."""
    with pytest.raises(ValidationError):
        TypeAdapter(Digest).validate_python(bad)


def test_completed_is_final_and_every_state_has_its_transitions() -> None:
    """A score that was given is never taken back."""
    assert set(TRANSITIONS) == set(EvaluationState)
    assert TRANSITIONS[EvaluationState.COMPLETED] == set()
    assert EvaluationState.COMPLETED not in TRANSITIONS[EvaluationState.PAUSED]
    assert EvaluationState.COMPLETED not in TRANSITIONS[EvaluationState.FAILED]


def test_half_a_surrogate_pair_becomes_the_replacement_character() -> None:
    """A model can emit one as an escape; as it is, no JSON could carry it to the benchmark."""
    answer = TextAnswer(text="a\ud800b")
    assert answer.text == "a\ufffdb"
    assert TextAnswer.model_validate_json(answer.model_dump_json()) == answer
