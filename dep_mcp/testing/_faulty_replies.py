"""What the faulty provider replies: its repeatable draws, and the bodies they lead to. No I/O.

The common case, an answer without a fault, is written by hand rather than by `json`, and nothing is drawn that the
behaviour doesn't ask for: a client under test must not be measured against this file.
"""

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from json.encoder import encode_basestring_ascii
from statistics import NormalDist
from typing import Any, Final

from dep_mcp.testing._faulty_behaviour import ODDITIES, REFUSALS, Behaviour, Reply, Request

_NORMAL: Final = NormalDist()
_CHARGED: Final = frozenset({None, "null", "empty", "no_usage", "wrong_usage", "content_filter", "slow_body"})
_WRONG_USAGES: Final[tuple[dict[str, Any], ...]] = (
    {"prompt_tokens": -7, "completion_tokens": -1, "total_tokens": -8},
    {"prompt_tokens": 10**18, "completion_tokens": 10**30, "total_tokens": 1},
    {"prompt_tokens": "7", "completion_tokens": "many", "total_tokens": "8"},
    {"prompt_tokens": None, "completion_tokens": 1.5, "total_tokens": [8]},
)


def prompt_sha(contents: list[str]) -> str:
    """The key of a prompt in the file of answers: SHA-256 over the messages' contents joined by newlines."""
    return hashlib.sha256("\n".join(contents).encode(errors="surrogatepass")).hexdigest()


def draw(behaviour: Behaviour, request: Request, purpose: str) -> float:
    """A repeatable number, uniform in [0, 1)."""
    text = f"{behaviour.seed}/{request.attempt}/{purpose}/".encode()
    return int.from_bytes(hashlib.sha256(text + request.digest).digest()[:7], "big") / 2**56


def decide(behaviour: Behaviour, request: Request, answers: dict[str, str]) -> Reply:
    """The reply that the draws lead to, whatever the load."""
    fault = _fault(behaviour, request) if behaviour.faults else None
    delay_s = behaviour.latency_s if behaviour.latency_sigma is None else _lognormal_s(behaviour, request)
    if fault is None or fault in ODDITIES:
        body = _answer(behaviour, request, answers, fault)
        kind = "text/html" if fault == "html" else "application/json"
        return Reply(200, body, delay_s, fault=fault, answers=fault in _CHARGED, kind=kind)
    status, code, message = REFUSALS.get(fault) or (int(fault), f"error_{fault}", f"The provider said {fault}.")
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
    if behaviour.faults_in and not any(text.encode() in request.raw for text in behaviour.faults_in):
        return None
    mark = draw(behaviour, request, "fault")
    for name, share in behaviour.faults.items():
        mark -= share
        if mark < 0:
            return name
    return None


def _lognormal_s(behaviour: Behaviour, request: Request) -> float:
    mark = min(max(draw(behaviour, request, "latency"), 1e-9), 1 - 1e-9)
    return behaviour.latency_s * math.exp((behaviour.latency_sigma or 0.0) * _NORMAL.inv_cdf(mark))


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


def _answer(behaviour: Behaviour, request: Request, answers: dict[str, str], fault: str | None) -> bytes:
    if fault == "html":
        return b"<html><body>Bad gateway of some proxy</body></html>"
    if fault == "error_in_200":
        return json.dumps({"error": {"message": "upstream said no", "code": behaviour.error_code}}).encode()
    messages = request.body.get("messages") or [{"content": request.body.get("prompt", "")}]
    contents = [str(message.get("content", "")) for message in messages]
    text = contents[-1] if behaviour.answer is None else behaviour.answer
    if answers:
        text = answers.get(prompt_sha(contents), text)
    asked = sum(content.count(" ") + 1 for content in contents)
    if fault in (None, "slow_body") and "grammar" not in request.body:
        return _plain(request, text, asked)
    reply = json.dumps(_odd(behaviour, request, text, asked, fault)).encode()
    return reply[: len(reply) // 2] if fault == "truncated" else reply


def _plain(request: Request, text: str, asked: int) -> bytes:
    """The same as `json.dumps` of what `_odd` returns without a fault."""
    chat, quoted, given = request.path.endswith("/chat/completions"), encode_basestring_ascii(text), _words(text)
    said = f'"message": {{"role": "assistant", "content": {quoted}}}' if chat else f'"text": {quoted}'
    model = encode_basestring_ascii(str(request.body.get("model", "faulty")))
    return (
        f'{{"id": "faulty-{request.digest.hex()[:16]}", "object": "{"chat.completion" if chat else "text_completion"}"'
        f', "created": 1700000000, "model": {model}, "choices": [{{"index": 0, "finish_reason": "stop", {said}}}], '
        f'"usage": {{"prompt_tokens": {asked}, "completion_tokens": {given}, "total_tokens": {asked + given}}}}}'
    ).encode("ascii")


def _odd(behaviour: Behaviour, request: Request, said: str, asked: int, fault: str | None) -> dict[str, Any]:
    chat = request.path.endswith("/chat/completions")
    text = {"null": None, "empty": ""}.get(fault or "", said)
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    if "grammar" in request.body:
        choice = _weighed(str(request.body["grammar"]))
    reply: dict[str, Any] = {
        "id": f"faulty-{request.digest.hex()[:16]}",
        "object": "chat.completion" if chat else "text_completion",
        "created": 1_700_000_000,
        "model": str(request.body.get("model", "faulty")),
        "choices": [{"index": 0, "finish_reason": "content_filter" if fault == "content_filter" else "stop", **choice}],
    }
    if fault == "no_choices":
        reply["choices"] = []
    if fault == "wrong_usage":
        reply["usage"] = _WRONG_USAGES[int(draw(behaviour, request, "usage") * len(_WRONG_USAGES))]
    elif fault != "no_usage":
        given = _words(text or "")
        reply["usage"] = {"prompt_tokens": asked, "completion_tokens": given, "total_tokens": asked + given}
    return reply


def _words(text: str) -> int:
    return len(text.split())


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
