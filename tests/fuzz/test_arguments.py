"""Arguments that no recorded call leads to: each tool answers them, or refuses them by a code that says why."""

from collections.abc import Callable
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dep_mcp.protocol import Open, new_evaluation_id
from dep_mcp.protocol.errors import DepError
from dep_mcp.scoring import ExactMatch
from dep_mcp.server import SealedItem
from dep_mcp.server.app import _TOOLS, _call
from dep_mcp.server.session import SealedSession
from tests.conftest import SEED

EVALUATION = new_evaluation_id()
FRESH = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # its sessions are made anew
QUOTA = {"quota": {"scores": 2, "window_s": 1e9, "reserved": 1}, "step": 0.1, "least_items": 1}
ZONES = st.builds(timezone, st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(lambda t: t // 60 * 60))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ODD = st.sampled_from([0, -1, 1e308, 10**400, "", "0", EVALUATION, "i-0", "\0", [], {}]) | JSON
TIMES = st.datetimes(timezones=ZONES).map(lambda at: at.isoformat()) | st.just("9999-12-31T23:59:59-14:00")
TURNS = st.fixed_dictionaries(
    {"evaluation_id": st.just(EVALUATION), "at": TIMES},
    optional={"final": st.booleans(), "score": st.none() | st.floats()},
)
ANSWERS = st.one_of(
    st.fixed_dictionaries({"kind": st.just("text"), "text": st.text()}, optional={"finish_reason": ODD}),
    st.fixed_dictionaries({"kind": st.just("failure"), "status": st.integers(390, 610) | ODD}),
    st.lists(st.floats(), max_size=4).map(
        lambda values: {"kind": "choice", "log_likelihoods": values, "token_counts": [2**70 for _ in values]}
    ),
    ODD,
)
SUBMISSIONS = st.fixed_dictionaries(
    {"item_id": st.sampled_from(["i-0", "i-1", "i-2", "é"]) | ODD, "answer": ANSWERS}, optional={"epoch": ODD}
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "evaluation_id": st.just(EVALUATION) | ODD,
    "cursor": st.text(max_size=12) | ODD,
    "limit": st.integers(-1, 101) | ODD,
    "submissions": st.lists(SUBMISSIONS, max_size=4) | ODD,
    "seed": st.just(SEED) | ODD,
    "epochs": st.integers(-1, 3) | ODD,
    "turn": TURNS | ODD,
    "earlier": st.lists(TURNS, max_size=4) | ODD,
    "claims": st.dictionaries(st.sampled_from(["model", "image", "identity", "policy_binds"]), ODD) | ODD,
    "task": ODD,
    "data_key": ODD,
}
CALLS = st.sampled_from(list(_TOOLS)).flatmap(
    lambda tool: st.tuples(
        st.just(tool),
        st.fixed_dictionaries(
            {},
            optional={name: FIELDS.get(name, ODD) for name in _TOOLS[tool].arguments.model_fields} | {"more": ODD},
        ).map(lambda fields: _TOOLS_BASE[tool] | fields if "more" not in fields else fields),
    )
)
_TOOLS_BASE: dict[str, dict[str, Any]] = {
    "describe": {},
    "open": {"evaluation_id": EVALUATION, "seed": SEED},
    "get_items": {"evaluation_id": EVALUATION},
    "submit": {"evaluation_id": EVALUATION, "submissions": []},
    "score": {"evaluation_id": EVALUATION},
}


def codes() -> set[str]:
    """All codes but that of a fault."""
    kinds = [DepError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return {kind.code for kind in kinds if kind.status < 500}


@FRESH
@given(calls=st.lists(CALLS, min_size=1, max_size=8), opened=st.booleans())
@pytest.mark.parametrize("policy", [{"disclosure": "full"}, QUOTA])
def test_any_arguments_are_answered_or_refused_by_a_code(
    make_session: Callable[..., SealedSession],
    policy: dict[str, Any],
    calls: list[tuple[str, dict[str, Any]]],
    opened: bool,  # noqa: FBT001 (a parameter)
) -> None:
    """A fault of the endpoint would be raised here."""
    session = make_session([SealedItem(f"i-{n}", "q", f"t{n}") for n in range(3)], ExactMatch(), policy=policy)
    if opened:
        session.open(Open(evaluation_id=EVALUATION, seed=SEED, epochs=2))
    for tool, arguments in calls:
        result = _call(session, _TOOLS[tool], arguments)
        content = result.structured_content or {}
        assert not result.is_error or content["code"] in codes()
