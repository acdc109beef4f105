"""Reading a file that should be evidence: which kind it is, and what its checks say.

    package     audit package 0.6
    bundle      decision bundle 0.5
    run bundle  the record of a run, in the shape of nexus-router 0.3

A file holds the artifact itself, or the answer with which a tool exported it: {"package" | "bundle" | "artifact": ...,
"digest"?, ...}. A digest that stands beside the artifact is held against it. A package that is the whole file is
verified as the file's bytes: only those can have been signed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, TypeVar, cast

from nexus_control.audit_package import AuditPackage, router_bundle_digest
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import MAX_ARTIFACT_DEPTH, parse_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.bundle_checks import bundle_checks
from nexus_control.evidence.report import Check, compared, failed
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.evidence.trust import NOBODY, NOTHING, Attached, Trust
from nexus_control.evidence.verify import EvidenceReport, Level, verify_evidence
from nexus_control.integrity import prefixed

Whole = TypeVar("Whole", AuditPackage, DecisionBundle)
Kind: TypeAlias = Literal["package", "bundle", "run bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An artifact that was read, and its checks. `whole` is None where it could not be read as what it says it is;
    `report` is a package's.
    """

    kind: Kind
    data: Mapping[str, Any]
    whole: AuditPackage | DecisionBundle | None
    digest: str | None
    checks: tuple[Check, ...]
    report: EvidenceReport | None = None

    @property
    def ok(self) -> bool:
        """Nothing failed, and a package reached what was required of it."""
        is_reached = self.report is None or self.report.ok
        return is_reached and all(check.status != "fail" for check in self.checks)


def read_evidence(
    content: bytes, *, trust: Trust = NOBODY, require: Level = "L1", attached: Attached = NOTHING
) -> Reading:
    """What the file holds. The options are for packages, as `verify_evidence` takes them.

    Raises JSON_INVALID for what is not strict JSON, INVALID_ARGUMENT for another document.
    """
    whole = parse_json(content, max_depth=MAX_ARTIFACT_DEPTH)
    document, beside = _unwrapped(whole)

    def verify(data: Mapping[str, object]) -> EvidenceReport:
        return verify_evidence(
            content if document is whole else data,
            trust=trust,
            require=require,
            envelope=attached.envelope,
            log_proof=attached.log_proof,
            timestamp=attached.timestamp,
        )

    read = _read(document, verify)
    if not isinstance(beside, str):
        return read
    said = compared("digest_beside", beside, read.digest, "the digest beside the artifact is another one")
    return replace(read, checks=(*read.checks, said))


def _unwrapped(document: object) -> tuple[object, object]:
    """The artifact, and the digest that stands beside it in the answer of a tool."""
    answer = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    if not answer.keys() & {"package_version", "bundle_version"}:
        for name in ("package", "bundle", "artifact"):
            if name in answer:
                return answer[name], answer.get("digest")
    return answer, None


def _read(document: object, verify: Callable[[Mapping[str, object]], EvidenceReport]) -> Reading:
    data = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    if "package_version" in data:
        return _package(data, verify(data))
    if "bundle_version" in data:
        return _run_bundle(data) if "run" in data else _bundle(data)
    raise NexusControlError(
        ErrorCode.INVALID_ARGUMENT, "FILE is neither an audit package nor a decision bundle nor a run bundle"
    )


def _package(data: dict[str, Any], report: EvidenceReport) -> Reading:
    parsed = _parsed(AuditPackage.from_dict, data)
    whole = None if isinstance(parsed, NexusControlError) else parsed
    digest = None if whole is None else whole.integrity.binding_digest
    return Reading(kind="package", data=data, whole=whole, digest=digest, checks=report.checks, report=report)


def _bundle(data: dict[str, Any]) -> Reading:
    whole = _parsed(DecisionBundle.from_dict, data)
    if isinstance(whole, NexusControlError):
        return Reading(
            kind="bundle", data=data, whole=None, digest=None, checks=(failed("schema", whole.message),)
        )
    digest = whole.integrity.canonical_digest
    return Reading(kind="bundle", data=data, whole=whole, digest=digest, checks=tuple(bundle_checks(whole)))


def _run_bundle(data: dict[str, Any]) -> Reading:
    digest = router_bundle_digest(data)
    try:
        recomputed = prefixed(run_bundle_digest(data))
    except NexusControlError as fault:
        check = failed("run_bundle_digest", fault.message)
    else:
        detail = "the run bundle was changed after it was sealed"
        check = compared("run_bundle_digest", digest, recomputed, detail)
    return Reading(kind="run bundle", data=data, whole=None, digest=digest, checks=(check,))


def _parsed(read: Callable[[object], Whole], data: object) -> Whole | NexusControlError:
    try:
        return read(data)
    except NexusControlError as fault:
        return fault
