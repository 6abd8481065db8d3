"""The status contract: one row a status, and a rule for every number there is."""

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
