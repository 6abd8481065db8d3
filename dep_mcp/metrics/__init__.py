"""Aggregates over scores: a mean with its uncertainty. Pure; sees scores, never targets."""

from dep_mcp.metrics.estimate import estimate, estimate_from_mean

__all__ = ["estimate", "estimate_from_mean"]
