"""Receipts that are good until a test spoils them."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from dep_mcp.protocol import (
    PAYLOAD_TYPE,
    Attested,
    Claimed,
    Counts,
    Envelope,
    Estimate,
    Policy,
    ScoreReport,
    new_evaluation_id,
)
from dep_mcp.receipts import AnswerLog, SigningKey, countersigned, issue
from dep_mcp.receipts.envelope import pae

DIGEST = "sha256:" + "a" * 64


@dataclass(frozen=True)
class Made:
    """A receipt with the keys that signed it."""

    container: SigningKey = field(default_factory=SigningKey.mint)
    owner: SigningKey = field(default_factory=SigningKey.mint)

    def envelope(self, **claims: Any) -> Envelope:
        """Signed by the container."""
        answers = AnswerLog()
        for number in range(3):
            answers.add(bytes([number]) * 32)
        answers.add(None)
        report = ScoreReport(
            evaluation_id=new_evaluation_id(),
            benchmark="toy",
            benchmark_version="1",
            task="odd",
            metric="accuracy",
            overall=Estimate(value=0.5, n=4, stderr=0.25, low=0.15, high=0.85, method="wilson"),
            ranked=0.375,
            upper=0.625,
            counts=Counts(expected=4, scored=3, failed=1, missing=0),
            items_digest=DIGEST,
        )
        attested = Attested(
            public_key=self.container.public,
            report=report,
            policy=Policy(),
            data=DIGEST,
            scorer=DIGEST,
            answers=answers.root,
            commitment=None,
        )
        claimed = Claimed.model_validate({"at": datetime.now(UTC), "image": DIGEST, "model": "m"} | claims)
        return issue(attested, claimed, answers, self.container)

    def countersigned(self, **claims: Any) -> Envelope:
        """Signed by both."""
        return countersigned(self.envelope(**claims), self.owner)

    def forged(self, change: Callable[[dict[str, Any]], None]) -> bytes:
        """Another statement, signed by both keys all the same."""
        statement = json.loads(pae_free(self.envelope()))
        change(statement)
        return self.signed(json.dumps(statement).encode())

    def signed(self, payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
        """Whatever it is, signed by both."""
        signatures = [key.sign(pae(payload_type, payload)).model_dump() for key in (self.container, self.owner)]
        whole = {"payloadType": payload_type, "payload": b64encode(payload).decode(), "signatures": signatures}
        return json.dumps(whole).encode()


def pae_free(envelope: Envelope) -> bytes:
    """The statement's bytes."""
    from base64 import b64decode

    return b64decode(envelope.payload)


@pytest.fixture
def made() -> Made:
    return Made()
