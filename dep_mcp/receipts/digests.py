"""Digests of what has a wire form."""

import hashlib

from dep_mcp.protocol import Digest, WireModel


def digest_of(model: WireModel) -> Digest:
    """SHA-256 of a model's compact JSON, its fields in the order of its schema."""
    return written(hashlib.sha256(model.model_dump_json().encode()).digest())


def written(digest: bytes) -> Digest:
    """A SHA-256 as the wire writes it."""
    return f"sha256:{digest.hex()}"
