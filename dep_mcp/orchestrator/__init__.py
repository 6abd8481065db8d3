"""The orchestrator: evaluation ids, their life cycle, images and sealed endpoints. Calls no model."""

from dep_mcp.orchestrator.catalogue import BenchmarkFolder, Catalogue, find_data
from dep_mcp.orchestrator.commitments import commit, open_up
from dep_mcp.orchestrator.countersigning import Scored
from dep_mcp.orchestrator.endpoint import SealedEndpoint
from dep_mcp.orchestrator.keys import OwnerKeys
from dep_mcp.orchestrator.orchestrator import (
    EvaluationStore,
    Orchestrator,
    Prepared,
    container_spec,
    require,
    require_unchanged,
)
from dep_mcp.orchestrator.sealing import seal
from dep_mcp.orchestrator.warm import WarmRuntime

__all__ = [
    "BenchmarkFolder",
    "Catalogue",
    "EvaluationStore",
    "Orchestrator",
    "OwnerKeys",
    "Prepared",
    "Scored",
    "SealedEndpoint",
    "WarmRuntime",
    "commit",
    "container_spec",
    "find_data",
    "open_up",
    "require",
    "require_unchanged",
    "seal",
]
