"""Whether a seal has effect: a probe in a container tries what the flags forbid. An inspection shows flags alone."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from dep_mcp.containers.hardening import MIB, PIDS
from dep_mcp.containers.port import Container, ContainerSpec
from dep_mcp.protocol.errors import HardeningError

_PROBE = Path(__file__).with_name("probe.py")
MEMORY_MB, SCRATCH_MB = 96, 16
TIMEOUT_S = 60.0
_ONE_TO_ONE = "0 0 4294967295"


async def require_effect(
    start: Callable[[ContainerSpec], AbstractAsyncContextManager[Container]],
    image: str,
    *,
    runtime: str,
    remapped: bool,
) -> None:
    """Run the probe.

    Args:
        start: Starts a sealed container.
        image: With Python 3 in it.
        runtime: What the engine's runtime is called, for the message.
        remapped: Whether users inside must be others outside.

    Raises:
        HardeningError: Something that was asked for doesn't hold; names all of it.
        EngineError: The runtime starts no such container; the engine's own reason.
    """
    limits = (MEMORY_MB * MIB, PIDS, SCRATCH_MB * MIB, SCRATCH_MB // 2 * MIB)
    command = ("python3", "-c", _PROBE.read_text(encoding="utf-8"), *map(str, limits))
    spec = ContainerSpec(image=image, labels={}, memory_mb=MEMORY_MB, scratch_mb=SCRATCH_MB, command=command)
    async with start(spec) as container:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                said = [line async for line in container.lines()]
        except TimeoutError:
            msg = f"the probe of runtime {runtime} didn't end within {TIMEOUT_S:.0f} s: use another runtime or engine"
            raise HardeningError(msg) from None
        words = container.stderr_tail().strip()
    try:
        found: Mapping[str, str] = json.loads(said[-1])
    except (IndexError, ValueError):
        msg = f"the probe of runtime {runtime} ended without a result: {words[-500:] or 'killed, perhaps'}"
        raise HardeningError(msg) from None
    problems = [f"{name}: {what}" for name, what in found.items() if what and name != "users"]
    if remapped and found["users"] == _ONE_TO_ONE:
        problems.append("users: those inside are the same outside")
    if problems:
        msg = f"under runtime {runtime} the seal has no effect: {'; '.join(problems)}. Use another runtime or engine."
        raise HardeningError(msg)
