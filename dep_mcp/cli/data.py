"""Fetches benchmarks' data on request, never during an evaluation."""

import hashlib
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from dep_mcp.protocol import DatasetCard
from dep_mcp.protocol.errors import DataError

_TIMEOUT_S = 60


def pull(card: DatasetCard, folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """Fetch each data file of a card into a folder; those that are there are checked and kept.

    Raises:
        DataError: A file has no published address, can't be reached, or isn't the one pinned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for data in card.data:
        path = folder / data.name
        if not path.is_file():
            if data.url is None:
                msg = f"the card of {card.name} gives no address for {data.name}: get it from {card.source}"
                raise DataError(msg)
            say(f"fetching {data.url}")
            _fetch(data.url, data.sha256, path)
        yield path


def _fetch(url: str, sha256: str, path: Path) -> None:
    if not url.startswith("https://"):
        msg = f"{url}: data is fetched over https only"
        raise DataError(msg)
    part = path.with_name(f"{path.name}.part")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as reply, part.open("wb") as file:  # noqa: S310 (https, checked above)
            while chunk := reply.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
    except OSError as error:
        part.unlink(missing_ok=True)
        msg = f"{url} can't be reached ({error}): get the file another way and give its path with --data"
        raise DataError(msg) from error
    if digest.hexdigest() != sha256:
        part.unlink()
        msg = f"{url} isn't the file that the card pins: its SHA-256 is {digest.hexdigest()}"
        raise DataError(msg)
    part.replace(path)
