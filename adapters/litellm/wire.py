"""What the runner's process and a worker say to each other: one JSON object a line, over a pair of sockets."""

from typing import Any, Literal

from dep_mcp.models import Completion
from dep_mcp.protocol import Message, WireModel

LINE_BYTES = 64 * 1024 * 1024
"""Longest line: a conversation, or an answer."""


class Check(WireModel):
    """Can calls work?"""

    do: Literal["check"] = "check"
    name: str
    model: str
    api_base: str | None
    api_key: str | None
    api_key_env: str | None


class Call(WireModel):
    """One call of a model."""

    do: Literal["call"] = "call"
    model: str
    api_base: str | None
    api_key: str | None
    settings: dict[str, Any]
    reasoning_tags: bool
    messages: tuple[Message, ...]
    timeout_s: float


class Failure(WireModel):
    """How a call, or a check, failed."""

    status: int
    detail: str
    retry_after_s: float | None = None
    unknown: bool = False
    """The provider isn't known."""


class Reply(WireModel):
    """The end of a request."""

    id: int
    completion: Completion | None = None
    failure: Failure | None = None
