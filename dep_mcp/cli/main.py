"""The command line. Commands import what they use when they run: `--help` loads no engine, model or MCP library."""

import click

from dep_mcp import __version__
from dep_mcp.cli import bench, controlling, machine, reading, receipts, running
from dep_mcp.cli.base import EPILOG, Commands


@click.group(
    cls=Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="dep-mcp")
def cli() -> None:
    """Evaluate language models on benchmarks that run in sealed containers and never show their targets."""


for command in (
    running.run,
    running.resume,
    controlling.pause,
    controlling.cancel,
    controlling.watch,
    controlling.logs,
    reading.show,
    reading.leaderboard_command,
    reading.ls,
    receipts.receipt,
    receipts.key,
    bench.bench,
    machine.doctor,
    machine.setup,
    machine.model,
    machine.data,
):
    cli.add_command(command)


def main() -> None:
    """Entry point of `dep-mcp`."""
    cli()
