"""Finds model cards and adapters: bundled ones and those of the user's folders, which work alike."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import cast

from dep_mcp.models.port import ModelAdapter
from dep_mcp.protocol import Limits, ModelCard, RequestKind, parse_card
from dep_mcp.protocol.errors import CardError, UnknownNameError, UsageError

_BUNDLED = Path(__file__).parents[1]
_BOTH = (RequestKind.CHAT, RequestKind.CHOICE)
_LONGEST_NAME = 500


class Models:
    """The models and adapters that can be named.

    Args:
        folders: Plugin folders that may hold `adapters/`; the later ones win over the bundled.
    """

    def __init__(self, folders: Iterable[Path]) -> None:
        self._adapters = [_BUNDLED / "adapters", *(folder / "adapters" for folder in folders)]

    def cards(self) -> dict[str, ModelCard]:
        """All model cards by name.

        Raises:
            CardError: One of them is broken.
        """
        found = {}
        for folder in self._adapters:
            for path in sorted((folder / "cards").glob("*.yaml")):
                card = parse_card(ModelCard, path.read_bytes, path)
                found[card.name] = card
        return found

    def resolve(self, name: str, api_base: str | None = None) -> ModelCard:
        """The card of a model by name, by GGUF file, or by its name at a provider.

        Args:
            name: A card's name; `path/to/model.gguf`; `replay:answers.jsonl`; `command:./program --flag`;
                `callable:file.py:function`; `openai-compatible/NAME` (with
                `api_base`); or `provider/model` as LiteLLM knows it.
            api_base: URL of an OpenAI-compatible endpoint, overriding the card's.

        Raises:
            UnknownNameError: None of these; lists the nearest names.
            UsageError: An endpoint is needed and none was given.
        """
        card = self._resolve(name)
        if card.adapter == "openai_compatible" and not (api_base or card.api_base or card.serve):
            msg = f"{name} needs the address of its endpoint: --api-base http://HOST:PORT/v1"
            raise UsageError(msg)
        return card if api_base is None else card.model_copy(update={"api_base": api_base, "serve": None})

    def _resolve(self, name: str) -> ModelCard:
        cards = self.cards()
        if name in cards:
            return cards[name]
        if len(name) > _LONGEST_NAME:
            msg = f"the name of a model has {_LONGEST_NAME} characters at most: put a long command into a file"
            raise UsageError(msg)
        own = _own(name)
        if own is not None:
            return own
        if name.endswith(".gguf"):
            if not Path(name).is_file():
                msg = f"no file {name}"
                raise UnknownNameError(msg)
            return ModelCard(
                name=Path(name).stem,
                adapter="openai_compatible",
                model=Path(name).stem,
                requests=_BOTH,
                serve="llamacpp",
                weights=str(Path(name).resolve()),
                limits=Limits(concurrency=1, timeout_s=600),
            )
        provider, _, model = name.partition("/")
        if provider == "openai-compatible" and model:
            return ModelCard(
                name=name, adapter="openai_compatible", model=model, api_key_env="OPENAI_COMPATIBLE_API_KEY"
            )
        if model:
            return ModelCard(name=name, adapter="litellm", model=name)
        near = ", ".join(get_close_matches(name, cards, 3, 0.3)) or ", ".join(sorted(cards))
        msg = f"no model {name!r}; nearest: {near}. Models behind an API: provider/model, e.g. openai/gpt-4o-mini."
        raise UnknownNameError(msg)

    def current(self, card: ModelCard) -> ModelCard:
        """The card of the same model as its file reads now; a card that has no file stays as it is.

        What `run` was told about the endpoint and its limits (`--api-base`, `--concurrency`) is kept.
        """
        now = self.cards().get(card.name, card)
        return now.model_copy(update={"api_base": card.api_base, "serve": card.serve, "limits": card.limits})

    def adapter(self, card: ModelCard, api_key: str | None) -> ModelAdapter:
        """Make the adapter that a card names.

        Raises:
            UnknownNameError: No folder of that name.
            CardError: Its `adapter.py` has no class `Adapter`.
        """
        folders = {path.parent.name: path for root in self._adapters for path in root.glob("*/adapter.py")}
        if card.adapter not in folders:
            near = ", ".join(get_close_matches(card.adapter, folders, 3, 0.3)) or ", ".join(sorted(folders))
            msg = f"model {card.name}: no adapter {card.adapter!r}; nearest: {near}"
            raise UnknownNameError(msg)
        kind = getattr(_load(card.adapter, folders[card.adapter]), "Adapter", None)
        if kind is None:
            msg = f"{folders[card.adapter]} defines no class Adapter"
            raise CardError(msg)
        return cast("ModelAdapter", kind(card, api_key=api_key))


def _own(name: str) -> ModelCard | None:
    """The card of what a user has: recorded answers, a command, a function.

    Commands are processes on this machine, and a function needn't bear threads: more at once is for the user to say.
    """
    prefix, _, rest = name.partition(":")
    if prefix == "replay" and rest:
        return ModelCard(name=name, adapter="replay", model=rest, requests=_BOTH)
    if prefix == "command" and rest.strip():
        limits = Limits(concurrency=4, timeout_s=600)
        return ModelCard(name=name, adapter="command", model=rest, requests=_BOTH, limits=limits)
    where, _, function = rest.rpartition(":")
    if prefix == "callable" and where and function:
        where = str(Path(where).resolve()) if where.endswith(".py") else where
        limits = Limits(concurrency=1, timeout_s=600)
        return ModelCard(name=name, adapter="callable", model=f"{where}:{function}", requests=_BOTH, limits=limits)
    if prefix in ("command", "callable"):
        msg = f"{name!r} names no model: give command:PROGRAM, callable:FILE.py:FUNCTION or callable:MODULE:FUNCTION"
        raise UsageError(msg)
    return None


def _load(name: str, path: Path) -> object:
    if path.is_relative_to(_BUNDLED):
        return importlib.import_module(f"dep_mcp.adapters.{name}.adapter")
    module_name = f"dep_mcp.adapters.{name}.adapter"
    if module_name in sys.modules and sys.modules[module_name].__file__ == str(path):
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:  # pragma: no cover (a .py path always has a loader)
        raise CardError(str(path))
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    spec.loader.exec_module(module)
    return module
