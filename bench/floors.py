"""Runs the bare loops beside which everything is measured."""

import sys
from pathlib import Path

from bench.container import Sealed
from bench.ours import Evaluated
from bench.process import run
from dep_mcp.testing import FaultyProvider

_LOOPS = Path(__file__).with_name("loops.py")


async def bare(provider: FaultyProvider, kind: str, items: int, width: int) -> Evaluated:
    """Run a bare loop: `aiohttp` or `litellm`."""
    env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    ended = await run([sys.executable, _LOOPS, kind, provider.api_base, str(items), str(width)], env=env)
    return Evaluated(run=ended, sealed=Sealed(), counters=await provider.counters())


def marginal_ms(small: Evaluated, large: Evaluated) -> float:
    """CPU of the process tree per item, without what doesn't depend on their number."""
    items = int(large.counters["answered"] - small.counters["answered"])
    return 1000 * (large.run.cpu_s - small.run.cpu_s) / items
