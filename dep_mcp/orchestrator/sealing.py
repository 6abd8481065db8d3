"""Has a benchmark's own code encrypt its items and targets, in a sealed container, and writes the sealed folder.

The image that does it holds no data: that comes in over the container's input, and only the encrypted bundle comes
out. So no plain target touches an image layer, a build cache, or this host's disk beyond the files of the author.
"""

import asyncio
import base64
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml
from pydantic_core import to_json

from dep_mcp.containers import Container, ContainerRuntime, ContainerSpec
from dep_mcp.orchestrator.beside import beside_data
from dep_mcp.orchestrator.catalogue import BUNDLE, BenchmarkFolder, build_spec, code
from dep_mcp.protocol import Recipient, Sealed
from dep_mcp.protocol.errors import CardError, ContainerLostError, DataError, GeneratedError, UsageError

TIMEOUT_S = 900.0
_CHUNK_BYTES = 1 << 20
_SCRATCH_MB = 64
_MIB = 1 << 20
_INDEXED = 4
"""Memory that sealing takes beside the files, in times their size: their rows in the index, and Python's."""


async def seal(
    runtime: ContainerRuntime,
    benchmark: BenchmarkFolder,
    data: Mapping[str, Path],
    recipient: Recipient,
    out: Path,
    *,
    base_image: str | None = None,
) -> Sealed:
    """Write a folder that holds card, code and the encrypted bundle, and nothing else.

    Raises:
        UsageError: Something is at `out` already.
        CardError: It is sealed already, or its card has no canary.
        GeneratedError: Its items are generated.
        DataError: Its code fails on the data; or files beside it hold some of it.
    """
    _check(benchmark, out)
    if beside := next(beside_data(benchmark, data), None):
        msg = f"{beside.where} holds what is in the data, and would be given away as it is: take it out of the folder"
        raise DataError(msg)
    base = await runtime.base_image(base_image)
    image = await runtime.ensure_image(build_spec(benchmark, {}, base, without_data=True))
    spec = _spec(benchmark, image.digest, sum(path.stat().st_size for path in data.values()))
    with _made_whole(out) as part:
        with (part / BUNDLE).open("wb") as file:
            sealed = await _sealed(runtime, spec, data, recipient, file)
        _write_folder(benchmark, sealed, part)
    return sealed


@contextmanager
def _made_whole(out: Path) -> Iterator[Path]:
    """A folder that gets its name when all is in it, and is gone when that fails."""
    part = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{out.name}.", dir=out.parent))
        part.chmod(0o755)
        yield part
        part.rename(out)
    except OSError as error:
        msg = f"{out} can't be written: {error}"
        raise DataError(msg) from error
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def _check(benchmark: BenchmarkFolder, out: Path) -> None:
    card = benchmark.card
    if out.exists():
        msg = f"{out} is there already: name a folder that isn't"
        raise UsageError(msg)
    if card.sealed:
        msg = f"{card.name} is sealed already: seal the folder that holds its plain data"
        raise CardError(msg)
    if card.canary is None:
        msg = f"the card of {card.name} has no canary to search for leaked data by; a fresh one: canary: {uuid.uuid4()}"
        raise CardError(msg)


def _spec(benchmark: BenchmarkFolder, image: str, size: int) -> ContainerSpec:
    """More room than its evaluations get: here the plain files lie in memory too."""
    resources = benchmark.card.resources
    scratch_mb = _SCRATCH_MB + 2 * (size // _MIB)  # one file may have half of it
    return ContainerSpec(
        image=image,
        labels={"org.dep-mcp.benchmark": benchmark.card.name},
        memory_mb=resources.memory_mb + scratch_mb + _INDEXED * (size // _MIB),
        cpus=resources.cpus,
        scratch_mb=scratch_mb,
        command=("python", "-m", "dep_mcp.server", "seal", "/benchmark"),
    )


async def _sealed(
    runtime: ContainerRuntime, spec: ContainerSpec, data: Mapping[str, Path], recipient: Recipient, out: IO[bytes]
) -> Sealed:
    try:
        async with asyncio.timeout(TIMEOUT_S), runtime.start(spec) as container:
            giving = asyncio.create_task(_give(container, data, recipient))
            try:
                return await _take(container.lines(), out)
            except DataError:
                words = container.stderr_tail().strip()
                status = await container.exit_status()
                if words.startswith(f"{GeneratedError.code}: "):
                    raise GeneratedError(words.partition(": ")[2]) from None
                msg = (
                    f"the benchmark's code failed to seal its data (exit status {status}): {words[-2000:] or 'silent'}"
                )
                raise DataError(msg) from None
            finally:
                giving.cancel()
                await asyncio.wait([giving])
    except TimeoutError as error:
        msg = f"sealing didn't end within {TIMEOUT_S:.0f} s"
        raise ContainerLostError(msg) from error


async def _give(container: Container, data: Mapping[str, Path], recipient: Recipient) -> None:
    files = {name: path.stat().st_size for name, path in data.items()}
    await container.write(to_json({"recipient": recipient, "files": files}) + b"\n")
    for path in data.values():
        with path.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
                await container.write(chunk)


async def _take(lines: AsyncIterator[bytes], out: IO[bytes]) -> Sealed:
    """Lines of base64, then one of JSON."""
    async for line in lines:
        try:
            if line.startswith(b"{"):
                return Sealed.model_validate_json(line)
            data = base64.b64decode(line, validate=True)
        except ValueError:  # a ValidationError too
            break
        await asyncio.to_thread(out.write, data)
    raise DataError(BUNDLE)


def _write_folder(benchmark: BenchmarkFolder, sealed: Sealed, out: Path) -> None:
    for name, path in code(benchmark.folder).items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, out / name)
    card = yaml.safe_load((out / "dataset_card.yaml").read_text(encoding="utf-8"))
    card.pop("data", None)  # with the digests of its plain files, by which few possible targets could be tried out
    card["sealed"] = sealed.model_dump(mode="json")
    (out / "dataset_card.yaml").write_text(yaml.safe_dump(card, sort_keys=False, allow_unicode=True), encoding="utf-8")
