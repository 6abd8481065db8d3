"""Settings of one process: the only reader of the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict


class HostSettings(BaseModel):
    """Where things lie on this host. Every field has a variable, named beside it.

    Attributes:
        home: `DEP_MCP_HOME`: store, keys, logs and fetched weights; default the platform's user data folder.
        base_image: `DEP_MCP_BASE_IMAGE`: base of benchmark images, where the official one can't be had.
        runtime: `DEP_MCP_RUNTIME`: what the engine runs containers with, such as `runsc`; default the engine's.
        remapped: `DEP_MCP_USERNS`: not empty to refuse an engine whose users inside containers are the same outside.
        plugins: `DEP_MCP_PATH`: folders, separated as in `PATH`, that hold `benchmark_servers/` or `adapters/`.
    """

    model_config = ConfigDict(frozen=True)

    home: Path
    base_image: str | None = None
    runtime: str = ""
    remapped: bool = False
    plugins: tuple[Path, ...] = ()

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the environment once; the current folder is a plugin folder too."""
        env = os.environ if environment is None else environment
        home = env.get("DEP_MCP_HOME")
        return cls(
            home=Path(home) if home else _default_home(),
            base_image=env.get("DEP_MCP_BASE_IMAGE") or None,
            runtime=env.get("DEP_MCP_RUNTIME", ""),
            remapped=bool(env.get("DEP_MCP_USERNS")),
            plugins=(
                *(Path(part) for part in env.get("DEP_MCP_PATH", "").split(os.pathsep) if part),
                Path.cwd(),
            ),
        )

    @property
    def store(self) -> Path:
        """The file of the store."""
        return self.home / "store.sqlite"

    @property
    def logs(self) -> Path:
        """The folder of the structured logs."""
        return self.home / "logs"

    @property
    def keys(self) -> Path:
        """The folder of the owner's secrets: the key that countersigns receipts, the salts of commitments."""
        return self.home / "keys"

    @property
    def data(self) -> Path:
        """The folder of fetched benchmark data, by benchmark."""
        return self.home / "data"

    @property
    def weights(self) -> Path:
        """The folder of fetched weights."""
        return self.home / "weights"


def secret(name: str) -> str | None:
    """The value of a key's variable; read when a model is called, kept nowhere."""
    return os.environ.get(name) or None


def _default_home() -> Path:
    from platformdirs import user_data_path

    return user_data_path("dep-mcp", appauthor=False)
