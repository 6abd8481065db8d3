"""Writes the JSON Schemas of the wire types: `python -m dep_mcp.protocol.schemas [--check] FOLDER`."""

import json
import sys
from pathlib import Path

from dep_mcp import protocol
from dep_mcp.protocol.base import WireModel


def schemas() -> dict[str, str]:
    """The text of each schema by file name."""
    models = [value for name in protocol.__all__ if isinstance(value := getattr(protocol, name), type)]
    return {
        f"{model.__name__}.json": json.dumps(model.model_json_schema(), indent=2, sort_keys=True) + "\n"
        for model in models
        if issubclass(model, WireModel) and model is not WireModel
    }


def main(arguments: list[str]) -> int:
    """Write the schemas, or say which files differ from them."""
    check = "--check" in arguments
    folder = Path(next(argument for argument in arguments if argument != "--check"))
    wanted = schemas()
    there = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.json")}
    if check:
        stale = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        for name in stale:
            sys.stderr.write(f"{folder / name} isn't what the models say: run `make format`\n")
        return int(bool(stale))
    folder.mkdir(parents=True, exist_ok=True)
    for name in there.keys() - wanted.keys():
        (folder / name).unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
