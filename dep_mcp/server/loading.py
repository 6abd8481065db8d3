"""Loads a benchmark from its folder, inside its image. Its code never runs on the host."""

import hashlib
import importlib.util
import json
import sys
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path

from dep_mcp import scoring
from dep_mcp.protocol import DatasetCard, Digest, parse_card
from dep_mcp.protocol.errors import CardError
from dep_mcp.server.benchmark import Benchmark, Draw
from dep_mcp.server.bundle import BUNDLE, SEALED, Bundle
from dep_mcp.server.planting import planted
from dep_mcp.server.sealing import unseal
from dep_mcp.server.session import SealedSession

_SCORING = Path(scoring.__file__).parent
_CODE = frozenset({".py", ".txt"})
"""Modules, and the lock of what they import."""


def load_benchmark(folder: Path) -> Benchmark:
    """Read the card, import `benchmark.py`, and make the one `Benchmark` that it defines.

    Raises:
        CardError: The card is broken, or the module doesn't define exactly one benchmark.
    """
    card = parse_card(DatasetCard, (folder / "dataset_card.yaml").read_bytes, "dataset_card.yaml")
    name = f"dep_mcp.benchmark_servers.{card.name}.benchmark"
    spec = importlib.util.spec_from_file_location(name, folder / "benchmark.py")
    if spec is None or spec.loader is None:  # pragma: no cover (a .py path always has a loader)
        raise CardError(name)
    sys.path.insert(0, str(folder))  # so that modules beside benchmark.py can be imported
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Benchmark) and value.__module__ == name
    ]
    if len(found) != 1:
        msg = f"benchmark.py must define exactly one subclass of Benchmark; it defines {len(found)}"
        raise CardError(msg)
    return planted(found[0], folder)(card, folder)


def index(folder: Path) -> None:
    """Write the indexed bundle of a benchmark with fixed items; try the generator of another. A sealed one has its own.

    Raises:
        DataError: No items, an id twice, or broken data.
    """
    benchmark = load_benchmark(folder)
    if benchmark.card.sealed:
        return
    if benchmark.generated:
        Bundle.build(benchmark.items(Draw(limit=2)))
        return
    path = folder / BUNDLE
    path.unlink(missing_ok=True)
    Bundle.build(benchmark.items(Draw()), path, header=json.dumps({"canary": str(benchmark.card.canary or "")}))


def load_session(folder: Path) -> SealedSession:
    """A session over the folder's bundle, or over its generator."""
    benchmark = load_benchmark(folder)
    scorer = _digest(_SCORING, folder, suffixes=_CODE)
    if benchmark.card.sealed:
        digest = _sha256(folder / SEALED)
        return SealedSession(benchmark, digest=digest, bundle=None, scorer=scorer, unseal=partial(unseal, folder))
    if not benchmark.generated:
        bundle = Bundle.load(folder / BUNDLE)
        return SealedSession(benchmark, digest=bundle.digest, bundle=bundle, scorer=scorer)
    return SealedSession(benchmark, digest=_digest(folder, suffixes=_CODE | {".yaml"}), bundle=None, scorer=scorer)


def _sha256(path: Path) -> Digest:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def _digest(*folders: Path, suffixes: AbstractSet[str]) -> Digest:
    """SHA-256 over the files with these suffixes, path by path."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.suffix in suffixes):
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()}"
