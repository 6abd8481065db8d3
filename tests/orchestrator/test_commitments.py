"""What an image prints when it is asked to commit, to open or to seal is read as what a stranger says."""

import io
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dep_mcp.containers import ContainerSpec
from dep_mcp.orchestrator import OwnerKeys, sealing
from dep_mcp.orchestrator.catalogue import read_folder
from dep_mcp.orchestrator.commitments import commit, open_up
from dep_mcp.protocol import Commitment
from dep_mcp.protocol.errors import DataError
from dep_mcp.testing import FakeRuntime, toy_folder

COMMITMENT = Commitment(root="sha256:" + "0" * 64, items=3)
GOOD = COMMITMENT.model_dump_json().encode()
CARD = read_folder(toy_folder()).card


class Printing(FakeRuntime):
    """A runtime whose images print these lines, and end well."""

    def __init__(self, *lines: bytes) -> None:
        self._lines = lines

    @asynccontextmanager
    async def start(self, _spec: ContainerSpec) -> AsyncGenerator["Printing"]:
        yield self

    async def write(self, data: bytes) -> None:
        """Take what it is asked."""

    async def lines(self) -> AsyncIterator[bytes]:
        for line in self._lines:
            yield line

    async def exit_status(self) -> int:
        return 0


@pytest.fixture
def keys(tmp_path: Path) -> OwnerKeys:
    return OwnerKeys(tmp_path / "keys")


async def test_a_commitment_is_kept_with_its_salt(keys: OwnerKeys) -> None:
    """Without the salt it can't be opened."""
    assert await commit(Printing(GOOD), "image", CARD, keys) == COMMITMENT
    assert keys.salt(COMMITMENT)


@pytest.mark.parametrize("lines", [(), (b"",), (b"\xff",), (b"{}",), (GOOD, GOOD), (b"[" * 5000,)])
async def test_what_is_no_commitment_is_an_error_of_ours(keys: OwnerKeys, lines: tuple[bytes, ...]) -> None:
    """And no salt is kept for it."""
    with pytest.raises(DataError):
        await commit(Printing(*lines), "image", CARD, keys)


@pytest.mark.parametrize("line", [b"", b"\xff", b"{}", GOOD, b"[" * 5000])
async def test_what_is_no_opening_is_an_error_of_ours(keys: OwnerKeys, line: bytes) -> None:
    """It is told before it stands in the file."""
    await commit(Printing(GOOD), "image", CARD, keys)
    card = CARD.model_copy(update={"commitment": COMMITMENT})
    with pytest.raises(DataError):
        async for _ in open_up(Printing(line), "image", card, keys):
            pass


@pytest.mark.parametrize("line", [b"not base64!", b"abc", b"{}", b"{", b"\xff"])
async def test_what_is_no_sealed_bundle_is_an_error_of_ours(line: bytes) -> None:
    """An author's code may print into it."""
    with pytest.raises(DataError):
        await sealing._take(Printing(b"QUJD", line).lines(), io.BytesIO())
