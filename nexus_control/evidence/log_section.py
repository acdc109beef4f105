"""The key `evidence` of an exported package, which the frozen digests do not cover:

    evidence = {"chain_head": prefixed,     the chain hash of the last event
                "log_key": text,            the verifier key of the log, as the log's owner states it
                "log_proof": text}          the tlog-proof of that chain hash
             | {"chain_head": prefixed,
                "unproven": text}           why its exporter could not prove that
             | {"imported": {"at": instant, "by"?: actor, "bundle_digest": text, "events": integer}}

The key in `log_key` is the package's own claim and proves nothing about who: verifiers bring keys of their own. The
form `imported` is for a history whose first `events` events were imported: when, by whom, and in which bundle.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from nexus_control.errors import ErrorCode
from nexus_control.integrity import is_prefixed
from nexus_control.values.actors import Actor
from nexus_control.values.instants import is_instant
from nexus_control.values.records import check, decode, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSection:
    """What an exported package says of the log that it came from."""

    chain_head: str = check(is_prefixed, "'sha256:' and 64 lower-case hex digits")
    log_key: str
    log_proof: str

    def to_dict(self) -> dict[str, object]:
        return encode(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenSection:
    """The last event, and why the package carries no proof of it: its exporter could not sign the log, for example."""

    chain_head: str = check(is_prefixed, "'sha256:' and 64 lower-case hex digits")
    unproven: str

    def to_dict(self) -> dict[str, object]:
        return encode(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What an exported package says of how its history came into the store."""

    at: str = check(is_instant, "an ISO-8601 instant with an offset")
    by: Actor | None = None
    bundle_digest: str
    events: int = check(lambda number: number >= 1, "at least 1")

    def to_dict(self) -> dict[str, object]:
        return {"imported": encode(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfAnImport:
    imported: Imported


Section: TypeAlias = LogSection | UnprovenSection | Imported


def read_section(data: Mapping[str, object]) -> Section:
    """Raises PACKAGE_INVALID_SCHEMA."""
    if "imported" in data:
        return decode(_OfAnImport, data, where="evidence", code=ErrorCode.PACKAGE_INVALID_SCHEMA).imported
    kind = UnprovenSection if "unproven" in data else LogSection
    return decode(kind, data, where="evidence", code=ErrorCode.PACKAGE_INVALID_SCHEMA)
