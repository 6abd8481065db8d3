"""What a benchmark commits to inside its image, and opens once it has retired."""

import shutil
from pathlib import Path

import pytest

from dep_mcp.protocol import Commitment
from dep_mcp.protocol.errors import CardError, DataError, UnknownItemError
from dep_mcp.receipts import verify_openings
from dep_mcp.server.loading import index
from dep_mcp.server.opening import commit, openings
from dep_mcp.testing import toy_folder

SECRET = bytes(32)


def folder_of(tmp_path: Path, *, retired: bool, commitment: Commitment | None) -> Path:
    """The toy benchmark, indexed as in its image."""
    folder = tmp_path / "toy"
    if not folder.is_dir():
        shutil.copytree(toy_folder(), folder)
        index(folder)
    card = (toy_folder() / "dataset_card.yaml").read_text()
    if commitment is not None:
        card += f'commitment: {{root: "{commitment.root}", items: {commitment.items}}}\n'
    (folder / "dataset_card.yaml").write_text(card + f"retired: {str(retired).lower()}\n")
    return folder


def test_a_retired_benchmark_is_opened_whole_or_item_by_item(tmp_path: Path) -> None:
    """Either verifies against the card."""
    promised = commit(folder_of(tmp_path, retired=False, commitment=None), SECRET)
    folder = folder_of(tmp_path, retired=True, commitment=promised)
    assert commit(folder, SECRET) == promised
    assert verify_openings(openings(folder, SECRET, ()), promised) == promised.items == 300
    some = list(openings(folder, SECRET, ("toy-7", "toy-299")))
    assert verify_openings(some, promised) == 2
    assert '"target-8"' in some[0].target


def test_a_benchmark_in_use_stays_sealed(tmp_path: Path) -> None:
    """Until its card says otherwise, which is part of its image."""
    promised = commit(folder_of(tmp_path, retired=False, commitment=None), SECRET)
    folder = folder_of(tmp_path, retired=False, commitment=promised)
    with pytest.raises(CardError, match="is in use"):
        next(openings(folder, SECRET, ()))


@pytest.mark.parametrize("spoilt", ["secret", "card", "none"])
def test_what_would_prove_nothing_is_not_opened(tmp_path: Path, spoilt: str) -> None:
    """Targets would be given away for it."""
    promised = commit(folder_of(tmp_path, retired=False, commitment=None), SECRET)
    in_card = {"secret": promised, "card": promised.model_copy(update={"items": 299}), "none": None}[spoilt]
    folder = folder_of(tmp_path, retired=True, commitment=in_card)
    with pytest.raises(DataError, match="nothing can be proved"):
        next(openings(folder, bytes([1]) * 32 if spoilt == "secret" else SECRET, ()))


def test_an_item_that_is_not_there_is_told(tmp_path: Path) -> None:
    """Rather than left out."""
    promised = commit(folder_of(tmp_path, retired=False, commitment=None), SECRET)
    with pytest.raises(UnknownItemError, match="toy-300"):
        list(openings(folder_of(tmp_path, retired=True, commitment=promised), SECRET, ("toy-1", "toy-300")))


def test_a_benchmark_that_generates_its_items_has_none_to_commit_to(tmp_path: Path) -> None:
    """They are others each time."""
    with pytest.raises(DataError, match="generated"):
        commit(tmp_path, SECRET)
