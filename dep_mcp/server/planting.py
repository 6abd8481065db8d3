"""Plants canaries in a benchmark's targets, so that `dep-mcp bench verify-seal` can search for them in all that leaves.

It happens in an image whose benchmark folder holds a file that no other image has. Where raw data is read with
`Benchmark.rows`, they are planted there, in those fields that a target is made from: so a prompt, an id or a sub-task
that shows such a field is found too. Else they are added to the targets.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from dep_mcp.protocol import CANARY_SEED, canary, canary_ends
from dep_mcp.scoring import Target
from dep_mcp.server.benchmark import Benchmark, Draw, SealedItem

MOST_ITEMS = 500
"""Items that such an image has: what holds for them holds for the rest, whose code is the same."""

_Field = tuple[str, ...]
_Change = Callable[[_Field, str], str]


def planted(kind: type[Benchmark], folder: Path) -> type[Benchmark]:
    """The benchmark's class with canaries in its targets, where the folder holds the seed; else the class itself."""
    path = folder / CANARY_SEED
    if not path.is_file():
        return kind
    seed = path.read_text(encoding="ascii").strip()
    members = {"__module__": kind.__module__, "_seed": seed, "_change": None, "_row": 0}
    return type(kind.__name__, (_Planted, kind), members)


class _Planted(Benchmark):
    _seed: str
    _change: _Change | None
    _row: int

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        for self._row, row in enumerate(super().rows(name)):
            change = self._change
            yield row if change is None else {key: _changed(value, (name, key), change) for key, value in row.items()}

    def items(self, draw: Draw) -> Iterable[SealedItem]:
        self._change = None if self.generated else self._into_rows(draw)
        for number, sealed in enumerate(islice(super().items(draw), MOST_ITEMS)):
            if canary_ends(self._seed)[0] not in json.dumps(sealed.target):
                sealed.target = self._planted(sealed, canary(self._seed, number))
            yield sealed

    def _planted(self, sealed: SealedItem, digits: str) -> Target:
        """An option's index gets another one beside it, which no option has."""
        index = sealed.item.options and isinstance(sealed.target, int)
        return [sealed.target, int(digits)] if index else self.plant(sealed.target, digits)

    def _into_rows(self, draw: Draw) -> _Change | None:
        """Plant in those fields of the rows that reach targets; `None` where none does, or the code doesn't bear it."""
        fields: list[_Field] = []

        def probe(field: _Field, value: str) -> str:
            fields.append(field)
            return f"{value}{_probe(len(fields) - 1)}"

        self._change = probe
        try:
            found = [(sealed.item.model_dump_json(), json.dumps(sealed.target)) for sealed in self._some(draw)]
        except Exception:  # noqa: BLE001 (an author's code may refuse such rows in any way)
            return None
        finally:
            self._change = None
        secret = {field for item, target in found for field in _secret(item, target, fields)}
        if not secret:
            return None

        def plant(field: _Field, value: str) -> str:
            return f"{value}{canary(self._seed, self._row)}" if field in secret else value

        self._change = plant
        try:
            list(self._some(draw))
        except Exception:  # noqa: BLE001 (as above)
            return None
        return plant

    def _some(self, draw: Draw) -> Iterable[SealedItem]:
        return islice(super().items(draw), MOST_ITEMS)


_PROBE = re.compile(r"8402946157(\d{9})5")


def _probe(number: int) -> str:
    return f"8402946157{number:09}5"


def _secret(item: str, target: str, fields: list[_Field]) -> set[_Field]:
    """The fields that a target holds, less those that an item shows among others of their list: options to choose."""
    shown: dict[_Field, set[int]] = {}
    for number in map(int, _PROBE.findall(item)):
        shown.setdefault(fields[number], set()).add(number)
    return {fields[number] for number in map(int, _PROBE.findall(target)) if len(shown.get(fields[number], ())) < 2}  # noqa: PLR2004 (itself and another)


def _changed(value: Any, field: _Field, change: _Change) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, str):
        return change(field, value)
    if isinstance(value, list):
        return [_changed(one, (*field, "*"), change) for one in value]
    if isinstance(value, dict):
        return {key: _changed(one, (*field, key), change) for key, one in value.items()}
    return value
