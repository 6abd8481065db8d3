"""Commands for owners of benchmarks: seal, verify-seal, commit, open, verify-opening."""

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from dep_mcp.cli.base import EXIT_FAILED, with_host

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dep_mcp.cli.wiring import Host
    from dep_mcp.protocol import DatasetCard, Opening

_DATA = click.option("--data", multiple=True, type=click.Path(exists=True, path_type=Path),
                     help="File or folder with the benchmark's data.")  # fmt: skip


@click.group()
def bench() -> None:
    """Seal a benchmark, commit to its items and targets, and open them when it retires."""


@bench.command("seal")
@click.argument("benchmark")
@_DATA
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FOLDER",
              help="Write the sealed benchmark there; it must not exist.")  # fmt: skip
def bench_seal(*, benchmark: str, data: tuple[Path, ...], output: Path) -> None:
    """Encrypt the items and targets of a BENCHMARK, into a folder that can be given away.

    The folder holds its card, its code and bundle.age: whoever has it can build the image, and needs the key to run it.
    The key stays in DEP_MCP_HOME/keys. No plain target touches an image or this disk.
    """
    from dep_mcp.orchestrator import find_data, seal

    out = output.resolve()

    async def work(host: "Host") -> None:
        folder, _ = host.catalogue.resolve(benchmark)
        found = find_data(folder, host.data_places(folder, data))
        recipient = host.keys.new_data_key()
        try:
            sealed = await seal(host.runtime, folder, found, recipient, out, base_image=host.settings.base_image)
        except BaseException:
            host.keys.forget_data_key(recipient)
            raise
        click.echo(f"{output}: {sealed.items} items, encrypted to {sealed.recipient}")
        click.echo(
            f"back up {host.settings.keys}: without {sealed.recipient}.key nobody can run it; run it as"
            f" `dep-mcp run -b {output}/`",
            err=True,
        )

    with_host(work)


@bench.command("verify-seal")
@click.argument("benchmark")
@_DATA
def bench_verify_seal(*, benchmark: str, data: tuple[Path, ...]) -> None:
    """Search all that leaves a BENCHMARK for its targets.

    Builds its image with canaries for targets, runs whole and failing evaluations and a hostile client against it, and
    searches tool results, errors, outputs, logs, store, receipts, image and container. The exit code is 1 if one of
    them holds a canary. It finds mistakes, not code that hides targets with intent (encrypted, or in the items' order).
    """
    import tempfile

    async def work(host: "Host") -> None:
        from dep_mcp.cli.verifying import verify_seal

        folder, _ = host.catalogue.resolve(benchmark)
        with tempfile.TemporaryDirectory(prefix="dep-mcp-") as scratch:
            leaks = await verify_seal(host, folder, data, Path(scratch), click.echo)
        for leak in leaks:
            click.echo(f"LEAK in {leak.where}, {leak.form}: …{leak.near}…")
        if leaks:
            click.echo(f"{folder.card.name} leaks: {len(leaks)} finds")
            sys.exit(EXIT_FAILED)
        click.echo(f"{folder.card.name} leaks nothing that this finds")
        if folder.card.data and not folder.card.sealed:
            click.echo(
                "it isn't sealed: its own image holds targets as they are; `dep-mcp bench seal` encrypts them", err=True
            )

    with_host(work)


@bench.command("commit")
@click.argument("benchmark")
@_DATA
def bench_commit(*, benchmark: str, data: tuple[Path, ...]) -> None:
    """Compute what the card of a BENCHMARK shall publish, so that nobody can say later that its targets were changed.

    It is computed inside the benchmark's image. The salt stays in DEP_MCP_HOME/keys: without it nothing can be opened.
    """
    from dep_mcp.orchestrator import commit

    async def work(host: "Host") -> None:
        image, card = await _image(host, benchmark, data)
        commitment = await commit(host.runtime, image, card, host.keys)
        click.echo(f'commitment: {{root: "{commitment.root}", items: {commitment.items}}}')
        click.echo(
            f"put this line into dataset_card.yaml; back up {host.settings.keys}: it holds the salt that opens it",
            err=True,
        )

    with_host(work)


@bench.command("open")
@click.argument("benchmark")
@_DATA
@click.option("--item", "items", multiple=True, metavar="ID", help="Only this one; may be repeated.")
@click.option("-o", "--output", type=click.File("w", encoding="utf-8", lazy=True), default="-", metavar="FILE",
              help="Write them there rather than to standard output.")  # fmt: skip
def bench_open(*, benchmark: str, data: tuple[Path, ...], items: tuple[str, ...], output: IO[str]) -> None:
    """Publish items AND TARGETS of a retired BENCHMARK with proof that they are those it was scored with.

    Its card must say `retired: true`. Prints one JSON object a line; `bench verify-opening` verifies them.
    """
    from dep_mcp.orchestrator import open_up

    async def work(host: "Host") -> None:
        image, card = await _image(host, benchmark, data)
        async for opening in open_up(host.runtime, image, card, host.keys, item_ids=items):
            click.echo(opening.model_dump_json(), file=output)

    with_host(work)


@bench.command("verify-opening")
@click.argument("benchmark")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def bench_verify_opening(*, benchmark: str, file: Path) -> None:
    """Verify a FILE of opened items against what the card of a BENCHMARK committed to, offline.

    The exit code is 1 if one of them isn't what was committed to.
    """
    from dep_mcp.orchestrator import Catalogue
    from dep_mcp.protocol.errors import CardError, ReceiptError
    from dep_mcp.receipts import verify_openings
    from dep_mcp.settings import HostSettings

    folder, _ = Catalogue(HostSettings.read().plugins).resolve(benchmark)
    commitment = folder.card.commitment
    if commitment is None:
        msg = f"the card of {folder.card.name} commits to nothing"
        raise CardError(msg)
    try:
        count = verify_openings(_read(file), commitment)
    except ReceiptError as error:
        click.echo(f"BAD OPENING: {error.detail}")
        sys.exit(EXIT_FAILED)
    click.echo(f"good: {count} of {commitment.items} items, with their targets, are what {benchmark} committed to")


def _read(file: Path) -> "Iterator[Opening]":
    from pydantic import ValidationError

    from dep_mcp.protocol import Opening
    from dep_mcp.protocol.errors import ReceiptError

    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield Opening.model_validate_json(line, strict=True)
            except ValidationError as error:
                msg = f"line {number} is no opening"
                raise ReceiptError(msg) from error


async def _image(host: "Host", benchmark: str, data: tuple[Path, ...]) -> "tuple[str, DatasetCard]":
    folder, _ = host.catalogue.resolve(benchmark)
    return (await host.prepare(folder, None, list(data))).image.digest, folder.card
