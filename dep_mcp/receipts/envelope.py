"""The envelope: DSSE 1.0, read more strictly than it asks.

DSSE lets readers skip what they don't know and take two alphabets of base64. Here a receipt has one form: whoever
changes a byte of the file, even where no signature covers it, makes another file, which is refused.
"""

import json
from base64 import b64decode, b64encode
from typing import Any, Final, NoReturn, TypeVar

from pydantic import ValidationError

from dep_mcp.protocol import PAYLOAD_TYPE, Envelope, Statement, WireModel
from dep_mcp.protocol.errors import ReceiptError
from dep_mcp.receipts.keys import SigningKey

Model = TypeVar("Model", bound=WireModel)

MOST_BYTES: Final = 4 * 1024 * 1024
"""Of a receipt's file; one with a thousand sub-tasks has a tenth of it."""


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    name = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def signed(what: Statement, key: SigningKey) -> Envelope:
    """Put a statement into an envelope and sign it."""
    payload = what.model_dump_json(by_alias=True).encode()
    return Envelope(
        payloadType=PAYLOAD_TYPE,
        payload=b64encode(payload).decode(),
        signatures=(key.sign(pae(PAYLOAD_TYPE, payload)),),
    )


def countersigned(envelope: Envelope, key: SigningKey) -> Envelope:
    """Add a second signature to an envelope; the caller has looked at what it says."""
    return envelope.model_copy(update={"signatures": (*envelope.signatures[:1], key.sign(message(envelope)))})


def message(envelope: Envelope) -> bytes:
    """What its signatures are over.

    Raises:
        ReceiptError: Its payload isn't canonical base64.
    """
    return pae(envelope.payloadType, _payload(envelope))


def parse(data: bytes) -> Envelope:
    """Read an envelope; nothing of it is verified yet.

    Raises:
        ReceiptError: It is no envelope of ours.
    """
    return _read(Envelope, data, "no receipt")


def statement(envelope: Envelope) -> Statement:
    """Read the statement in an envelope.

    Raises:
        ReceiptError: It is none of ours.
    """
    return _read(Statement, _payload(envelope), "what is signed is no statement of a score")


def _payload(envelope: Envelope) -> bytes:
    try:
        payload = b64decode(envelope.payload, validate=True)
    except ValueError:
        payload = b""
    if b64encode(payload).decode() != envelope.payload:
        msg = "the payload isn't base64 in its canonical form"
        raise ReceiptError(msg)
    return payload


def _read(kind: type[Model], data: bytes, wrong: str) -> Model:
    """JSON of one meaning: no key twice, no infinities, no number for a text; then the closed model."""
    if len(data) > MOST_BYTES:
        msg = f"{wrong}: it has more than {MOST_BYTES // 2**20} MiB"
        raise ReceiptError(msg)
    try:
        json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_refuse)
        return kind.model_validate_json(data, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, fault["loc"]))
        msg = f"{wrong}: {where}: {fault['msg']}" if where else f"{wrong}: {fault['msg']}"
        raise ReceiptError(msg[:300]) from error
    except (ValueError, RecursionError) as error:
        msg = f"{wrong}: not JSON of one meaning ({str(error)[:100]})"
        raise ReceiptError(msg) from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        msg = "a key stands twice in one object"
        raise ValueError(msg)
    return found


def _refuse(constant: str) -> NoReturn:
    msg = f"{constant} is no number"
    raise ValueError(msg)
