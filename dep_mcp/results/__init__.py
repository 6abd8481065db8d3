"""Results: the store, the leaderboard. Reads and writes what an evaluation left; runs nothing."""

from dep_mcp.results.leaderboard import Standing, leaderboard
from dep_mcp.results.rows import Totals
from dep_mcp.results.store import Store

__all__ = ["Standing", "Store", "Totals", "leaderboard"]
