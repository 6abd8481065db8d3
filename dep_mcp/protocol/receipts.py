"""Receipts on the wire: an envelope (DSSE 1.0), the statement in it (in-toto Statement 1), what a statement says.

`dep_mcp.receipts` makes and checks them. Field names that aren't ours are those of the two specifications:
https://github.com/secure-systems-lab/dsse and https://github.com/in-toto/attestation/tree/main/spec/v1.
"""

from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, ConfigDict, Field, StringConstraints

from dep_mcp.protocol.base import Digest, WireModel
from dep_mcp.protocol.cards import Commitment
from dep_mcp.protocol.ids import EvaluationId
from dep_mcp.protocol.policy import Policy
from dep_mcp.protocol.scores import ScoreReport

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE: Final = "https://github.com/dep-mcp/dep-mcp/receipt/v1"

# Patterns that only the canonical encoding fits: a last digit has no bits to spare.
PublicKey = Annotated[
    str, StringConstraints(pattern=r"^MCowBQYDK2VwAyEA[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")
]  # fmt: skip
"""An Ed25519 key as base64 of its SubjectPublicKeyInfo (RFC 8410): the middle line of a PEM file."""

Hex256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Signature(WireModel):
    """One signature over the envelope's type and payload."""

    keyid: Hex256
    """SHA-256 of the public key's SubjectPublicKeyInfo; a hint, which no signature covers."""
    sig: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9+/]{85}[AQgw]==$")]
    """Ed25519 (RFC 8032) over the pre-authentication encoding of type and payload; base64."""


class Envelope(WireModel):
    """A signed statement. The container signs first; the owner may add a signature to the same payload."""

    payloadType: Literal["application/vnd.in-toto+json"]  # noqa: N815 (DSSE's name)
    payload: str
    """The statement as UTF-8 JSON, in base64 of the standard alphabet."""
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1, max_length=2)]


class Claims(WireModel):
    """What the operator says of an evaluation at `open`: nothing inside the seal can check it."""

    image: Digest | None = None
    """The engine's id of the image; what the owner's signature vouches for."""
    model: Annotated[str, StringConstraints(max_length=500)] | None = None
    """Name of the model's card."""
    model_card: Digest | None = None
    """SHA-256 of the card as compact JSON in the order of the schema's fields."""
    generation: Digest | None = None
    """The same of the settings of generation, the system prompt among them."""
    identity: Annotated[str, StringConstraints(min_length=1, max_length=500)] | None = None
    """Who is evaluated, where the operator knows."""
    policy_binds: bool = False
    """Whether the operator keeps the card's policy against others. On one's own machine it binds nobody."""


class Attested(WireModel):
    """What the container itself computed, or read in its image."""

    public_key: PublicKey
    """Minted at `open`; the private half never leaves the container."""
    report: ScoreReport
    """The score as `score` gave it; its `items_digest` is that of the prompts."""
    policy: Policy
    """As the card states it."""
    data: Digest
    """Of items and targets, or of the generator."""
    sealed: bool = False
    """Whether items and targets were encrypted until the operator brought the key."""
    scorer: Digest | None
    """Of the scoring code."""
    answers: Digest
    """Merkle root (RFC 6962) of the answers in the evaluation's order; see `dep_mcp.receipts.AnswerLog`."""
    commitment: Commitment | None
    """As the card states it."""


class Claimed(Claims):
    """What a receipt repeats without knowing it."""

    at: AwareDatetime
    """When it was scored, by a clock that whoever runs the machine can set."""


class Predicate(WireModel):
    """What a receipt says, by who stands for it."""

    attested: Attested
    claimed: Claimed


class DigestSet(WireModel):
    """Digests of a subject."""

    sha256: Hex256


class Subject(WireModel):
    """What a statement is about: the evaluation, by the list of its answers."""

    name: EvaluationId
    digest: DigestSet
    """Of the list that `receipt export --answers` writes."""


class Statement(WireModel):
    """An in-toto statement about one evaluation."""

    model_config = ConfigDict(populate_by_name=True)

    type_: Annotated[Literal["https://in-toto.io/Statement/v1"], Field(alias="_type")]
    subject: Annotated[tuple[Subject, ...], Field(min_length=1, max_length=1)]
    predicate_type: Annotated[
        Literal["https://github.com/dep-mcp/dep-mcp/receipt/v1"], Field(alias="predicateType")
    ]  # fmt: skip
    predicate: Predicate


class Opening(WireModel):
    """One item of a retired benchmark with its target, and what ties it to the card's commitment."""

    number: Annotated[int, Field(ge=0)]
    """Place in the commitment, from 0."""
    item: str
    """The item's JSON, to the byte as it was committed to."""
    target: str
    """The target's JSON, likewise."""
    salt: Hex256
    proof: tuple[Hex256, ...] | None
    """The audit path (RFC 6962); `None` where all items are opened together."""
