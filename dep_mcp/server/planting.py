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

from dep_mcp.protocol import CANARY_SEED, Planting, canary, canary_ends
from dep_mcp.scoring import Target
from dep_mcp.server.benchmark import Benchmark, Draw, SealedItem

MOST_ITEMS = 500
"""Items that such an image has: what holds for them holds for the rest, whose code is the same."""

_Field = tuple[str, ...]
_Leaf = str | int
_Change = Callable[[_Field, _Leaf], _Leaf]


def planted(kind: type[Benchmark], folder: Path) -> type[Benchmark]:
    """The benchmark's class with canaries in its targets, where the folder holds the seed; else the class itself."""
    path = folder / CANARY_SEED
    if not path.is_file():
        return kind
    seed = path.read_text(encoding="ascii").strip()
    members = {"__module__": kind.__module__, "_seed": seed, "_change": None, "_row": 0, "planting": Planting()}
    return type(kind.__name__, (_Planted, kind), members)


class _Planted(Benchmark):
    _seed: str
    _change: _Change | None
    _row: int
    planting: Planting

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        for self._row, row in enumerate(super().rows(name)):
            change = self._change
            yield row if change is None else {key: _changed(value, (name, key), change) for key, value in row.items()}

    def items(self, draw: Draw) -> Iterable[SealedItem]:
        self.planting = _seen(self._made(draw))
        self._change = None if self.generated else self._into_rows(draw)
        for number, sealed in enumerate(self._some(draw)):
            if canary_ends(self._seed)[0] not in json.dumps(sealed.target):
                sealed.target = self._planted(sealed, canary(self._seed, number))
            yield sealed

    def _planted(self, sealed: SealedItem, digits: str) -> Target:
        """An option's index gets another one beside it, which no option has."""
        index = sealed.item.options and isinstance(sealed.target, int)
        return [sealed.target, int(digits)] if index else self.plant(sealed.target, digits)

    def _into_rows(self, draw: Draw) -> _Change | None:
        """Plant in those fields of the rows that reach targets; `None` where none does, or the code doesn't bear it."""
        for lead, numbers in ((True, True), (False, True), (False, False)):
            fields: list[_Field] = []

            def probe(field: _Field, value: _Leaf, *, lead: bool = lead, fields: list[_Field] = fields) -> _Leaf:
                fields.append(field)
                number = len(fields) - 1
                led = f"{_LEAD}{number:09}5{value}" if lead and isinstance(value, str) else value
                return _after(led, f"{_TAIL}{number:09}5")

            found = self._tried(draw, probe, numbers=numbers)
            if found is None:
                continue
            secret = {field for item, target in found for field in _secret(item, target, fields)}
            if not secret:
                return None

            def plant(field: _Field, value: _Leaf, secret: set[_Field] = secret) -> _Leaf:
                return _after(value, canary(self._seed, self._row)) if field in secret else value

            if self._tried(draw, plant, numbers=numbers) is None:
                continue
            leads = {fields[int(number)] for item, _ in found for number in _LEADS.findall(item)}
            names = {field: f"{field[0]}: {'.'.join(field[1:])}" for field in secret}
            self.planting = self.planting.model_copy(
                update={
                    "fields": tuple(sorted(names.values())),
                    "shared": tuple(sorted(names[field] for field in secret & leads)),
                }
            )
            return _only(plant, numbers=numbers)
        return None

    def _tried(self, draw: Draw, change: _Change, *, numbers: bool) -> list[tuple[str, str]] | None:
        """Items and targets as JSON, made of changed rows; `None` where the code doesn't bear them."""
        self._change = _only(change, numbers=numbers)
        try:
            return [(sealed.item.model_dump_json(), json.dumps(sealed.target)) for sealed in self._made(draw)]
        except Exception:  # noqa: BLE001 (an author's code may refuse such rows in any way)
            return None
        finally:
            self._change = None

    def _made(self, draw: Draw) -> list[SealedItem]:
        return list(self._some(draw))

    def _some(self, draw: Draw) -> Iterable[SealedItem]:
        return islice(super().items(draw), MOST_ITEMS)


_LEAD, _TAIL = "9170358264", "8402946157"
_LEADS, _PROBE = re.compile(rf"{_LEAD}(\d{{9}})5"), re.compile(rf"{_TAIL}(\d{{9}})5")
_TELLING, _FEW = 4, 5
"""Characters of a target that chance seldom puts into an item; items of which nothing is to be concluded."""


def _after(value: _Leaf, digits: str) -> _Leaf:
    return f"{value}{digits}" if isinstance(value, str) else int(f"{value}{digits}")


def _only(change: _Change, *, numbers: bool) -> _Change:
    """The change, of texts alone where numbers aren't to be changed."""
    return change if numbers else lambda field, value: change(field, value) if isinstance(value, str) else value


def _seen(made: list[SealedItem]) -> Planting:
    """What a look at items and targets as they are tells."""
    texts = [sealed.target.strip() if isinstance(sealed.target, str) else "" for sealed in made]
    showing = [
        sealed.item.item_id
        for sealed, text in zip(made, texts, strict=True)
        if len(text) >= _TELLING and text in "\n".join(message.content for message in sealed.item.messages)
    ]
    kinds = {json.dumps(sealed.target) for sealed in made}
    return Planting(
        shown=len(showing), example=showing[0] if showing else "", same=len(made) >= _FEW and len(kinds) == 1
    )


def _secret(item: str, target: str, fields: list[_Field]) -> set[_Field]:
    """The fields that a target holds, less those that an item shows among others of their list: options to choose."""
    shown: dict[_Field, set[int]] = {}
    for number in map(int, _PROBE.findall(item)):
        shown.setdefault(fields[number], set()).add(number)
    return {fields[number] for number in map(int, _PROBE.findall(target)) if len(shown.get(fields[number], ())) < 2}  # noqa: PLR2004 (itself and another)


def _changed(value: Any, field: _Field, change: _Change) -> Any:  # noqa: ANN401 (JSON)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return change(field, value)
    if isinstance(value, list):
        return [_changed(one, (*field, "*"), change) for one in value]
    if isinstance(value, dict):
        return {key: _changed(one, (*field, key), change) for key, one in value.items()}
    return value
