"""The wire types of the protocol: pydantic models and the errors, no I/O.

Both sides of the seal share this room. Targets have no type here.
"""

from dep_mcp.protocol.base import (
    MESSAGE_BYTES,
    PAGE_BYTES,
    PAGE_ITEMS,
    PROTOCOL_VERSION,
    Digest,
    WireModel,
)
from dep_mcp.protocol.cards import (
    DataFile,
    DatasetCard,
    Disclosure,
    Limits,
    ModelCard,
    Prices,
    Resources,
    Weights,
    parse_card,
)
from dep_mcp.protocol.evaluations import TRANSITIONS, Evaluation, EvaluationState, Settings
from dep_mcp.protocol.ids import EvaluationId, ItemId, new_evaluation_id, new_seed
from dep_mcp.protocol.items import Generation, Item, Message, RequestKind
from dep_mcp.protocol.records import FetchedPage, Record, Usage
from dep_mcp.protocol.scores import Counts, Estimate, ItemScore, ScoreReport
from dep_mcp.protocol.status import STATUS_CONTRACT, Action, Rule, rule_for
from dep_mcp.protocol.submissions import Answer, ChoiceAnswer, DeclaredFailure, Submission, TextAnswer
from dep_mcp.protocol.tools import (
    OPERATOR_TOOLS,
    SUBJECT_TOOLS,
    Describe,
    Description,
    GetItems,
    ItemPage,
    Open,
    Opened,
    Rejection,
    ScoreRequest,
    ScoreResult,
    ScoreState,
    Submit,
    Submitted,
)

__all__ = [
    "MESSAGE_BYTES",
    "OPERATOR_TOOLS",
    "PAGE_BYTES",
    "PAGE_ITEMS",
    "PROTOCOL_VERSION",
    "STATUS_CONTRACT",
    "SUBJECT_TOOLS",
    "TRANSITIONS",
    "Action",
    "Answer",
    "ChoiceAnswer",
    "Counts",
    "DataFile",
    "DatasetCard",
    "DeclaredFailure",
    "Describe",
    "Description",
    "Digest",
    "Disclosure",
    "Estimate",
    "Evaluation",
    "EvaluationId",
    "EvaluationState",
    "FetchedPage",
    "Generation",
    "GetItems",
    "Item",
    "ItemId",
    "ItemPage",
    "ItemScore",
    "Limits",
    "Message",
    "ModelCard",
    "Open",
    "Opened",
    "Prices",
    "Record",
    "Rejection",
    "RequestKind",
    "Resources",
    "Rule",
    "ScoreReport",
    "ScoreRequest",
    "ScoreResult",
    "ScoreState",
    "Settings",
    "Submission",
    "Submit",
    "Submitted",
    "TextAnswer",
    "Usage",
    "Weights",
    "WireModel",
    "new_evaluation_id",
    "new_seed",
    "parse_card",
    "rule_for",
]
