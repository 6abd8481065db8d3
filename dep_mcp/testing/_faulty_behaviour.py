"""How the faulty provider may behave: its settings, the faults it knows, and what a request and a reply are.

`_faulty_replies` decides by them; `_faulty_server` sends.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, model_validator

REFUSALS: Final = {
    "insufficient_quota": (429, "insufficient_quota", "You exceeded your current quota."),
    "context_length_exceeded": (400, "context_length_exceeded", "This model's maximum context length is 8."),
    "content_policy_violation": (400, "content_policy_violation", "Refused by the content policy."),
}
"""Refusals that only their code tells apart."""

ODDITIES: Final = (
    "hang", "cut", "cut_body", "truncated", "html", "no_choices", "null", "empty", "no_usage", "wrong_usage",
    "error_in_200", "content_filter", "slow_body",
)  # fmt: skip
"""Replies that come with 200, or don't come at all."""

FAULTS: Final = frozenset({*REFUSALS, *ODDITIES})
"""Faults by name; every HTTP status from 400 to 599, as text, is one too."""


class Behaviour(BaseModel):
    """What the faulty provider does, all of it changeable while it runs (`POST /behaviour`).

    A draw depends on `seed`, the body of the request and how often that body has come, and on nothing else:
    the same requests meet the same faults in whatever order they come.

    Attributes:
        seed: Of all draws.
        latency_s: Time to an answer: fixed, or the median when `latency_sigma` is given.
        latency_sigma: Standard deviation of the logarithm of a lognormal latency.
        faults: Share of requests by fault: `hang` (no reply), `cut` (connection closed before the reply),
            `cut_body` (in the middle of the body), `truncated` (half of the JSON with a right length), `html`
            (with 200), `no_choices`, `null` (content), `empty` (content), `no_usage`, `wrong_usage` (counts
            below zero, beyond all reason, or no numbers), `error_in_200`, `content_filter` (200 with that finish
            reason), `slow_body`, `insufficient_quota` (429), `context_length_exceeded` and
            `content_policy_violation` (400), or any status such as `503`.
        faults_in: Texts; only requests that hold one of them meet faults. None: all do.
        recover_after: Calls for one body that may meet a fault; later ones are answered. `None`: no limit.
        retry_after: How a 429 or 503 says when to come back.
        retry_after_s: What it says.
        ratelimit_headers: Send `x-ratelimit-*` with every reply.
        rate_per_s: Requests a second (a token bucket); those above it are refused with 429.
        burst: Size of the bucket.
        max_in_flight: Requests above it are refused with 429.
        answer: Text of every answer; `None` echoes the last message.
        answers: JSON file from `prompt_sha` to text, looked up first.
        models: Names that `/v1/models` lists; `None` answers 404 there.
        api_key: Refuse requests without it (401).
        error_code: The code inside the body of `error_in_200`.
        slow_body_s: How long `slow_body` takes to send its body.
        count_by: Texts; answers to requests that hold one are counted by it as well.
        echo_prompt: Quote the request in error messages, as careless providers do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    latency_s: float = 0.0
    latency_sigma: float | None = None
    faults: dict[str, float] = {}
    faults_in: tuple[str, ...] = ()
    recover_after: int | None = None
    retry_after: Literal["none", "seconds", "ms", "date"] = "seconds"
    retry_after_s: float = 1.0
    ratelimit_headers: bool = False
    rate_per_s: float | None = None
    burst: float = 1.0
    max_in_flight: int | None = None
    answer: str | None = None
    answers: Path | None = None
    models: tuple[str, ...] | None = ("faulty",)
    api_key: str | None = None
    error_code: int | str = 429
    slow_body_s: float = 1.0
    count_by: tuple[str, ...] = ()
    echo_prompt: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in self.faults:
            if name not in FAULTS and not (name.isdigit() and 400 <= int(name) < 600):  # noqa: PLR2004 (statuses)
                msg = f"no fault {name!r}: a status, or one of {', '.join(sorted(FAULTS))}"
                raise ValueError(msg)
        if sum(self.faults.values()) > 1 + 1e-9:
            msg = "shares of faults add up to more than 1"
            raise ValueError(msg)
        return self


class Request(NamedTuple):
    """One request.

    Attributes:
        path: Without the query.
        raw: The body as it came.
        digest: SHA-256 of path and body: what makes a second one the same.
        attempt: How often this body has come, from 1.
        body: The body as JSON.
    """

    path: str
    raw: bytes
    digest: bytes
    attempt: int
    body: dict[str, Any]


@dataclass(slots=True)
class Reply:
    """What is sent back.

    Attributes:
        status: Of the HTTP reply.
        body: Its body.
        delay_s: Wait before it is sent.
        headers: Besides length and type.
        fault: The fault it stands for.
        answers: Whether it holds a well-formed answer: what a provider would have charged.
        kind: Content type.
    """

    status: int
    body: bytes
    delay_s: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    answers: bool = False
    kind: str = "application/json"
