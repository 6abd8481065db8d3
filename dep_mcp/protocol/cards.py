"""Cards: what a benchmark's author and a model's owner declare, as YAML files."""

from collections.abc import Callable
from typing import Annotated, Literal, TypeVar
from uuid import UUID

import yaml
from pydantic import Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from dep_mcp.protocol.base import Digest, FiniteFloat, Line, Name, Text, WireModel
from dep_mcp.protocol.errors import CardError
from dep_mcp.protocol.items import Generation, RequestKind
from dep_mcp.protocol.policy import Policy


class DataFile(WireModel):
    """A file of a benchmark's data, as its authors publish it."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Its name inside the image, under `data/`."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    url: str | None = None
    """Where its authors publish it; fetched by `dep-mcp data pull`, never during an evaluation."""


class Commitment(WireModel):
    """A promise of what the items and targets are, made in public and opened when the benchmark retires."""

    root: Digest
    """Merkle root (RFC 6962) over salted items and targets; made by `dep-mcp bench commit`."""
    items: Annotated[int, Field(ge=1)]


Recipient = Annotated[str, StringConstraints(pattern=r"^age1[02-9ac-hj-np-z]{58}$")]
"""Public half of a data key: an X25519 recipient of age (age-encryption.org/v1)."""


class Sealed(WireModel):
    """How a benchmark's items and targets are encrypted; written into its card by `dep-mcp bench seal`."""

    recipient: Recipient
    """Whoever has the key to it can run the benchmark."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """Of the encrypted bundle, `bundle.age`."""
    items: Annotated[int, Field(ge=1)]
    tasks: tuple[str, ...] = ()
    """Names of its sub-tasks, which `describe` tells before the bundle is opened."""


class Resources(WireModel):
    """Limits of the benchmark's container."""

    memory_mb: Annotated[int, Field(ge=64, le=65536)] = 256
    cpus: Annotated[FiniteFloat, Field(gt=0, le=64)] = 1.0


class DatasetCard(WireModel):
    """`dataset_card.yaml`: source, licence, digest and policy of a benchmark's data."""

    name: Name
    version: Line
    title: Line
    description: Text
    license: Line
    source: Text
    """Who made the data, and where it is described."""
    data: tuple[DataFile, ...] = ()
    """Empty for benchmarks that generate their items."""
    generation: Generation = Generation()
    request: RequestKind = RequestKind.CHAT
    metric: Name = "accuracy"
    policy: Policy = Policy()
    publish_seed: bool = True
    """Whether the secret seed becomes readable when the evaluation closes."""
    resources: Resources = Resources()
    commitment: Commitment | None = None
    sealed: Sealed | None = None
    """`None` for public data: its targets lie in the image as they are, and every result says so."""
    canary: UUID | None = None
    """Belongs into every file of the data, so that leaked data can be searched for."""
    retired: bool = False
    """Whether items and targets may be opened: `dep-mcp bench open` refuses until the card says so."""


class Limits(WireModel):
    """What a model's endpoint bears."""

    concurrency: Annotated[int, Field(ge=1, le=10000)] | None = None
    """Calls in flight at most; `None` finds out what the endpoint bears."""
    requests_per_minute: Annotated[FiniteFloat, Field(gt=0)] | None = None
    tokens_per_minute: Annotated[FiniteFloat, Field(gt=0)] | None = None
    """Of prompts and answers together."""
    timeout_s: Annotated[FiniteFloat, Field(gt=0)] = 120.0
    """Deadline of one call."""


class Prices(WireModel):
    """What a model costs, in US dollars per million tokens."""

    input_usd: Annotated[FiniteFloat, Field(ge=0)]
    output_usd: Annotated[FiniteFloat, Field(ge=0)]


class Weights(WireModel):
    """Weights of a local model, carried by a package of the Python package index."""

    package: str
    """`name==version`; installed without its dependencies."""
    file: str
    """Path inside the package."""
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class ModelCard(WireModel):
    """`adapters/cards/<name>.yaml`: identity, endpoint and limits of a model."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    adapter: Name
    """The folder in `adapters/` whose code calls it."""
    model: str
    """The name its provider knows it by."""
    description: Text = ""
    license: Line | None = None
    api_base: str | None = None
    api_key_env: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Name of the environment variable that holds the key; a card never holds a key."""
    reasoning_tags: bool = False
    """Its answers begin with `<think>…</think>`, which is kept apart."""
    requests: tuple[RequestKind, ...] = (RequestKind.CHAT,)
    """What it can answer."""
    limits: Limits = Limits()
    prices: Prices | None = None
    """Where they aren't given, those that LiteLLM knows."""
    generation: Generation | None = None
    """Overrides the benchmark's settings, field by field, where given."""
    serve: Literal["llamacpp"] | None = None
    """Start and stop a local server for it."""
    weights: Weights | str | None = None
    """For a local server: a package, or a path to a GGUF file."""


Card = TypeVar("Card", DatasetCard, ModelCard)


def parse_card(kind: type[Card], read: Callable[[], bytes], where: object) -> Card:
    """A card from its YAML file, which the caller opens.

    Args:
        kind: Which card it is.
        read: Gives the file's content.
        where: The file, for messages.

    Raises:
        CardError: With the file and each broken field.
    """
    try:
        return kind.model_validate(yaml.safe_load(read()))
    except ValidationError as error:
        msg = f"{where}: {'; '.join(map(_fault, error.errors()))}"
        raise CardError(msg) from error
    except (yaml.YAMLError, OSError, ValueError) as error:  # a ValueError: not UTF-8, or an impossible date
        msg = f"{where}: {error}"
        raise CardError(msg) from error


def _fault(fault: ErrorDetails) -> str:
    said = "there is no such field" if fault["type"] == "extra_forbidden" else fault["msg"]
    return f"{'.'.join(map(str, fault['loc'])) or 'card'}: {said}"
