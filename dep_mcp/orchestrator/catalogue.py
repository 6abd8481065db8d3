"""Finds benchmark folders, bundled and the user's, and says what their images are built from.

Only cards are read here: a benchmark's code never runs on the host.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

from dep_mcp.containers import BuildSpec
from dep_mcp.protocol import DataFile, DatasetCard, Sealed, parse_card
from dep_mcp.protocol.errors import CardError, DataError, UnknownNameError

_PACKAGE = Path(__file__).parents[1]
_SEALED_ROOMS = ("protocol", "metrics", "receipts", "scoring", "server")
BUNDLE = "bundle.age"
"""Name of the encrypted bundle in a sealed benchmark's folder."""
_IGNORED = {"__pycache__", "tests", "data", "bundle.sqlite"}


@dataclass(frozen=True, kw_only=True)
class BenchmarkFolder:
    """A benchmark as it lies on this host.

    Attributes:
        card: Its dataset card.
        folder: Where it lies.
        by_path: Whether it was named by its folder.
    """

    card: DatasetCard
    folder: Path
    by_path: bool = False


class Catalogue:
    """The benchmarks that can be named.

    Args:
        folders: Plugin folders that may hold `benchmark_servers/`; the later ones win over the bundled.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._roots = [_PACKAGE / "benchmark_servers", *(folder / "benchmark_servers" for folder in folders)]

    def benchmarks(self) -> dict[str, BenchmarkFolder]:
        """All benchmarks by name.

        Raises:
            CardError: One of their cards is broken.
        """
        found = {}
        for root in self._roots:
            for path in sorted(root.glob("*/dataset_card.yaml")):
                benchmark = read_folder(path.parent)
                found[benchmark.card.name] = benchmark
        return found

    def resolve(self, name: str) -> tuple[BenchmarkFolder, str | None]:
        """The benchmark and task of `name`, `name:task`, or a path to a folder.

        Raises:
            UnknownNameError: There is none; lists the nearest names.
        """
        base, _, task = name.partition(":")
        if "/" in base or base.startswith("."):
            if not (Path(base) / "dataset_card.yaml").is_file():
                msg = f"{base} is no benchmark folder: it holds no dataset_card.yaml"
                raise UnknownNameError(msg)
            return replace(read_folder(Path(base).resolve()), by_path=True), task or None
        benchmarks = self.benchmarks()
        if base not in benchmarks:
            near = ", ".join(get_close_matches(base, benchmarks, 3, 0.3)) or ", ".join(sorted(benchmarks))
            msg = f"no benchmark {base!r}; nearest: {near}"
            raise UnknownNameError(msg)
        return benchmarks[base], task or None


def read_folder(folder: Path) -> BenchmarkFolder:
    """Read a benchmark's card.

    Raises:
        CardError: With the file and each broken field.
    """
    path = folder / "dataset_card.yaml"
    card = parse_card(DatasetCard, path.read_bytes, path)
    if not (folder / "benchmark.py").is_file():
        msg = f"{folder}: benchmark.py is missing"
        raise CardError(msg)
    return BenchmarkFolder(card=card, folder=folder)


def find_data(benchmark: BenchmarkFolder, places: Iterable[Path]) -> dict[str, Path]:
    """Find each data file of a card and check its digest.

    Args:
        benchmark: Whose data.
        places: A file (for a card with one), or folders that hold the files by their names; the first one wins.

    Raises:
        DataError: A file is missing, or isn't the one that the card pins.
    """
    if benchmark.card.sealed:
        _check_bundle(benchmark, benchmark.card.sealed)
        return {}  # all of it is in the bundle
    found = {}
    places = [*places, benchmark.folder / "data"]
    for data in benchmark.card.data:
        candidates = [place if place.is_file() else place / data.name for place in places]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            msg = f"{benchmark.card.name} needs its data file {data.name}: give its path with --data" + (
                f", or fetch it from {data.url} with `dep-mcp data pull {benchmark.card.name}`" if data.url else ""
            )
            raise DataError(msg)
        _check(path, data)
        found[data.name] = path
    return found


def _check_bundle(benchmark: BenchmarkFolder, sealed: Sealed) -> None:
    path = benchmark.folder / BUNDLE
    if not path.is_file():
        msg = f"{path} is missing: the card says that its items are encrypted there"
        raise DataError(msg)
    _check(path, DataFile(name=BUNDLE, sha256=sealed.sha256))


def _check(path: Path, data: DataFile) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != data.sha256:
        msg = f"{path} isn't the {data.name} that the card pins: its SHA-256 is {digest}, the card says {data.sha256}"
        raise DataError(msg)


def code(folder: Path) -> dict[str, Path]:
    """The files of a benchmark's folder that go into its image besides its data, by their paths inside it.

    Raises:
        CardError: One is a link: it would bring a file of this host into the image, whatever that is.
    """
    relative = {path.relative_to(folder): path for path in sorted(folder.rglob("*"))}
    kept = {name.as_posix(): path for name, path in relative.items() if not _IGNORED & set(name.parts)}
    if links := [name for name, path in kept.items() if path.is_symlink()]:
        msg = f"{folder}: {', '.join(links[:5])}: a benchmark's folder holds files, not links to some; copy them there"
        raise CardError(msg)
    return {name: path for name, path in kept.items() if path.is_file()}


def build_spec(
    benchmark: BenchmarkFolder, data: dict[str, Path], base_image: str, *, without_data: bool = False
) -> BuildSpec:
    """What the image of a benchmark is built from: the sealed rooms, the benchmark's folder, its data.

    Args:
        benchmark: Which.
        data: Its files by name.
        base_image: What it is built on.
        without_data: Build the code alone, to run it on data that is brought to it.
    """
    files: dict[str, Path | bytes] = {
        "Dockerfile": _PACKAGE / "images" / "benchmark" / "Dockerfile",
        "dep_mcp/__init__.py": _PACKAGE / "__init__.py",
    }
    for room in _SEALED_ROOMS:
        for path in sorted((_PACKAGE / room).rglob("*.py")):
            files[f"dep_mcp/{path.relative_to(_PACKAGE).as_posix()}"] = path
    files |= {f"benchmark/{name}": path for name, path in code(benchmark.folder).items()}
    files |= {f"benchmark/data/{name}": path for name, path in data.items()}
    return BuildSpec(
        name=f"benchmark-{benchmark.card.name}",
        files=files,
        build_args={"PREPARE": "check"} if without_data else {},
        below=_libraries(benchmark, base_image),
    )


def _libraries(benchmark: BenchmarkFolder, base_image: str) -> BuildSpec:
    """What its code imports, installed with network: before code and data come in, and shared with others."""
    own = benchmark.folder / "requirements.txt"
    files: dict[str, Path | bytes] = {
        "Dockerfile": _PACKAGE / "images" / "libraries" / "Dockerfile",
        "requirements.txt": _PACKAGE / "images" / "benchmark" / "requirements.txt",
        "benchmark-requirements.txt": own if own.is_file() else b"",
    }
    return BuildSpec(name="libraries", files=files, build_args={"BASE_IMAGE": base_image})
