"""Commands that look after this machine: doctor, setup, model, data."""

import os
import subprocess
import sys

import click

from dep_mcp.cli.base import with_host


@click.command()
def doctor() -> None:
    """Check engine, isolation, disk, models, keys."""
    from dep_mcp.cli.doctor import examine

    sys.exit(with_host(examine))


@click.command()
def setup() -> None:
    """Make an engine and a base image available.

    On Debian and Ubuntu, as root, installs the engine where none answers, and builds the base image where no image
    registry can be reached; elsewhere says what to install.
    """
    from dep_mcp.cli.doctor import SCRIPTS

    for script in SCRIPTS:
        ended = subprocess.run([str(script)], check=False, stdout=subprocess.DEVNULL)  # noqa: S603 (our own file)
        if ended.returncode:
            sys.exit(ended.returncode)


@click.group()
def model() -> None:
    """Serve local models and fetch their weights."""


@model.command("serve")
@click.argument("name")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
def model_serve(*, name: str, port: int) -> None:
    """Serve a local model (a card's NAME, or a GGUF file) with an OpenAI-compatible API on loopback."""
    from dep_mcp.adapters.llamacpp.process import command
    from dep_mcp.models import Models
    from dep_mcp.protocol.errors import UsageError
    from dep_mcp.settings import HostSettings

    settings = HostSettings.read()
    card = Models(settings.plugins).resolve(name)
    if card.serve is None:
        msg = f"{name} isn't a local model: it is called at {card.api_base or 'its provider'}"
        raise UsageError(msg)
    arguments = command(
        card,
        cache_dir=settings.weights,
        log_path=settings.logs / "llamacpp.log",
        say=lambda text: click.echo(text, err=True),
        port=port,
    )
    os.execv(arguments[0], arguments)  # noqa: S606 (our own interpreter): one process, so that signals reach the server


@model.command("pull")
@click.argument("name")
def model_pull(*, name: str) -> None:
    """Fetch the weights of a local model now rather than at its first use."""
    from dep_mcp.adapters.llamacpp.weights import find
    from dep_mcp.models import Models
    from dep_mcp.protocol.errors import UsageError
    from dep_mcp.settings import HostSettings

    settings = HostSettings.read()
    card = Models(settings.plugins).resolve(name)
    if card.weights is None:
        msg = f"{name} has no weights to fetch: it is called at its provider"
        raise UsageError(msg)
    click.echo(find(card.weights, cache_dir=settings.weights, say=lambda text: click.echo(text, err=True)))


@click.group()
def data() -> None:
    """Fetch benchmarks' data."""


@data.command("pull")
@click.argument("benchmark")
def data_pull(*, benchmark: str) -> None:
    """Fetch the data of a BENCHMARK as its authors publish it, checked against the card's digest."""
    from dep_mcp.cli.data import pull
    from dep_mcp.orchestrator import Catalogue
    from dep_mcp.settings import HostSettings

    settings = HostSettings.read()
    folder, _ = Catalogue(settings.plugins).resolve(benchmark)
    if not folder.card.data:
        click.echo(f"{folder.card.name} needs no data", err=True)
    for path in pull(folder.card, settings.data / folder.card.name, say=lambda text: click.echo(text, err=True)):
        click.echo(path)
