"""Receives the document that is to be verified: read once, strictly and within limits.

A document object or a mapping is first written as JSON text, so that the rules for text hold for it too. All other
checks need what is read here: when a document cannot be read, these checks fail and the others are skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from nexus_control.artifact import Part
from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import (
    MAX_ARTIFACT_DEPTH,
    MAX_TEXT_BYTES,
    canonical_json,
    parse_json,
    require_domain,
)
from nexus_control.errors import NexusControlError
from nexus_control.evidence.report import Check, Finding, failed, noted, passed, skipped

Document = TypeVar("Document", AuditPackage, DecisionBundle)

NAMES: Final = ("limits", "strict_parse", "schema", "canonical_domain")
UNREAD: Final = "it cannot be read"
# The faults of a mapping or a document that was built by hand: it may hold any object, at any depth.
_UNREADABLE: Final = (NexusControlError, ValueError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Generic[Document]):
    """The package or bundle, if it could be read, and the checks of reading it.

    `content` holds its bytes if it came as bytes or text; a signature can only be checked over those.
    """

    content: bytes | None
    document: Document | None
    checks: tuple[Check, ...]


def receive(given: Document | Mapping[str, object] | str | bytes, kind: type[Document]) -> Received[Document]:
    """Read a package or a bundle. Never raises."""
    try:
        content = _content(given)
    except _UNREADABLE as fault:
        return _unread(failed(f"it cannot be spelled as JSON: {_escaped(fault)}"))
    if len(content) > MAX_TEXT_BYTES:
        return _unread(failed("too large", expected=f"at most {MAX_TEXT_BYTES}", actual=len(content)))
    try:
        data = parse_json(content, max_depth=MAX_ARTIFACT_DEPTH)
    except NexusControlError as fault:
        return _unread(_limits(len(content)), failed(fault.message))
    verbatim = content if isinstance(given, str | bytes) else None
    return receive_parsed(data, kind, size=len(content), content=verbatim)


def receive_parsed(
    data: object, kind: type[Document], *, size: int, content: bytes | None
) -> Received[Document]:
    """As `receive`, for a value that was parsed from a text of `size` bytes. `content` is the text if it is the value's
    alone; None where the value is only a part of the text.
    """
    document: Document | None = None
    try:
        document, schema = kind.from_dict(data), passed()
    except _UNREADABLE as fault:
        schema = failed(_escaped(fault))
    domain = skipped(UNREAD) if document is None else _domain(data)
    found = (_limits(size), passed(), schema, domain)
    return Received(content=content, document=document, checks=tuple(map(Finding.named, found, NAMES)))


def _content(given: Part | Mapping[str, object] | str | bytes) -> bytes:
    if isinstance(given, bytes):
        return given
    whole = given.to_dict() if isinstance(given, Part) else given
    return (whole if isinstance(whole, str) else canonical_json(dict(whole))).encode()


def _limits(size: int) -> Finding:
    return passed(f"{size} bytes")


def _unread(*found: Finding) -> Received[Any]:
    every = (*found, *[skipped(UNREAD)] * (len(NAMES) - len(found)))
    return Received(content=None, document=None, checks=tuple(map(Finding.named, every, NAMES)))


def _domain(data: object) -> Finding:
    """Values that two languages read differently: old artifacts may hold them, so this is `info` and not a failure."""
    try:
        require_domain(data, "document")
    except NexusControlError as fault:
        return noted(f"another language may hash it differently: {fault.message}")
    return passed()


def _escaped(fault: Exception) -> str:
    """The problem, escaped: it may quote the document, whose characters a terminal or encoder might not take."""
    return str(fault).encode("unicode_escape").decode("ascii")
