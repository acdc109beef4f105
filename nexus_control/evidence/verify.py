"""`verify_evidence`: every check of a package, in one order, all made, none masking another.

    L0  it is what its digests say            limits strict_parse schema canonical_domain, the frozen six
    L1  what ran is what had been approved    event_digests event_sequence header_equals_replay state_machine
                                              policy_satisfied approvals_distinct mode_consistent single_execution
                                              request_digest link_digest link_equals_events router_result
                                              router_digest_recomputed template_equals_events template_digest
                                              policy_within_template provenance separation_of_duties

    L2  it happened in a log that was signed  origin chain log_inclusion checkpoint_signature consistency
    L3  a trusted key signed the package      package_signature
    L4  trusted keys signed the approvals     allowed_signers approval_signatures
    L5  others saw the log                    witness_quorum or timestamp

A level is reached when none of its checks fails and each that it rests on passes; `skipped` earns nothing. L0 to L2
do not say who wrote the package: whoever can edit it can seal it again, and the log is signed by its own operator.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, get_args

from nexus_control.artifact import Provenance
from nexus_control.audit_package import EXPORT_METHOD as PACKAGE_METHOD
from nexus_control.audit_package import AuditPackage, verify_audit_package
from nexus_control.bundle import EXPORT_METHOD as BUNDLE_METHOD
from nexus_control.errors import invalid_argument
from nexus_control.evidence import keyed, semantics, template_checks
from nexus_control.evidence.bundle_checks import (
    History,
    event_digests,
    event_sequence,
    history_checks,
    history_of,
)
from nexus_control.evidence.received import receive
from nexus_control.evidence.report import Check, passed, same_fields, skipped
from nexus_control.evidence.trust import NOBODY, NOTHING, Attached, Trust

Level: TypeAlias = Literal["L0", "L1", "L2", "L3", "L4", "L5"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

_OF_THE_PACKAGE: Final = (
    "event_digests",
    "event_sequence",
    "header_equals_replay",
    "state_machine",
    "policy_satisfied",
    "approvals_distinct",
    "mode_consistent",
    "single_execution",
    "request_digest",
    "link_digest",
    "link_equals_events",
    "router_result",
    "router_digest_recomputed",
    "template_equals_events",
    "template_digest",
    "policy_within_template",
    "provenance",
    "separation_of_duties",
)
_MAY_BE_SKIPPED: Final = {"router_digest_recomputed", "template_digest"}
"""What an honest package of another router, or of 1.0, cannot show."""
_SIX: Final = (
    "binding_digest",
    "control_bundle_digest",
    "binding_control_match",
    "binding_router_match",
    "binding_link_match",
    "router_digest",
)
CHECKS: Final[dict[str, Level]] = {
    **dict.fromkeys(("limits", "strict_parse", "schema", "canonical_domain", *_SIX), "L0"),
    **dict.fromkeys(_OF_THE_PACKAGE, "L1"),
    "origin": "L2",
    "chain": "L2",
    "allowed_signers": "L4",
    "approval_signatures": "L4",
    "package_signature": "L3",
    "log_inclusion": "L2",
    "checkpoint_signature": "L2",
    "consistency": "L2",
    "witness_quorum": "L5",
    "timestamp": "L5",
}
"""Every check by its name, in its order, and the level that rests on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """What was found; true when nothing failed and the required level was reached.

        >>> report = verify_evidence(package)
        >>> report.ok, report.level
        (True, 'L2')

    `reached` are the levels whose checks all hold, `level` is the highest with no gap below, and `missing` are the
    checks that keep `required` from being reached.
    """

    required: Level
    checks: tuple[Check, ...]

    @property
    def reached(self) -> tuple[Level, ...]:
        return tuple(level for level in LEVELS if _is_reached(level, self._of(level)))

    @property
    def level(self) -> Level | None:
        reached: Level | None = None
        for level in LEVELS:
            if level not in self.reached:
                break
            reached = level
        return reached

    @property
    def ok(self) -> bool:
        """Nothing failed, and the required level was reached."""
        is_reached = set(self._up_to_required) <= set(self.reached)
        return is_reached and all(check.status != "fail" for check in self.checks)

    @property
    def missing(self) -> tuple[Check, ...]:
        """The checks that keep the required level from being reached; of those of L5 one is enough."""
        needed: list[Level] = [level for level in self._up_to_required if level not in self.reached]
        return tuple(check for level in needed for check in self._of(level) if not _holds(check))

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON: ok, required, level, reached, and checks (name, status, expected, actual, detail).

        >>> verify_evidence(package).to_dict()["required"]
        'L1'
        """
        return {
            "ok": self.ok,
            "required": self.required,
            "level": self.level,
            "reached": list(self.reached),
            "checks": [check.to_dict() for check in self.checks],
        }

    @property
    def _up_to_required(self) -> tuple[Level, ...]:
        return LEVELS[: LEVELS.index(self.required) + 1]

    def _of(self, level: Level) -> list[Check]:
        return [check for check in self.checks if CHECKS[check.name] == level]


def verify_evidence(
    package: AuditPackage | Mapping[str, object] | str | bytes,
    *,
    trust: Trust | None = None,
    require: Level = "L1",
    envelope: str | bytes | None = None,
    log_proof: str | None = None,
    timestamp: bytes | None = None,
) -> EvidenceReport:
    """Every check of a package, in one order, up to a required level.

        >>> verify_evidence(package, require="L1").ok
        True

    The package is an object, a mapping or JSON text; of one that was signed, the bytes that were. `trust` says whose
    keys count; `envelope`, `log_proof` and `timestamp` are what came with it in files of their own; a log proof that is
    given is taken before the one that the package carries. A bad package never raises. Raises INVALID_ARGUMENT for an
    unknown level, or a trust that cannot be read.
    """
    if require not in LEVELS:
        raise invalid_argument("require", f"must be one of {', '.join(LEVELS)}")
    received = receive(package)
    found = {check.name: check for check in received.checks}
    if received.package is not None:
        attached = Attached(envelope=envelope, log_proof=log_proof, timestamp=timestamp)
        checks = package_checks(received.package, received.content, trust or NOBODY, attached)
        found |= {check.name: check for check in checks}
    unread = "the package cannot be read" if received.package is None else "the events cannot be replayed"
    has_run = received.package is not None and received.package.router.mode == "reference"
    names = [name for name in CHECKS if not (name == "router_digest" and has_run)]
    return EvidenceReport(
        required=require, checks=tuple(found.get(name) or skipped(name, unread) for name in names)
    )


def package_checks(
    package: AuditPackage, content: bytes | None = None, trust: Trust = NOBODY, attached: Attached = NOTHING
) -> Iterator[Check]:
    """Every check of a package that could be read, in no order."""
    bundle = package.control_bundle
    yield from _six(package)
    yield event_digests(bundle)
    yield event_sequence(bundle)
    yield _provenance(package)
    history = history_of(bundle)
    yield from history_checks(bundle, history)
    if isinstance(history, History):
        case = semantics.Case(package=package, history=history)
        yield from semantics.semantic_checks(case)
        yield from keyed.keyed_checks(case, content, trust, attached)
        yield from template_checks.template_checks(history.decision.facts)


def _six(package: AuditPackage) -> Iterator[Check]:
    for each in verify_audit_package(package).checks:
        yield Check(
            name=each.name,
            status="pass" if each.ok else "fail",
            expected=each.expected,
            actual=each.actual,
            detail=each.detail,
        )


def _provenance(package: AuditPackage) -> Check:
    """Both records say how the export came to be; neither is covered by a digest, so each is made again."""
    bundle = package.control_bundle
    for method, kind, digest, given in (
        (BUNDLE_METHOD, "bundle", bundle.integrity.canonical_digest, bundle.provenance),
        (PACKAGE_METHOD, "audit_package", package.integrity.binding_digest, package.provenance),
    ):
        made = Provenance.of_export(
            method_id=method, decision_id=bundle.decision.decision_id, kind=kind, digest=digest
        )
        check = same_fields(
            "provenance", made.to_dict(), given.to_dict(), f"the {kind} did not come to be so"
        )
        if check.status == "fail":
            return check
    return passed("provenance")


def _is_reached(level: Level, checks: list[Check]) -> bool:
    if level == "L5":  # either of its checks is enough
        return any(check.status == "pass" for check in checks) and all(
            check.status != "fail" for check in checks
        )
    return all(map(_holds, checks))


def _holds(check: Check) -> bool:
    return check.status in ("pass", "info") or (check.status == "skipped" and check.name in _MAY_BE_SKIPPED)
