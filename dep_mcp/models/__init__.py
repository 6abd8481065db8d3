"""Models: the adapter port, the status policy, adaptive concurrency, cards and their discovery."""

from dep_mcp.models.allowance import Allowance
from dep_mcp.models.breaker import Breaker
from dep_mcp.models.cache import CachedAdapter
from dep_mcp.models.caller import Called, Caller, RetryPolicy
from dep_mcp.models.control import Ticket
from dep_mcp.models.discovery import Models
from dep_mcp.models.limiter import Flow, Limiter
from dep_mcp.models.port import Completion, ModelAdapter

__all__ = [
    "Allowance",
    "Breaker",
    "CachedAdapter",
    "Called",
    "Caller",
    "Completion",
    "Flow",
    "Limiter",
    "ModelAdapter",
    "Models",
    "RetryPolicy",
    "Ticket",
]
