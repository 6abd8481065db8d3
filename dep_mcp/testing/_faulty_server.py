"""What the connections of the faulty provider share: its behaviour, its counters, its limits, and its endpoints."""

import hashlib
import json
import time
from typing import Any

from pydantic import ValidationError

from dep_mcp.testing._faulty_behaviour import Behaviour, Reply, Request
from dep_mcp.testing._faulty_replies import decide, refuse

_ANSWERING = ("/v1/chat/completions", "/v1/completions")


class Provider:
    """What all connections share: behaviour, counters and the token bucket.

    Args:
        behaviour: How it starts.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.change(behaviour)
        # Plain dicts: a Counter's missing keys cost a call of Python code each.
        self._sent: dict[bytes, int] = {}
        self._answered: dict[bytes, int] = {}
        self._statuses: dict[str, int] = {}
        self._marks: dict[bytes, str] = {}
        self._by: dict[str, int] = {}
        self.in_flight = 0
        self._max_in_flight = 0
        self._first_at: float | None = None
        self._last_at: float | None = None

    def change(self, behaviour: Behaviour) -> None:
        """Behave so from now on."""
        self.behaviour = behaviour
        self._answers: dict[str, str] = {}
        if behaviour.answers is not None:
            self._answers = json.loads(behaviour.answers.read_text(encoding="utf-8"))
        self._tokens, self._filled_at = behaviour.burst, time.monotonic()

    def counters(self) -> dict[str, Any]:
        """What came and what was sent back."""
        return {
            "requests": sum(self._sent.values()),
            "unique": len(self._sent),
            "sent_twice": sum(count > 1 for count in self._sent.values()),
            "answered": len(self._answered),
            "answered_twice": sum(count > 1 for count in self._answered.values()),
            "statuses": dict(self._statuses),
            "in_flight": self.in_flight,
            "max_in_flight": self._max_in_flight,
            "first_at": self._first_at,
            "last_at": self._last_at,
            "by": dict(self._by),
            "cpu_s": time.process_time(),
        }

    def reply_to(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[Reply, bytes | None]:
        """The reply, and for a call of the model the digest of its request (else `None`)."""
        if method == "POST" and path in _ANSWERING:
            return self._call(path, headers, raw)
        return self._aside(method, path, headers, raw), None

    def sent(self, digest: bytes, reply: Reply) -> None:
        """A reply to a call has left."""
        self._last_at = time.time()
        status = reply.fault if reply.fault in ("hang", "cut", "cut_body") else str(reply.status)
        self._statuses[status] = self._statuses.get(status, 0) + 1
        if reply.answers:
            self._answered[digest] = self._answered.get(digest, 0) + 1
            if self._marks and (mark := self._marks.get(digest)) is not None:
                self._by[mark] = self._by.get(mark, 0) + 1

    def _call(self, path: str, headers: dict[str, str], raw: bytes) -> tuple[Reply, bytes]:
        digest = hashlib.sha256(path.encode() + raw).digest()
        self._sent[digest] = attempt = self._sent.get(digest, 0) + 1
        if self._first_at is None:
            self._first_at = time.time()
        self.in_flight += 1
        if self.in_flight > self._max_in_flight:  # noqa: PLR1730 (max() is a call)
            self._max_in_flight = self.in_flight
        for mark in self.behaviour.count_by:
            if mark.encode() in raw:
                self._marks[digest] = mark
        refused = self._refused(headers)
        return (self._decide(Request(path, raw, digest, attempt, {})) if refused is None else refused), digest

    def _refused(self, headers: dict[str, str]) -> Reply | None:
        behaviour = self.behaviour
        if not self._authorised(headers):
            return refuse(behaviour, 401, "invalid_api_key", "Incorrect API key provided.")
        if behaviour.max_in_flight is not None and self.in_flight > behaviour.max_in_flight:
            return refuse(behaviour, 429, "rate_limit_exceeded", "Too many requests in flight.")
        if not self._take_token():
            return refuse(behaviour, 429, "rate_limit_exceeded", "Too many requests.")
        return None

    def _decide(self, request: Request) -> Reply:
        behaviour = self.behaviour
        try:
            body = json.loads(request.raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return refuse(behaviour, 400, "invalid_request", "The body is not a JSON object.")
        request.body.update(body)
        reply = decide(behaviour, request, self._answers)
        if behaviour.ratelimit_headers:
            left = max(0, int(self._tokens))
            rate = behaviour.rate_per_s
            reset_s = behaviour.retry_after_s if rate is None else (int(behaviour.burst) - left) / rate
            reply.headers.update({
                "x-ratelimit-limit-requests": str(int(behaviour.burst)),
                "x-ratelimit-remaining-requests": str(left),
                "x-ratelimit-reset-requests": f"{reset_s * 1000:.3f}ms",
            })  # fmt: skip
        return reply

    def _authorised(self, headers: dict[str, str]) -> bool:
        key = self.behaviour.api_key
        return key is None or headers.get("authorization") == f"Bearer {key}"

    def _take_token(self) -> bool:
        rate = self.behaviour.rate_per_s
        if rate is None:
            return True
        now = time.monotonic()
        self._tokens = min(self.behaviour.burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _aside(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> Reply:  # noqa: PLR0911 (a table)
        match method, path:
            case "GET", "/counters":
                return _json(self.counters())
            case "POST", "/behaviour":
                try:
                    self.change(Behaviour.model_validate({**self.behaviour.model_dump(), **json.loads(raw)}))
                except (ValidationError, ValueError, TypeError, OSError) as error:
                    return _json({"error": str(error)}, 400)
                return _json(self.behaviour.model_dump(mode="json"))
            case "GET", "/v1/models" if not self._authorised(headers):
                return refuse(self.behaviour, 401, "invalid_api_key", "Incorrect API key provided.")
            case "GET", "/v1/models" if self.behaviour.models is not None:
                return _json({"object": "list", "data": [{"id": name} for name in self.behaviour.models]})
            case "POST", "/tokenize":
                return _json({"tokens": list(str(json.loads(raw)["content"]).encode())})
            case "POST", "/apply-template":
                messages = json.loads(raw)["messages"]
                return _json({"prompt": "".join(f"<{one['role']}>{one['content']}\n" for one in messages)})
        return _json({"error": {"message": f"no endpoint {method} {path}", "code": 404}}, 404)


def _json(value: dict[str, Any], status: int = 200) -> Reply:
    return Reply(status, json.dumps(value).encode())
