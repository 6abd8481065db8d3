"""Aggregates over scores: a mean with its uncertainty. Pure; sees scores, never targets."""

from dep_mcp.metrics.estimate import estimate

__all__ = ["estimate"]
