"""Reading a file that should be evidence: which kind it is, and what its checks say.

    package     audit package 0.6
    bundle      decision bundle 0.5
    run bundle  the record of a run, in the shape of nexus-router 0.3

A file holds the artifact itself, or the answer with which a tool exported it: {"package" | "bundle" | "artifact": ...,
"digest"?, ...}. A digest beside the artifact is compared with the artifact's own. A package that fills the whole file
is verified as the file's bytes, because a signature covers those bytes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, cast

from nexus_control.audit_package import AuditPackage, router_bundle_digest
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import MAX_ARTIFACT_DEPTH, parse_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.received import receive_parsed
from nexus_control.evidence.report import Check, compared, judged
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.evidence.trust import NOBODY, NOTHING, Attached, Trust
from nexus_control.evidence.verify import EvidenceReport, Level, bundle_report, package_report
from nexus_control.integrity import prefixed

Kind: TypeAlias = Literal["package", "bundle", "run bundle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """An artifact that was read, and its checks. `whole` is None where the file does not have the format of its kind.
    `report` is there for a package or a bundle; a run bundle has one check and no levels, so no report.
    """

    kind: Kind
    data: Mapping[str, Any]
    whole: AuditPackage | DecisionBundle | None
    digest: str | None
    checks: tuple[Check, ...]
    report: EvidenceReport | None = None

    @property
    def ok(self) -> bool:
        """No check failed, and the required level was reached."""
        is_reached = self.report is None or self.report.ok
        return is_reached and all(check.status != "fail" for check in self.checks)


def read_evidence(
    content: bytes, *, trust: Trust = NOBODY, require: Level = "L1", attached: Attached = NOTHING
) -> Reading:
    """What the file holds. `trust` and `require` are used for packages and bundles, `attached` only for packages.

    Raises JSON_INVALID for text that is not strict JSON, INVALID_ARGUMENT for another document.
    """
    whole = parse_json(content, max_depth=MAX_ARTIFACT_DEPTH)
    data, beside = _unwrapped(whole)
    size, verbatim = len(content), content if data is whole else None
    if "package_version" in data:
        package = receive_parsed(data, AuditPackage, size=size, content=verbatim)
        read = _reading("package", data, package.document, package_report(package, trust, require, attached))
    elif "bundle_version" not in data:
        raise NexusControlError(
            ErrorCode.INVALID_ARGUMENT,
            "it is neither an audit package nor a decision bundle nor a run bundle",
        )
    elif "run" in data:
        read = _run_bundle(data)
    else:
        bundle = receive_parsed(data, DecisionBundle, size=size, content=verbatim)
        read = _reading("bundle", data, bundle.document, bundle_report(bundle, trust, require))
    if not isinstance(beside, str):
        return read
    said = compared(beside, read.digest, "the digest beside the artifact is another's")
    return replace(read, checks=(*read.checks, said.named("digest_beside")))


def _unwrapped(document: object) -> tuple[dict[str, Any], object]:
    """The artifact, and the digest beside it in a tool's answer; an empty object for any other document."""
    answer = _object(document)
    if not answer.keys() & {"package_version", "bundle_version"}:
        for name in ("package", "bundle", "artifact"):
            if name in answer:
                return _object(answer[name]), answer.get("digest")
    return answer, None


def _object(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _reading(
    kind: Kind, data: dict[str, Any], whole: AuditPackage | DecisionBundle | None, report: EvidenceReport
) -> Reading:
    match whole:
        case AuditPackage():
            digest = whole.integrity.binding_digest
        case DecisionBundle():
            digest = whole.integrity.canonical_digest
        case None:
            digest = None
    return Reading(kind=kind, data=data, whole=whole, digest=digest, checks=report.checks, report=report)


def _run_bundle(data: dict[str, Any]) -> Reading:
    digest = router_bundle_digest(data)
    detail = "the run bundle was changed after it was sealed"
    check = judged("run_bundle_digest", lambda: compared(digest, prefixed(run_bundle_digest(data)), detail))
    return Reading(kind="run bundle", data=data, whole=None, digest=digest, checks=(check,))
