"""Commands about receipts and the key that countersigns them: receipt, key."""

import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from dep_mcp.cli.base import EXIT_FAILED, with_host

if TYPE_CHECKING:
    from dep_mcp.cli.wiring import Host
    from dep_mcp.orchestrator import OwnerKeys
    from dep_mcp.receipts import Verified

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_KEY_CHARACTERS = 4096
_OUTPUT = click.File("w", encoding="utf-8", lazy=True)


@click.group()
def receipt() -> None:
    """Export and verify signed receipts of scores."""


@receipt.command("export")
@click.argument("evaluation")
@click.option("-o", "--output", type=_OUTPUT, default="-", metavar="FILE",
              help="Write it there rather than to standard output.")  # fmt: skip
@click.option("--answers", type=_OUTPUT, metavar="FILE",
              help="Write the list of the answers' hashes too: the receipt's subject.")  # fmt: skip
def receipt_export(*, evaluation: str, output: IO[str], answers: IO[str] | None) -> None:
    """Print the receipt of a completed EVALUATION: one JSON object, a DSSE envelope.

    EVALUATION is its id, or the end of it.
    """
    from dep_mcp.protocol.errors import UsageError
    from dep_mcp.receipts import AnswerLog

    async def work(host: "Host") -> None:
        found = await host.store.evaluation(evaluation)
        text = await host.store.receipt(found.evaluation_id)
        if text is None:
            msg = f"evaluation {found.evaluation_id} is {found.state}: it has a receipt once it is completed"
            raise UsageError(msg)
        click.echo(text, file=output)
        if answers is not None:
            log = AnswerLog()
            async for digests in host.store.digests(found.evaluation_id):
                answers.write("".join(map(log.add, digests)))

    with_host(work)


@receipt.command("verify")
@click.argument("file", type=_FILE)
@click.option("--key", "key_file", type=_FILE, metavar="PUB",
              help="Public key of the owner who must have countersigned, as `key show` prints it.")  # fmt: skip
def receipt_verify(*, file: Path, key_file: Path | None) -> None:
    """Verify a receipt, offline, and say what it proves and what it doesn't.

    Without --key, a countersignature can be checked only if it is by this machine's own key. The exit code is 1 if
    anything is wrong.
    """
    from dep_mcp.protocol.errors import ReceiptError
    from dep_mcp.receipts import MOST_BYTES, explain, read_public, verify

    owner = None
    if key_file is not None:
        with key_file.open(encoding="utf-8", errors="replace") as text:
            owner = read_public(text.read(_KEY_CHARACTERS))
    with file.open("rb") as stream:
        data = stream.read(MOST_BYTES + 1)
    try:
        verified = verify(data, owner)
        if owner is None:
            verified = _with_own_key(data, verified)
    except ReceiptError as error:
        click.echo(f"BAD RECEIPT: {error.detail}")
        sys.exit(EXIT_FAILED)
    click.echo(explain(verified))


def _with_own_key(data: bytes, verified: "Verified") -> "Verified":
    from dep_mcp.receipts import key_id, verify

    public = _keys().public()
    if public is None or key_id(public) != verified.owner:
        return verified
    return verify(data, public)


@click.group()
def key() -> None:
    """Show or renew the key that countersigns this machine's receipts."""


@key.command("show")
def key_show() -> None:
    """Print the public key, for those who verify receipts."""
    from dep_mcp.protocol.errors import UsageError

    public = _keys().public()
    if public is None:
        msg = "there is no key yet: the first completed evaluation makes one, or `dep-mcp key new`"
        raise UsageError(msg)
    _print_key(public)


@key.command("new")
def key_new() -> None:
    """Make a new key from now on, and print its public half.

    The key before is kept beside it. Receipts that it signed stay good: they are verified with its public half.
    """
    _print_key(_keys().new())


def _print_key(public: str) -> None:
    from dep_mcp.receipts import key_id, public_pem

    click.echo(public_pem(public), nl=False)
    click.echo(f"id {key_id(public)}", err=True)


def _keys() -> "OwnerKeys":
    from dep_mcp.orchestrator import OwnerKeys
    from dep_mcp.settings import HostSettings

    return OwnerKeys(HostSettings.read().keys)
