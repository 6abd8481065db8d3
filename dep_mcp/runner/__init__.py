"""The runner: moves items to a model and answers back, and loses nothing. Starts no container."""

from dep_mcp.runner.runner import Progress, Runner

__all__ = ["Progress", "Runner"]
