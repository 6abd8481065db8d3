"""The owner's secrets: the key that countersigns, the salts of commitments, the keys of sealed data.

Of them only the last go into containers that serve, each into those of its own benchmark.
"""

import os
import re
import secrets
from pathlib import Path

from dep_mcp.protocol import Commitment, DataKey, Envelope, PublicKey, Recipient
from dep_mcp.protocol.errors import StoreError, UnknownNameError, UsageError
from dep_mcp.receipts import SigningKey, countersigned, key_id

_OTHERS = 0o077
_DATA_KEY = re.compile(r"AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}")


class OwnerKeys:
    """A folder that only its owner can read.

    Args:
        folder: Made on first use.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "owner.pem"

    def countersign(self, envelope: Envelope) -> Envelope:
        """Add the owner's signature, with a key made now if there is none.

        Raises:
            UsageError: Others can read the key.
            ReceiptError: The file is no Ed25519 key.
            StoreError: It can't be read or written.
        """
        return countersigned(envelope, self._signing())

    def public(self) -> PublicKey | None:
        """The public half of the key, if there is one; errors as of `countersign`."""
        return self._signing().public if self._path.exists() else None

    def new(self) -> PublicKey:
        """Make a new key; the one before is kept beside it under its id, and never deleted.

        Errors as of `countersign`.
        """
        if self._path.exists():
            aside = self._folder / f"owner-{key_id(self._signing().public)[:16]}.pem"
            try:
                self._path.rename(aside)
            except OSError as error:
                msg = f"{aside}: {error}"
                raise StoreError(msg) from error
        return self._signing().public

    def new_salt(self) -> str:
        """Draw the secret of a commitment: 256 bits, in hexadecimal."""
        return secrets.token_hex(32)

    def keep_salt(self, commitment: Commitment, salt: str) -> Path:
        """Keep it under the commitment's root; return where.

        Raises:
            StoreError: It can't be written.
        """
        path = self._salt_path(commitment)
        self._write(path, salt.encode())
        return path

    def salt(self, commitment: Commitment) -> str:
        """The secret of a commitment.

        Raises:
            UnknownNameError: It isn't here.
            UsageError: Others can read it.
            StoreError: It can't be read.
        """
        path = self._salt_path(commitment)
        missing = f"the salt of this commitment isn't at {path}: copy it there from where `bench commit` was run"
        return self._known(path, missing)

    def known_salt(self, commitment: Commitment) -> str | None:
        """The secret of a commitment, if it is here; errors as of `salt`."""
        return self.salt(commitment) if self._salt_path(commitment).exists() else None

    def new_data_key(self) -> Recipient:
        """Make the key of a sealed benchmark; return whom its bundle shall be encrypted to.

        Raises:
            StoreError: It can't be written.
        """
        import pyrage

        identity = pyrage.x25519.Identity.generate()
        recipient = str(identity.to_public())
        self._write(self._data_path(recipient), str(identity).encode())
        return recipient

    def data_key(self, recipient: Recipient) -> DataKey:
        """The key of a sealed benchmark.

        Raises:
            UnknownNameError: It isn't here.
            UsageError: Others can read it.
            StoreError: It can't be read.
        """
        path = self._data_path(recipient)
        missing = f"this benchmark is sealed, and its data key isn't at {path}: its owner has it, from `bench seal`"
        lines = [line for line in self._known(path, missing).splitlines() if not line.startswith("#")]
        if len(lines) != 1 or not _DATA_KEY.fullmatch(lines[0]):  # its text is in no message
            msg = f"{path} holds no data key: one line of AGE-SECRET-KEY-1 and 58 letters and digits"
            raise UsageError(msg)
        return lines[0]

    def forget_data_key(self, recipient: Recipient) -> None:
        """Delete the key of a benchmark that came to nothing."""
        self._data_path(recipient).unlink(missing_ok=True)

    def _known(self, path: Path, missing: str) -> str:
        if not path.exists():
            raise UnknownNameError(missing)
        try:
            return self._read(path).decode("ascii").strip()
        except UnicodeDecodeError:
            msg = f"{path} isn't what was written there: restore it from your backup"
            raise UsageError(msg) from None

    def _data_path(self, recipient: Recipient) -> Path:
        return self._folder / f"{recipient}.key"

    def _salt_path(self, commitment: Commitment) -> Path:
        return self._folder / f"{commitment.root.removeprefix('sha256:')}.salt"

    def _signing(self) -> SigningKey:
        if not self._path.exists():
            self._write(self._path, SigningKey.mint().pem())
        return SigningKey.from_pem(self._read(self._path))

    def _read(self, path: Path) -> bytes:
        try:
            if path.stat().st_mode & _OTHERS:
                msg = f"{path} can be read by others: `chmod 600` it, and make a new one if somebody may have"
                raise UsageError(msg)
            return path.read_bytes()
        except OSError as error:
            msg = f"{path}: {error}"
            raise StoreError(msg) from error

    def _write(self, path: Path, secret: bytes) -> None:
        """Write a file whole or not at all; one that another process wrote meanwhile stays as it is."""
        part = self._folder / f"{path.name}.{secrets.token_hex(8)}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secret)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(part, path)  # fails where there is one
            finally:
                part.unlink()
        except FileExistsError:
            return
        except OSError as error:
            msg = f"{path}: {error}. Free some space or set DEP_MCP_HOME to a folder that can be written."
            raise StoreError(msg) from error
