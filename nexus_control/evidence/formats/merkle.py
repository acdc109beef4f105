"""The Merkle tree of RFC 6962 (section 2.1; the algorithms as RFC 9162 words them), over stored subtree hashes.

    root()         = SHA-256("")                                              an empty tree
    root(d)        = SHA-256(0x00 || d)                                       the leaf hash
    root(d[0:n])   = SHA-256(0x01 || root(d[0:k]) || root(d[k:n]))            k: the largest power of two below n

A *complete* subtree has 2^level leaves and begins at a multiple of 2^level; its hash never changes again. `Read(level,
index)` gives the hash of the subtree over the leaves [index * 2^level, (index + 1) * 2^level). Appending a leaf writes
at most 1 + log2(n) hashes, two on average, and reads one hash for each that it writes above the leaf. A root, an
inclusion path and a consistency path read at most 2 * log2(n) hashes.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from nexus_control.errors import ErrorCode, NexusControlError

Read: TypeAlias = Callable[[int, int], bytes]

_HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 6962, section 2.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


Subtrees: TypeAlias = dict[tuple[int, int], bytes]
"""By (level, index)."""


def whole_tree(leaves: Iterable[bytes]) -> Subtrees:
    """All complete subtrees over these leaves, the leaves themselves included."""
    return grow(0, leaves, reader({}))


def reader(tree: Subtrees) -> Read:
    """A `Read` from a tree in memory."""
    return lambda level, index: tree[level, index]


def grow(size: int, leaves: Iterable[bytes], read: Read) -> Subtrees:
    """The subtrees that these leaves complete after the first `size`, the leaves themselves included."""
    grown: Subtrees = {}
    for number, leaf in enumerate(leaves, size):
        level, index, value = 0, number, leaf
        grown[level, index] = value
        while index % 2:
            left = grown[level, index - 1] if (level, index - 1) in grown else read(level, index - 1)
            level, index, value = level + 1, index // 2, node_hash(left, value)
            grown[level, index] = value
    return grown


def tree_root(size: int, read: Read) -> bytes:
    """The root of the first `size` leaves."""
    return _root(0, size, read) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, read: Read) -> list[bytes]:
    """The proof that leaf `index` is in the tree of `size` leaves, from the leaf upwards (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < size:
        raise ValueError(f"there is no leaf {index} in a tree of {size}")
    return _path(index, 0, size, read)


def _path(index: int, low: int, high: int, read: Read) -> list[bytes]:
    if high - low == 1:
        return []
    middle = low + _split(high - low)
    if index < middle:
        return [*_path(index, low, middle, read), _root(middle, high, read)]
    return [*_path(index, middle, high, read), _root(low, middle, read)]


def consistency_path(old: int, new: int, read: Read) -> list[bytes]:
    """The proof that the tree of `old` leaves is the beginning of the tree of `new` (RFC 9162, 2.1.4.1)."""
    if not 0 < old <= new:
        raise ValueError(f"there is no proof from size {old} to {new}")
    return _subproof(old, 0, new, read)


def _subproof(old: int, low: int, high: int, read: Read) -> list[bytes]:
    if old == high:  # a subtree that begins at leaf 0 is the old tree, whose root the verifier has
        return [_root(low, high, read)] if low else []
    middle = low + _split(high - low)
    if old <= middle:
        return [*_subproof(old, low, middle, read), _root(middle, high, read)]
    return [*_subproof(old, middle, high, read), _root(low, middle, read)]


def require_included(index: int, size: int, leaf: bytes, path: Sequence[bytes], root: bytes) -> None:
    """Raises INTEGRITY_MISMATCH unless the path leads from the leaf to the root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        raise _mismatch("the proof is for a leaf that the tree does not have")
    if len(leaf) != _HASH_BYTES:
        raise _mismatch("a leaf hash has 32 bytes")
    node, last, value = index, size - 1, leaf
    for step in path:
        if last == 0:
            raise _mismatch("the proof is too long")
        if node % 2 or node == last:
            value = node_hash(step, value)
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            value = node_hash(value, step)
        node, last = node // 2, last // 2
    if last != 0 or value != root:
        raise _mismatch("the proof does not lead from the leaf to the root")


def require_consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """Raises INTEGRITY_MISMATCH unless the tree of `old` leaves is the beginning of the tree of `new` (RFC 9162,
    2.1.4.2). The empty tree is the beginning of every tree, so a proof from it proves nothing and is refused.
    """
    if not 0 < old <= new:
        raise _mismatch(f"there is no proof from size {old} to {new}")
    if old == new:
        if path or old_root != new_root:
            raise _mismatch("two trees of one size have different roots")
        return
    # Where the old tree is one complete subtree, its root is not repeated in the proof.
    steps = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not steps:
        raise _mismatch("the proof is too short")
    node, last = old - 1, new - 1
    while node % 2:
        node, last = node // 2, last // 2
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            raise _mismatch("the proof is too long")
        if node % 2 or node == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while node % 2 == 0 and node:
                node, last = node // 2, last // 2
        else:
            after = node_hash(after, step)
        node, last = node // 2, last // 2
    if last != 0 or before != old_root or after != new_root:
        raise _mismatch("the proof does not lead from the old root to the new")


def _root(low: int, high: int, read: Read) -> bytes:
    """The root of the leaves [low, high), where `low` is a multiple of a power of two that is at least `high - low`."""
    size = high - low
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return read(level, low >> level)
    middle = low + _split(size)
    return node_hash(_root(low, middle, read), _root(middle, high, read))


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1


def _mismatch(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INTEGRITY_MISMATCH, problem)
