"""The vectors as documents, and ways of spoiling a document."""

import copy
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeAlias, cast

from tests.support.places import REPOSITORY

Document: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str | int, ...]

VECTORS = REPOSITORY / "tests" / "vectors"
AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
ABSENT: Any = object()


def load(*parts: str) -> Document:
    return json.loads(VECTORS.joinpath(*parts).read_text(encoding="utf-8"))


PACKAGES: dict[str, Document] = {
    "reference": load("control", "audit-reference.json")["package"],
    "template": load("control", "audit-template.json")["package"],
    "embedded": load("evidence", "interop", "package.json"),
}
BUNDLES: dict[str, Document] = {
    name: load("control", f"bundle-{name}.json")["bundle"]
    for name in ("pending", "executed", "template-executed")
} | {f"in {name} package": package["control_bundle"] for name, package in PACKAGES.items()}


def independent_digest(value: object) -> str:
    """The prefixed digest of canonical JSON, computed without the library."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def changed(document: Document, path: Path, value: object) -> Document:
    """A copy with another value at `path`, or without that key when the value is ABSENT."""
    result = copy.deepcopy(document)
    parent: Any = result
    for step in path[:-1]:
        parent = parent[step]
    if value is ABSENT:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return result


def at(document: Document, path: Path) -> Any:
    value: Any = document
    for step in path:
        value = value[step]
    return value


def nodes(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value in a document, containers included, the document itself left out."""
    if path:
        yield path
    children: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        children = cast("Document", value).items()
    elif isinstance(value, list):
        children = enumerate(cast("list[Any]", value))
    for key, child in children:
        yield from nodes(child, (*path, key))
