import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import ParameterSet
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.merkle import (
    EMPTY_ROOT,
    consistency_path,
    grow,
    inclusion_path,
    require_consistent,
    require_included,
    tree_root,
)
from tests.artifacts.samples import load
from tests.support.places import require_vectors_of_others, vectors_of_others, why_skipped

RFC6962 = vectors_of_others("rfc6962")
GOLDEN = load("evidence", "golden.json")


class Tree:
    """What a store keeps: the hashes of complete subtrees, and how often they were read."""

    def __init__(self, size: int = 0) -> None:
        self.hashes: dict[tuple[int, int], bytes] = {}
        self.reads = self.size = 0
        for number in range(size):
            self.append(leaf(number))

    def append(self, value: bytes) -> int:
        completed = grow(self.size, [value], self.read)
        self.hashes |= completed
        self.size += 1
        return len(completed)

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.hashes[level, index]


def leaf(number: int) -> bytes:
    return hashlib.sha256(b"\x00" + str(number).encode()).digest()


def naive_root(leaves: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:k]) + naive_root(leaves[k:])).digest()


@pytest.mark.parametrize("size", range(40))
def test_the_root_is_that_of_the_definition(size: int) -> None:
    assert tree_root(size, Tree(size).read) == naive_root([leaf(number) for number in range(size)])


def test_the_empty_tree_has_the_root_of_nothing() -> None:
    assert tree_root(0, Tree().read) == EMPTY_ROOT == hashlib.sha256().digest()


@given(st.integers(1, 200), st.data())
def test_every_leaf_is_proved_and_no_other(size: int, data: st.DataObject) -> None:
    tree = Tree(size)
    index = data.draw(st.integers(0, size - 1))
    path, root = inclusion_path(index, size, tree.read), tree_root(size, tree.read)
    require_included(index, size, leaf(index), path, root)
    wrong = data.draw(st.integers(0, size).filter(lambda other: other != index))
    with pytest.raises(NexusControlError):
        require_included(wrong, size, leaf(index), path, root)
    with pytest.raises(NexusControlError):
        require_included(index, size, leaf(size), path, root)


@given(st.integers(1, 200), st.data())
def test_every_beginning_is_proved_and_no_other_tree(new: int, data: st.DataObject) -> None:
    tree = Tree(new)
    old = data.draw(st.integers(1, new))
    before, after = tree_root(old, tree.read), tree_root(new, tree.read)
    path = consistency_path(old, new, tree.read)
    require_consistent(old, new, before, after, path)
    for position in range(len(path)):
        spoiled = [*path[:position], leaf(9999), *path[position + 1 :]]
        with pytest.raises(NexusControlError):
            require_consistent(old, new, before, after, spoiled)
    with pytest.raises(NexusControlError):
        require_consistent(old, new, leaf(9999), after, path)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_no_path_to_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_path(index, size, Tree(size).read)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (4, 3), (-1, 3)])
def test_no_consistency_path_from_nothing_or_backwards(old: int, new: int) -> None:
    with pytest.raises(ValueError, match="no proof"):
        consistency_path(old, new, Tree(3).read)


def test_the_cost_grows_with_the_logarithm() -> None:
    tree, written = Tree(), 0
    for number in range(5000):
        written += tree.append(leaf(number))
    assert written < 2 * 5000
    tree.reads = 0
    tree_root(5000, tree.read)
    inclusion_path(1234, 5000, tree.read)
    consistency_path(777, 5000, tree.read)
    assert tree.reads < 6 * 13


def test_the_golden_tree() -> None:
    tree = Tree()
    for value in GOLDEN["leaf_hash"]:
        tree.append(bytes.fromhex(value.removeprefix("sha256:")))
    assert tree_root(3, tree.read).hex() == GOLDEN["root"]
    assert [each.hex() for each in inclusion_path(2, 3, tree.read)] == GOLDEN["inclusion_index2"]
    assert [each.hex() for each in consistency_path(2, 3, tree.read)] == GOLDEN["consistency_2_3"]


def vectors(kind: str) -> list[ParameterSet]:
    """The files of others; one case that is skipped where they are not at hand."""
    if RFC6962 is None:
        return [pytest.param(None, marks=pytest.mark.skip(why_skipped("rfc6962")), id="not at hand")]
    return [
        pytest.param(path, id="-".join(path.relative_to(RFC6962).with_suffix("").parts))
        for path in sorted((RFC6962 / kind).rglob("*.json"))
    ]


def read_case(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())


def proof_of(case: dict[str, Any]) -> list[bytes]:
    texts: list[str] = case["proof"] or []
    return [decoded(text) for text in texts]


def decoded(value: str | None) -> bytes:
    return base64.b64decode(value or "")


def test_others_vectors_are_at_hand() -> None:
    folder = require_vectors_of_others("rfc6962")
    assert len(list(folder.rglob("*.json"))) > 100


@pytest.mark.parametrize("path", vectors("inclusion"))
def test_others_inclusion_proofs_are_as_they_say(path: Path) -> None:
    case = read_case(path)
    proof = proof_of(case)
    given_ = (case["leafIdx"], case["treeSize"], decoded(case["leafHash"]), proof, decoded(case["root"]))
    if not case["wantErr"]:
        require_included(*given_)
        return
    with pytest.raises(NexusControlError) as caught:
        require_included(*given_)
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize("path", vectors("consistency"))
def test_others_consistency_proofs_are_as_they_say(path: Path) -> None:
    case = read_case(path)
    proof = proof_of(case)
    given_ = (case["size1"], case["size2"], decoded(case["root1"]), decoded(case["root2"]), proof)
    if not case["wantErr"]:
        require_consistent(*given_)
        return
    with pytest.raises(NexusControlError) as caught:
        require_consistent(*given_)
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH
