"""Prepares the verification of a seal: a benchmark's image with canaries for targets, and what lies beside its data.

What is done with the image is in `abuse`; the evaluations with a model, whose store and outputs are searched too, are
the command's (`dep-mcp bench verify-seal`).
"""

import secrets
import shutil
import uuid
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from dep_mcp.containers import ContainerRuntime
from dep_mcp.orchestrator.catalogue import BenchmarkFolder, build_spec, code, read_folder
from dep_mcp.orchestrator.commitments import answers, asked
from dep_mcp.orchestrator.keys import OwnerKeys
from dep_mcp.orchestrator.leaks import Search
from dep_mcp.orchestrator.sealing import seal
from dep_mcp.protocol import CANARY_SEED, Planting, canary_ends
from dep_mcp.protocol.errors import CardError, DataError, GeneratedError

_SALT = "0" * 64


class InspectableRuntime(ContainerRuntime, Protocol):
    """A runtime that shows what an engine keeps."""

    async def evidence(self, image: str, container_id: str) -> Mapping[str, bytes]:
        """All that the engine shows or stores of an image and a running container, by what it is."""

    async def remove_image(self, image: str) -> None:
        """Remove an image."""


@dataclass(frozen=True, kw_only=True)
class Planted:
    """A benchmark whose targets hold canaries.

    Attributes:
        folder: Sealed where its items are fixed.
        image: Digest.
        planting: What became of it.
        search: Finds them.
    """

    folder: BenchmarkFolder
    image: str
    planting: Planting
    search: Search


@asynccontextmanager
async def planted(
    runtime: InspectableRuntime,
    benchmark: BenchmarkFolder,
    data: Mapping[str, Path],
    scratch: Path,
    keys: OwnerKeys,
    *,
    base_image: str | None = None,
) -> AsyncGenerator[Planted]:
    """Build the image of a benchmark with canaries for targets; nothing of it stays on the engine.

    Raises:
        CardError: It is sealed already: its data is needed.
        DataError: Its code fails, or no target can hold a canary.
    """
    if benchmark.card.sealed:
        msg = f"{benchmark.card.name} is sealed: verify the folder that holds its plain data, and seal that"
        raise CardError(msg)
    seed = secrets.token_hex(32)
    plain = folder = _with_seed(benchmark, seed, scratch / "plain")
    words = [*canary_ends(seed)]
    base = await runtime.base_image(base_image)
    async with AsyncExitStack() as images:
        sealing = await runtime.ensure_image(build_spec(plain, {}, base, without_data=True))
        images.push_async_callback(runtime.remove_image, sealing.digest)
        with suppress(GeneratedError):  # then its targets come to be at `open`
            recipient = keys.new_data_key()
            await seal(runtime, plain, data, recipient, scratch / "sealed", base_image=base_image)
            folder = read_folder(scratch / "sealed")
            words.append(keys.data_key(recipient).removeprefix("AGE-SECRET-KEY-1"))
        image = await runtime.ensure_image(build_spec(folder, {}, base))
        images.push_async_callback(runtime.remove_image, image.digest)
        secret = asked(folder.card, keys, _SALT)
        (counts,) = [one async for one in answers(runtime, image.digest, folder.card, Planting, "planted", secret)]
        if not counts.planted:
            msg = "no target can hold a canary, so nothing would be found: override Benchmark.plant in benchmark.py"
            raise DataError(msg)
        yield Planted(
            folder=folder,
            image=image.digest,
            planting=counts,
            search=Search(*words),
        )


def _with_seed(benchmark: BenchmarkFolder, seed: str, out: Path) -> BenchmarkFolder:
    for name, path in code(benchmark.folder).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
    (out / CANARY_SEED).write_text(seed, encoding="ascii")
    if benchmark.card.canary is None:
        with (out / "dataset_card.yaml").open("a", encoding="utf-8") as card:
            card.write(f"\ncanary: {uuid.uuid4()}\n")
    return read_folder(out)
