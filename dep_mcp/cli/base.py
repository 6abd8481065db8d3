"""What all commands share: exit codes, errors as messages, and the host they work on."""

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dep_mcp.cli.wiring import Host


Value = TypeVar("Value")

EXIT_FAILED, EXIT_USAGE, EXIT_PAUSED, EXIT_ABORTED = 1, 2, 3, 130

EPILOG = (
    "Exit codes: 0 done, 1 an evaluation failed, 2 something has to be put right first, 3 paused (resume goes on),"
    " 130 aborted."
)


class Commands(click.Group):
    """Turns the toolkit's errors into one message and an exit code."""

    def invoke(self, ctx: click.Context) -> object:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (KeyboardInterrupt, asyncio.CancelledError):
            click.echo("dep-mcp: aborted", err=True)
            sys.exit(EXIT_ABORTED)
        except Exception as error:
            from dep_mcp.protocol.errors import DepError  # only now: --help doesn't load pydantic

            if not isinstance(error, DepError | OSError):
                raise
            text = error.detail if isinstance(error, DepError) else str(error)
            # further lines are set in: some are others' words, and none shall look like one of ours
            click.echo("dep-mcp: " + text.rstrip().replace("\n", "\n  "), err=True)
            sys.exit(EXIT_USAGE)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of that name."""
        from difflib import get_close_matches

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = get_close_matches(args[0], self.list_commands(ctx), 3, 0.5)
            if not near:
                raise
            msg = f"{error.message} Did you mean {' or '.join(near)}?"
            raise click.UsageError(msg, ctx) from error


def with_host(work: "Callable[[Host], Awaitable[Value]]") -> Value:
    """Run a command's coroutine on an open host."""
    from dep_mcp.cli.wiring import Host
    from dep_mcp.settings import HostSettings

    async def main() -> Value:
        task = asyncio.current_task()
        if task is not None:  # ended by another program, it leaves nothing behind either; `run` pauses instead
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with Host.open(HostSettings.read()) as host:
            return await work(host)

    return asyncio.run(main())
