"""The owner's secrets: whole or not there, and nobody else's to read."""

from pathlib import Path

import pytest

from dep_mcp.orchestrator import OwnerKeys
from dep_mcp.protocol import Commitment
from dep_mcp.protocol.errors import ReceiptError, StoreError, UnknownNameError, UsageError

COMMITMENT = Commitment(root="sha256:" + "a" * 64, items=3)


def test_a_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """A receipt by a key that changed under the hand couldn't be verified."""
    folder = tmp_path / "keys"
    keys = OwnerKeys(folder)
    assert keys.public() is None
    first = keys.new()
    assert keys.public() == first == OwnerKeys(folder).public()
    assert (folder.stat().st_mode & 0o777, (folder / "owner.pem").stat().st_mode & 0o777) == (0o700, 0o600)
    assert [path.name for path in folder.iterdir()] == ["owner.pem"], "no half-written file is left"


def test_a_new_key_keeps_the_one_before(tmp_path: Path) -> None:
    """What it signed is still verified with its public half."""
    keys = OwnerKeys(tmp_path)
    first = keys.new()
    second = keys.new()
    assert first != second == keys.public()
    (kept,) = (path for path in tmp_path.iterdir() if path.name != "owner.pem")
    kept.rename(tmp_path / "owner.pem")
    assert keys.public() == first


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """They may have signed with it."""
    keys = OwnerKeys(tmp_path)
    keys.new()
    (tmp_path / "owner.pem").chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        keys.public()


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_broken_key_is_told(tmp_path: Path, content: bytes) -> None:
    """And never replaced silently."""
    path = tmp_path / "owner.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ReceiptError):
        OwnerKeys(tmp_path).public()
    assert path.read_bytes() == content


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With its path and what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="DEP_MCP_HOME"):
        OwnerKeys(tmp_path / "file" / "keys").new()


def test_salts_are_kept_by_what_they_open(tmp_path: Path) -> None:
    """The second of two is no other's, and one is never overwritten."""
    keys = OwnerKeys(tmp_path)
    salt, later = keys.new_salt(), keys.new_salt()
    assert salt != later
    with pytest.raises(UnknownNameError, match="bench commit"):
        keys.salt(COMMITMENT)
    path = keys.keep_salt(COMMITMENT, salt)
    keys.keep_salt(COMMITMENT, later)
    assert keys.salt(COMMITMENT) == salt
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [b"", b"junk", b"\xff\xfe", b"age-secret-key-1" + b"q" * 58, b"AGE-SECRET-KEY-1" + b"Q" * 59],
    ids=["empty", "junk", "binary", "lower case", "too long"],
)
def test_a_broken_data_key_is_told_and_not_shown(tmp_path: Path, content: bytes) -> None:
    """What it holds may be a key but for a letter."""
    keys = OwnerKeys(tmp_path)
    recipient = keys.new_data_key()
    (tmp_path / f"{recipient}.key").write_bytes(content)
    with pytest.raises(UsageError) as refused:
        keys.data_key(recipient)
    assert "Q" * 20 not in refused.value.detail.upper()


def test_a_data_key_may_have_the_comments_of_age(tmp_path: Path) -> None:
    """As `age-keygen` writes it; and one of what came to nothing is forgotten."""
    keys = OwnerKeys(tmp_path)
    recipient = keys.new_data_key()
    path = tmp_path / f"{recipient}.key"
    plain = keys.data_key(recipient)
    path.write_text(f"# created: today\n{plain}\n")
    assert keys.data_key(recipient) == plain
    keys.forget_data_key(recipient)
    assert not path.exists()
