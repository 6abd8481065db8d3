"""The faulty provider's server: HTTP/1.1 by hand, since an HTTP framework costs more than a client under test.

It understands just what clients of chat endpoints send: requests with a `Content-Length`, kept alive, one after
another.
"""

import asyncio
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from dep_mcp.testing._faulty_behaviour import Behaviour, Reply, Request, decide, refuse

_ANSWERING = ("/v1/chat/completions", "/v1/completions")


class Provider:
    """What all connections share: behaviour, counters and the token bucket.

    Args:
        behaviour: How it starts.
    """

    def __init__(self, behaviour: Behaviour) -> None:
        self.change(behaviour)
        self._sent: Counter[bytes] = Counter()
        self._answered: Counter[bytes] = Counter()
        self._statuses: Counter[str] = Counter()
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
            "requests": self._sent.total(),
            "unique": len(self._sent),
            "sent_twice": sum(count > 1 for count in self._sent.values()),
            "answered": len(self._answered),
            "answered_twice": sum(count > 1 for count in self._answered.values()),
            "statuses": dict(self._statuses),
            "in_flight": self.in_flight,
            "max_in_flight": self._max_in_flight,
            "first_at": self._first_at,
            "last_at": self._last_at,
        }

    def reply_to(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[Reply, bytes | None]:
        """The reply, and for a call of the model the digest of its request (else `None`)."""
        if method == "POST" and path in _ANSWERING:
            return self._call(path, headers, raw)
        return self._aside(method, path, headers, raw), None

    def sent(self, digest: bytes, reply: Reply) -> None:
        """A reply to a call has left."""
        self._last_at = time.time()
        self._statuses[reply.fault if reply.fault in ("hang", "cut", "cut_body") else str(reply.status)] += 1
        if reply.answers:
            self._answered[digest] += 1

    def _call(self, path: str, headers: dict[str, str], raw: bytes) -> tuple[Reply, bytes]:
        digest = hashlib.sha256(path.encode() + raw).digest()
        self._sent[digest] += 1
        self._first_at = self._first_at or time.time()
        self.in_flight += 1
        self._max_in_flight = max(self._max_in_flight, self.in_flight)
        return self._decide(path, headers, raw, self._sent[digest]), digest

    def _decide(self, path: str, headers: dict[str, str], raw: bytes, attempt: int) -> Reply:
        behaviour = self.behaviour
        if not self._authorised(headers):
            return refuse(behaviour, 401, "invalid_api_key", "Incorrect API key provided.")
        if behaviour.max_in_flight is not None and self.in_flight > behaviour.max_in_flight:
            return refuse(behaviour, 429, "rate_limit_exceeded", "Too many requests in flight.")
        if not self._take_token():
            return refuse(behaviour, 429, "rate_limit_exceeded", "Too many requests.")
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            return refuse(behaviour, 400, "invalid_request", "The body is not a JSON object.")
        reply = decide(behaviour, Request(path, headers, raw, attempt, body), self._answers)
        if behaviour.ratelimit_headers:
            left = max(0, int(self._tokens))
            reply.headers.update({
                "x-ratelimit-limit-requests": str(int(behaviour.burst)),
                "x-ratelimit-remaining-requests": str(left),
                "x-ratelimit-reset-requests": f"{int(behaviour.retry_after_s * 1000)}ms",
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


class Connection(asyncio.Protocol):
    """One client's connection.

    Args:
        provider: Shared.
    """

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._buffer = b""
        self._busy = False
        self._waiting: asyncio.TimerHandle | None = None
        self._flying = False
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left: what it waited for is dropped."""
        del exc
        self._transport = None
        if self._waiting is not None:
            self._waiting.cancel()
        self._landed()

    def data_received(self, data: bytes) -> None:
        """Collect until a request is whole."""
        self._buffer += data
        if not self._busy:
            self._next()

    def _next(self) -> None:
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not end or self._transport is None:
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._buffer = rest[length:]
        self._busy = True
        method, target, _ = request_line.split(" ", 2)
        reply, digest = self._provider.reply_to(method, target.partition("?")[0], headers, rest[:length])
        self._flying = digest is not None
        if reply.fault == "hang":
            self._count(digest, reply)
        elif reply.delay_s > 0:
            self._later(reply.delay_s, lambda: self._send(reply, digest))
        else:
            self._send(reply, digest)

    def _later(self, delay_s: float, do: Callable[[], None]) -> None:
        self._waiting = self._loop.call_later(delay_s, do)

    def _count(self, digest: bytes | None, reply: Reply) -> None:
        if digest is not None:
            self._provider.sent(digest, reply)

    def _landed(self) -> None:
        if self._flying:
            self._provider.in_flight -= 1
            self._flying = False

    def _send(self, reply: Reply, digest: bytes | None) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._count(digest, reply)
        if reply.fault == "cut":
            self._transport.abort()
            return
        extra = "".join(f"{name}: {value}\r\n" for name, value in reply.headers.items())
        head = (
            f"HTTP/1.1 {reply.status} Status\r\ncontent-type: {reply.kind}\r\n"
            f"content-length: {len(reply.body)}\r\n{extra}\r\n"
        ).encode("latin-1")
        if reply.fault == "cut_body":
            self._transport.write(head + reply.body[: len(reply.body) // 2])
            self._transport.close()
        elif reply.fault == "slow_body":
            self._transport.write(head)
            self._trickle(reply.body, max(1, len(reply.body) // 10))
        else:
            self._transport.write(head + reply.body)
            self._done()

    def _trickle(self, body: bytes, step: int) -> None:
        if self._transport is None:
            return
        self._transport.write(body[:step])
        if body[step:]:
            self._later(self._provider.behaviour.slow_body_s / 10, lambda: self._trickle(body[step:], step))
        else:
            self._done()

    def _done(self) -> None:
        self._landed()
        self._busy = False
        self._next()
