"""How the faulty provider behaves: its settings, its repeatable draws, and the replies they lead to.

No I/O but reading the file of answers; `_faulty_server` sends what is decided here.
"""

import hashlib
import json
import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from statistics import NormalDist
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

_REFUSALS: Final = {
    "insufficient_quota": (429, "insufficient_quota", "You exceeded your current quota."),
    "context_length_exceeded": (400, "context_length_exceeded", "This model's maximum context length is 8."),
    "content_policy_violation": (400, "content_policy_violation", "Refused by the content policy."),
}
"""Refusals that only their code tells apart."""

_ODDITIES: Final = (
    "hang", "cut", "cut_body", "truncated", "html", "no_choices", "null", "empty", "no_usage", "error_in_200",
    "content_filter", "slow_body",
)  # fmt: skip

FAULTS: Final = frozenset({*_REFUSALS, *_ODDITIES})
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
            (with 200), `no_choices`, `null` (content), `empty` (content), `no_usage`, `error_in_200`,
            `content_filter` (200 with that finish reason), `slow_body`, `insufficient_quota` (429),
            `context_length_exceeded` and `content_policy_violation` (400), or any status such as `503`.
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
        echo_prompt: Quote the request in error messages, as careless providers do.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = 0
    latency_s: float = 0.0
    latency_sigma: float | None = None
    faults: dict[str, float] = {}
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


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        path: Without the query.
        headers: With lower-case names.
        raw: The body as it came.
        attempt: How often this body has come, from 1.
        body: The body as JSON; empty when it isn't an object.
    """

    path: str
    headers: dict[str, str]
    raw: bytes
    attempt: int
    body: dict[str, Any]


@dataclass(frozen=True)
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


def prompt_sha(contents: list[str]) -> str:
    """The key of a prompt in the file of answers: SHA-256 over the messages' contents joined by newlines."""
    return hashlib.sha256("\n".join(contents).encode(errors="surrogatepass")).hexdigest()


def draw(behaviour: Behaviour, request: Request, purpose: str) -> float:
    """A repeatable number, uniform in [0, 1)."""
    text = f"{behaviour.seed}/{request.attempt}/{purpose}/{request.path}".encode()
    digest = hashlib.blake2b(request.raw, digest_size=7, key=hashlib.sha256(text).digest()).digest()
    return int.from_bytes(digest, "big") / 2**56


def decide(behaviour: Behaviour, request: Request, answers: dict[str, str]) -> Reply:
    """The reply that the draws lead to, whatever the load."""
    fault = _fault(behaviour, request)
    delay_s = _latency_s(behaviour, request)
    if fault is None or fault in _ODDITIES:
        reply = _answer(behaviour, request, answers, fault)
        return Reply(200, reply, delay_s, fault=fault, answers=_charged(fault), kind=_kind(fault))
    status, code, message = _REFUSALS.get(fault) or (
        int(fault),
        f"error_{fault}",
        f"The provider said {fault}.",
    )
    if behaviour.echo_prompt:
        message = f"{message} Your request: {request.raw.decode(errors='replace')}"
    return refuse(behaviour, status, code, message, delay_s, fault)


def refuse(
    behaviour: Behaviour, status: int, code: str, message: str, delay_s: float = 0.0, fault: str | None = None
) -> Reply:
    """A refusal, with the wait that the behaviour asks for where the status has one."""
    error = {"error": {"message": message, "type": "faulty", "param": None, "code": code}}
    headers = _retry_after(behaviour) if status in (429, 503) else {}
    return Reply(status, json.dumps(error).encode(), delay_s, headers, fault)


def _fault(behaviour: Behaviour, request: Request) -> str | None:
    if behaviour.recover_after is not None and request.attempt > behaviour.recover_after:
        return None
    mark = draw(behaviour, request, "fault")
    for name, share in behaviour.faults.items():
        mark -= share
        if mark < 0:
            return name
    return None


def _latency_s(behaviour: Behaviour, request: Request) -> float:
    if behaviour.latency_sigma is None:
        return behaviour.latency_s
    mark = min(max(draw(behaviour, request, "latency"), 1e-9), 1 - 1e-9)
    return behaviour.latency_s * math.exp(behaviour.latency_sigma * NormalDist().inv_cdf(mark))


def _retry_after(behaviour: Behaviour) -> dict[str, str]:
    seconds = behaviour.retry_after_s
    match behaviour.retry_after:
        case "none":
            return {}
        case "seconds":
            return {"retry-after": f"{seconds:g}"}
        case "ms":
            return {"retry-after-ms": f"{seconds * 1000:g}"}
        case "date":
            at = datetime.now(UTC) + timedelta(seconds=seconds)
            return {"retry-after": format_datetime(at, usegmt=True)}


def _charged(fault: str | None) -> bool:
    return fault in (None, "null", "empty", "no_usage", "content_filter", "slow_body")


def _kind(fault: str | None) -> str:
    return "text/html" if fault == "html" else "application/json"


def _answer(behaviour: Behaviour, request: Request, answers: dict[str, str], fault: str | None) -> bytes:
    if fault == "html":
        return b"<html><body>Bad gateway of some proxy</body></html>"
    if fault == "error_in_200":
        return json.dumps({"error": {"message": "upstream said no", "code": behaviour.error_code}}).encode()
    reply = json.dumps(_completed(behaviour, request, answers, fault)).encode()
    return reply[: len(reply) // 2] if fault == "truncated" else reply


def _completed(behaviour: Behaviour, request: Request, answers: dict[str, str], fault: str | None) -> dict[str, Any]:
    messages = request.body.get("messages") or [{"content": request.body.get("prompt", "")}]
    contents = [str(message.get("content", "")) for message in messages]
    text: str | None = answers.get(prompt_sha(contents), contents[-1] if behaviour.answer is None else behaviour.answer)
    if fault in ("null", "empty"):
        text = None if fault == "null" else ""
    chat = request.path.endswith("/chat/completions")
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    if "grammar" in request.body:
        said = _weighed(str(request.body["grammar"]))
    reply: dict[str, Any] = {
        "id": "faulty-" + hashlib.sha256(request.raw).hexdigest()[:16],
        "object": "chat.completion" if chat else "text_completion",
        "created": 1_700_000_000,
        "model": request.body.get("model", "faulty"),
        "choices": [{"index": 0, "finish_reason": "content_filter" if fault == "content_filter" else "stop", **said}],
    }
    if fault == "no_choices":
        reply["choices"] = []
    if fault != "no_usage":
        asked, given = sum(len(content.split()) for content in contents), len((text or "").split())
        reply["usage"] = {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}
    return reply


def _weighed(grammar: str) -> dict[str, Any]:
    """llama.cpp's choice for a grammar of tokens: every byte is a token, its weight drawn from it and its place."""
    ids = [int(part.split("]")[0]) for part in grammar.split("<[")[1:]]
    weights = [
        -int.from_bytes(hashlib.sha256(f"{place}/{token}".encode()).digest()[:2], "big") / 2**14
        for place, token in enumerate(ids)
    ]
    content = [
        {"id": token, "token": chr(token), "logprob": weight} for token, weight in zip(ids, weights, strict=True)
    ]
    return {"text": bytes(ids).decode(errors="replace"), "logprobs": {"content": content}}
