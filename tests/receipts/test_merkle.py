"""Merkle trees against the published vectors, and what no vector shows: every proof holds, and no other does."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dep_mcp.receipts.merkle import Root, is_included, leaf_hash, proof, root_of

# The leaves and roots that implementations of Certificate Transparency test themselves with.
LEAVES = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
TREES = st.lists(st.binary(max_size=40), min_size=1, max_size=70)


def streamed(leaves: list[bytes]) -> bytes:
    root = Root()
    for leaf in leaves:
        root.add(leaf)
    return root.digest()


@pytest.mark.parametrize("size", range(9))
def test_the_roots_are_those_that_others_compute(size: int) -> None:
    """A receipt must be checkable with any library of Merkle trees."""
    assert streamed(LEAVES[:size]).hex() == ROOTS[size]


@given(TREES)
def test_a_root_computed_leaf_by_leaf_is_that_of_the_whole(leaves: list[bytes]) -> None:
    """The container has 200,000 answers and no room for a tree; asking early changes nothing."""
    root = Root()
    for number, leaf in enumerate(leaves):
        root.add(leaf)
        assert root.digest() == root_of([leaf_hash(one) for one in leaves[: number + 1]])


@given(TREES, st.data())
def test_every_leaf_has_a_proof_and_no_other_leaf_or_place_does(leaves: list[bytes], data: st.DataObject) -> None:
    """Else an item that was never committed to could be passed off as one."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    root, index = root_of(hashes), data.draw(st.integers(0, len(leaves) - 1))
    path = proof(hashes, index)
    assert is_included(leaves[index], index, len(leaves), path, root)
    other = data.draw(st.binary(max_size=40).filter(lambda leaf: leaf != leaves[index]))
    assert not is_included(other, index, len(leaves), path, root)
    place = data.draw(st.integers(-2, len(leaves) + 2).filter(lambda place: place != index))
    if not 0 <= place < len(leaves) or leaves[place] != leaves[index]:
        assert not is_included(leaves[index], place, len(leaves), path, root)


@given(TREES, st.data())
def test_a_proof_with_any_bit_changed_or_a_step_more_or_less_is_none(leaves: list[bytes], data: st.DataObject) -> None:
    """Nor does the right proof hold for another root."""
    hashes = [leaf_hash(leaf) for leaf in leaves]
    root, index = root_of(hashes), data.draw(st.integers(0, len(leaves) - 1))
    path = proof(hashes, index)
    step = data.draw(st.integers(0, len(path)))
    flipped = bytes([data.draw(st.integers(1, 255))]) + bytes(31)
    whole = [*path, root]
    whole[step] = bytes(a ^ b for a, b in zip(whole[step], flipped, strict=True))
    assert not is_included(leaves[index], index, len(leaves), whole[:-1], whole[-1])
    assert not is_included(leaves[index], index, len(leaves), [*path, root], root)
    if path:
        assert not is_included(leaves[index], index, len(leaves), path[:-1], root)


def test_a_node_is_no_leaf() -> None:
    """Two hashes side by side as one leaf would give another tree the same root."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert streamed([left + right]) != root_of([left, right])
    assert streamed([]) == hashlib.sha256(b"").digest()
