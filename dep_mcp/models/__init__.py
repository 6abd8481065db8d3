"""Models: the adapter port, the status policy, adaptive concurrency, cards and their discovery."""

from dep_mcp.models.caller import Called, Caller, RetryPolicy
from dep_mcp.models.discovery import Models
from dep_mcp.models.port import Completion, ModelAdapter
from dep_mcp.models.window import Window

__all__ = ["Called", "Caller", "Completion", "ModelAdapter", "Models", "RetryPolicy", "Window"]
