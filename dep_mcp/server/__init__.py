"""The benchmark SDK: what an author needs, and the MCP server made of it. Sealed side only.

`SealedItem` and its target live here and nowhere else. What an image runs is `python -m dep_mcp.server`.
"""

from dep_mcp.server.benchmark import Benchmark, Draw, SealedItem

__all__ = ["Benchmark", "Draw", "SealedItem"]
