"""What this machine has, and what is missing: `dep-mcp doctor`."""

import shutil
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import NamedTuple

from dep_mcp.cli import views
from dep_mcp.cli.wiring import Host
from dep_mcp.containers import REQUIREMENTS, ContainerSpec
from dep_mcp.protocol.errors import DepError
from dep_mcp.settings import secret

_IMAGES = Path(__file__).parents[1] / "images"
SCRIPTS = (_IMAGES / "engine-up", _IMAGES / "base-up")
"""What `dep-mcp setup` runs, in this order."""

_LOW_DISK_GB = 5


class Finding(NamedTuple):
    """One line: whether it is well (`None` where it is only worth knowing), what was looked at, what was found."""

    well: bool | None
    what: str
    found: str


async def examine(host: Host) -> int:
    """Print every finding; return 0 when an evaluation with a local model can run, else 2."""
    well = True
    async for finding in _findings(host):
        well = well and finding.well is not False
        mark = {True: "ok     ", False: "MISSING", None: "note   "}[finding.well]
        views.out().print(f"{mark} {finding.what}: {finding.found}", markup=False)
    return 0 if well else 2


async def _findings(host: Host) -> AsyncIterator[Finding]:
    engine = await _attempt("engine", host.runtime.ping())
    yield engine
    if engine.well:
        base = await _attempt("base image", host.runtime.base_image(host.settings.base_image))
        yield base
        if base.well:
            yield await _attempt("isolation", _sealed(host, base.found))
            yield await _attempt("its effect", _effect(host, base.found))
    free = shutil.disk_usage(host.settings.home).free / 1e9
    yield Finding(free > _LOW_DISK_GB, "disk", f"{free:.0f} GB free at {host.settings.home}")
    for name, card in sorted(host.models.cards().items()):
        if card.api_key_env is None:
            yield Finding(True, f"model {name}", "needs no key")
        else:
            there = bool(secret(card.api_key_env))
            found = "key set" if there else f"no key: set {card.api_key_env} to use it"
            yield Finding(there or None, f"model {name}", found)
    for name, benchmark in sorted(host.catalogue.benchmarks().items()):
        needs = ", ".join(file.name for file in benchmark.card.data)
        yield Finding(None if needs else True, f"benchmark {name}", f"needs {needs}" if needs else "needs no data")


async def _sealed(host: Host, image: str) -> str:
    """Start a container as a benchmark would be, and name what was found applied to it."""
    async with host.runtime.start(ContainerSpec(image=image, labels={})):
        names = ", ".join(requirement.name for requirement in REQUIREMENTS)
    return f"a container was started and inspected; {len(REQUIREMENTS)} of {len(REQUIREMENTS)} hold: {names}"


async def _effect(host: Host, image: str) -> str:
    found = await host.runtime.require_effect(image, always=True)
    return f"a program inside tried what the seal forbids, and could do none of it ({found})"


async def _attempt(what: str, work: Awaitable[object]) -> Finding:
    try:
        return Finding(True, what, str(await work))
    except DepError as error:
        return Finding(False, what, error.detail)
