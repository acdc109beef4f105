"""What is verified: a package as it was received, read strictly and within limits, whoever sent it.

A package object or a mapping goes through its JSON text, so that it obeys the rules of text. Everything else rests on
what is read here, so a package that cannot be read fails these checks and leaves the others nothing to look at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from nexus_control.audit_package import AuditPackage
from nexus_control.canonical_json import (
    MAX_ARTIFACT_DEPTH,
    MAX_TEXT_BYTES,
    canonical_json,
    parse_json,
    require_domain,
)
from nexus_control.errors import NexusControlError
from nexus_control.evidence.report import Check, failed, noted, passed, skipped

NAMES: Final = ("limits", "strict_parse", "schema", "canonical_domain")
# A mapping or a package that was built by hand may hold anything, at any depth.
_UNREADABLE: Final = (NexusControlError, ValueError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A package as far as it can be read: its JSON object, and the package that it spells.

    `content` are its bytes where it came as bytes or text: only those can have been signed.
    """

    data: Mapping[str, Any] | None
    content: bytes | None
    package: AuditPackage | None
    checks: tuple[Check, ...]


def receive(given: AuditPackage | Mapping[str, object] | str | bytes) -> Received:
    """Read a package. Never raises."""
    try:
        content = _content(given)
    except _UNREADABLE as fault:
        return _unread(failed("limits", f"it cannot be spelled as JSON: {_escaped(fault)}"))
    if len(content) > MAX_TEXT_BYTES:
        return _unread(
            failed("limits", "too large", expected=f"at most {MAX_TEXT_BYTES}", actual=len(content))
        )
    limits = passed("limits", f"{len(content)} bytes")
    try:
        data = parse_json(content, max_depth=MAX_ARTIFACT_DEPTH)
    except NexusControlError as fault:
        return _unread(limits, failed("strict_parse", fault.message))
    try:
        package, schema = AuditPackage.from_dict(data), passed("schema")
    except _UNREADABLE as fault:
        package, schema = None, failed("schema", _escaped(fault))
    domain = skipped("canonical_domain", "the package cannot be read") if package is None else _domain(data)
    checks = (limits, passed("strict_parse"), schema, domain)
    whole = cast("dict[str, Any]", data) if isinstance(data, dict) else None
    verbatim = content if isinstance(given, str | bytes) else None
    return Received(data=whole, content=verbatim, package=package, checks=checks)


def _content(given: AuditPackage | Mapping[str, object] | str | bytes) -> bytes:
    if isinstance(given, bytes):
        return given
    whole = given.to_dict() if isinstance(given, AuditPackage) else given
    return (whole if isinstance(whole, str) else canonical_json(dict(whole))).encode()


def _unread(*checks: Check) -> Received:
    rest = (skipped(name, "the package cannot be read") for name in NAMES[len(checks) :])
    return Received(data=None, content=None, package=None, checks=(*checks, *rest))


def _domain(data: object) -> Check:
    """Values that two languages read differently prove nothing wrong in an old artifact, but are said."""
    try:
        require_domain(data, "package")
    except NexusControlError as fault:
        return noted("canonical_domain", f"another language may hash it differently: {fault.message}")
    return passed("canonical_domain")


def _escaped(fault: Exception) -> str:
    """The problem may quote the package: escaped, so that no terminal or encoder trips over it."""
    return str(fault).encode("unicode_escape").decode("ascii")
