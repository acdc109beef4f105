"""The statement that the signature of a package covers: an in-toto Statement (v1) in a DSSE envelope.

    payload type  application/vnd.in-toto+json
    payload       {"_type": "https://in-toto.io/Statement/v1",
                   "subject": [{"name": "package.json", "digest": {"sha256": of the file's bytes}},
                               {"name": "nexus-control:binding:0.6", "digest": {"sha256": the binding digest}}],
                   "predicateType": ".../audit-package/v1",
                   "predicate": {"decision_id", "chain_head": prefixed, "events": number,
                                 "log"?: {"origin", "index"}, "assurance"?, "issued_at"?, "producer"?}}

The digest of the file covers the whole package, `meta`, `provenance` and `evidence` included. `assurance` and
`producer` are claims of the signer, which no check verifies.
"""

from dataclasses import dataclass
from typing import Final

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import is_bare, is_prefixed
from nexus_control.values.instants import is_instant
from nexus_control.values.records import check, decode, encode

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
PREDICATE_TYPE: Final = "https://nexus-control.dev/audit-package/v1"
_ANY_PREDICATE_TYPE: Final = "/audit-package/v1"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PACKAGE, _BINDING = "package.json", "nexus-control:binding:0.6"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPlace:
    """The log that holds the package's last event, and the number of its leaf there."""

    origin: str
    index: int = check(lambda n: n >= 0, "at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicate:
    """What the signer states about the package."""

    decision_id: str
    chain_head: str = check(is_prefixed, "'sha256:' and 64 lower-case hex digits")
    events: int = check(lambda n: n >= 1, "at least 1")
    log: LogPlace | None = None
    assurance: str | None = None
    issued_at: str | None = check(is_instant, "an ISO-8601 instant with an offset", default=None)
    producer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageStatement:
    """The statement of a signed package; both digests are bare hex."""

    package_sha256: str
    binding_sha256: str
    predicate: Predicate

    def to_payload(self) -> bytes:
        """The bytes that are put into the envelope."""
        subject = [
            {"name": _PACKAGE, "digest": {"sha256": self.package_sha256}},
            {"name": _BINDING, "digest": {"sha256": self.binding_sha256}},
        ]
        kinds = {"_type": _STATEMENT, "predicateType": PREDICATE_TYPE}
        return canonical_json({**kinds, "subject": subject, "predicate": encode(self.predicate)}).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Digest:
    sha256: str = check(is_bare, "64 lower-case hex digits")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    name: str
    digest: _Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The statement, apart from its `_type`."""

    subject: tuple[_Subject, ...] = check(
        lambda subjects: [each.name for each in subjects] == [_PACKAGE, _BINDING],
        f"{_PACKAGE} and {_BINDING}",
    )
    predicateType: str = check(  # noqa: N815 - the format's own name
        lambda uri: uri.endswith(_ANY_PREDICATE_TYPE), f"a URI that ends in {_ANY_PREDICATE_TYPE}"
    )
    predicate: Predicate


def parse_package_statement(payload: bytes) -> PackageStatement:
    """Read a payload whose signature was verified. Raises INTEGRITY_MISMATCH."""
    try:
        data = dict(parse_json_object(payload))
    except NexusControlError as fault:
        raise _malformed(fault.message) from None
    if data.pop("_type", None) != _STATEMENT:
        raise _malformed(f"its type is not {_STATEMENT}")
    written = decode(_Written, data, where="statement", code=ErrorCode.INTEGRITY_MISMATCH)
    package, binding = written.subject
    return PackageStatement(
        package_sha256=package.digest.sha256,
        binding_sha256=binding.digest.sha256,
        predicate=written.predicate,
    )


def _malformed(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INTEGRITY_MISMATCH, f"this is not a package's statement: {problem}")
