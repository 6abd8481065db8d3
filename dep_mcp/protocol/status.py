"""The status contract: what each outcome of a model call means, and what a client does about it.

One table, the same for every adapter; `docs/protocol.md` states it in RFC 2119 words.
"""

from enum import StrEnum
from typing import Final

from dep_mcp.protocol.base import WireModel


class Action(StrEnum):
    """What a client does with a call that ended in a status."""

    RECORD = "record"
    """Answered: MUST NOT be sent again."""
    FAIL_ITEM = "fail_item"
    """MUST NOT be retried; the item becomes a declared failure."""
    FAIL_EVALUATION = "fail_evaluation"
    """MUST NOT be retried; no other call can succeed either."""
    PAUSE = "pause"
    """Nothing is wrong that time or money can't mend: the evaluation pauses."""
    OUTCOME = "outcome"
    """The model's own doing: recorded and scored as what it is, never retried."""
    RETRY = "retry"
    """SHOULD be sent again after a back-off; uses up an attempt."""
    WAIT = "wait"
    """SHOULD be sent again when the provider says so; uses up no attempt."""


class Rule(WireModel):
    """One row of the contract."""

    status: int
    meaning: str
    action: Action


_ROWS: Final = (
    (200, "answered, even empty", Action.RECORD),
    (400, "request refused as malformed", Action.FAIL_ITEM),
    (401, "credentials missing or wrong", Action.FAIL_EVALUATION),
    (402, "budget or quota of money exhausted", Action.PAUSE),
    (403, "not permitted", Action.FAIL_EVALUATION),
    (404, "no such model or endpoint", Action.FAIL_EVALUATION),
    (408, "time-out on our side", Action.RETRY),
    (413, "context window exceeded", Action.OUTCOME),
    (422, "request refused as malformed", Action.FAIL_ITEM),
    (429, "rate limited", Action.WAIT),
    (451, "refused by content policy", Action.OUTCOME),
    (500, "provider fault", Action.RETRY),
    (502, "provider fault: dropped or malformed reply", Action.RETRY),
    (503, "provider unavailable", Action.RETRY),
    (504, "time-out on the provider's side", Action.RETRY),
    (529, "provider overloaded", Action.RETRY),
)

STATUS_CONTRACT: Final = {
    status: Rule(status=status, meaning=meaning, action=action) for status, meaning, action in _ROWS
}


def rule_for(status: int) -> Rule:
    """The row for a status; an unlisted one falls to its class: 4xx as 400, all else as 500."""
    if status in STATUS_CONTRACT:
        return STATUS_CONTRACT[status]
    return STATUS_CONTRACT[400 if 400 <= status < 500 else 500]  # noqa: PLR2004 (the class of a 4xx)
