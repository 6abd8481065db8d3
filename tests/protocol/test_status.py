"""The status contract: one row a status, and a rule for every number there is."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.protocol import STATUS_CONTRACT, Action, rule_for

CONTRACT = {
    200: Action.RECORD,
    400: Action.FAIL_ITEM,
    401: Action.FAIL_EVALUATION,
    402: Action.PAUSE,
    403: Action.FAIL_EVALUATION,
    404: Action.FAIL_EVALUATION,
    408: Action.RETRY,
    413: Action.OUTCOME,
    422: Action.FAIL_ITEM,
    429: Action.WAIT,
    451: Action.OUTCOME,
    500: Action.RETRY,
    502: Action.RETRY,
    503: Action.RETRY,
    504: Action.RETRY,
    529: Action.RETRY,
}


def test_the_contract_is_what_the_protocol_document_says() -> None:
    """Adapters of other people are written against that document."""
    assert {status: rule.action for status, rule in STATUS_CONTRACT.items()} == CONTRACT
    assert all(rule.status == status and rule.meaning for status, rule in STATUS_CONTRACT.items())


DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
WORDS = {
    Action.RECORD: "MUST NOT send again",
    Action.FAIL_ITEM: "MUST NOT retry. The item is a declared failure",
    Action.FAIL_EVALUATION: "MUST NOT retry. The evaluation fails at once",
    Action.PAUSE: "MUST pause",
    Action.OUTCOME: "MUST NOT retry. An outcome",
    Action.RETRY: "SHOULD retry with",
    Action.WAIT: "MUST NOT use up an attempt",
}


def test_the_document_has_each_status_once_with_what_the_client_does() -> None:
    """The table is what others implement; it must not fall behind the code."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## Status contract")[1]
    rows = re.findall(r"^\| ([0-9, ]+) \| (.+?) \| (.+) \|$", section, re.MULTILINE)
    documented = [(int(code), does) for codes, _, does in rows for code in codes.split(",")]
    assert sorted(code for code, _ in documented) == sorted(STATUS_CONTRACT)
    for code, does in documented:
        assert WORDS[STATUS_CONTRACT[code].action] in does, code


@pytest.mark.parametrize("status", CONTRACT)
def test_a_listed_status_has_its_own_row(status: int) -> None:
    """No listed status falls to its class."""
    assert rule_for(status) is STATUS_CONTRACT[status]


@pytest.mark.parametrize("status", [405, 409, 418, 428, 499])
def test_another_4xx_fails_the_item(status: int) -> None:
    """The request is at fault: sending it again would cost and change nothing."""
    assert rule_for(status) is STATUS_CONTRACT[400]


@pytest.mark.parametrize("status", [501, 520, 599, 600, 302, 100, 0, -1, 399])
def test_anything_else_is_the_providers_fault(status: int) -> None:
    """It is retried, and never scored."""
    assert rule_for(status) is STATUS_CONTRACT[500]


@given(st.integers())
def test_every_number_has_a_rule(status: int) -> None:
    """Providers invent statuses; none of them may end a run by a KeyError."""
    assert isinstance(rule_for(status).action, Action)
