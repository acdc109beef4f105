"""`verify_evidence` and `verify_bundle` make every check of a package or a bundle, in a fixed order, also after a
failure.

    L0  its digests match its content         limits strict_parse schema canonical_domain, the six of `_SIX`
    L1  it ran as it had been approved        event_digests event_sequence header_equals_replay state_machine
                                              policy_satisfied approvals_distinct mode_consistent single_execution
                                              request_digest link_digest link_equals_events router_result
                                              router_digest_recomputed template_equals_events template_digest
                                              policy_within_template provenance separation_of_duties

    L2  its history is in a signed log        origin chain log_inclusion checkpoint_signature consistency
    L3  a trusted key signed the package      package_signature
    L4  trusted keys signed the approvals     allowed_signers approval_signatures
    L5  other parties saw the log             witness_quorum or timestamp

A level is reached when each of its checks passes. `info` does not keep a level from being reached; `skipped` does,
except for checks in `EvidenceReport.optional`. L0 to L2 do not say who wrote the package: anybody who can edit a
package can recompute its digests, and the operator of the store signs the log.

A bundle names no run and carries no log proof. So `canonical_digest` takes the place of the six checks in `_SIX`, the
checks of the router are left out, and the checks of L2, L3 and L5 are skipped.
"""

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Final, Literal, TypeAlias, get_args

from nexus_control.artifact import Provenance
from nexus_control.audit_package import EXPORT_METHOD as PACKAGE_METHOD
from nexus_control.audit_package import AuditPackage, verify_audit_package
from nexus_control.bundle import EXPORT_METHOD as BUNDLE_METHOD
from nexus_control.bundle import DecisionBundle
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.bundle_checks import (
    History,
    canonical_digest,
    event_digests,
    event_sequence,
    history_checks,
    history_of,
)
from nexus_control.evidence.keyed import keyed_bundle_checks, keyed_checks
from nexus_control.evidence.received import NAMES as READING
from nexus_control.evidence.received import UNREAD, Received, receive
from nexus_control.evidence.report import Check, Finding, passed, same_fields, skipped
from nexus_control.evidence.semantics import Case, semantic_checks
from nexus_control.evidence.template_checks import template_checks
from nexus_control.evidence.trust import NOBODY, NOTHING, Attached, Trust

Level: TypeAlias = Literal["L0", "L1", "L2", "L3", "L4", "L5"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)

_OF_THE_RUN: Final = {"router_result", "router_digest_recomputed"}
_MAY_BE_SKIPPED: Final = frozenset({"router_digest_recomputed", "template_digest"})
"""Checks that are skipped for an honest package of another router, or of 1.0."""
_MAY_BE_LEFT_OUT: Final = frozenset({"template_equals_events", "link_equals_events"})
"""Checks of parts that an export may leave out of a bundle, because the events hold the same."""
_IN_ORDER: Final[tuple[tuple[Level, str], ...]] = (
    ("L0", "limits strict_parse schema canonical_domain binding_digest control_bundle_digest"),
    ("L0", "binding_control_match binding_router_match binding_link_match router_digest"),
    ("L1", "event_digests event_sequence header_equals_replay state_machine policy_satisfied"),
    ("L1", "approvals_distinct mode_consistent single_execution request_digest link_digest"),
    ("L1", "link_equals_events router_result router_digest_recomputed template_equals_events"),
    ("L1", "template_digest policy_within_template provenance separation_of_duties"),
    ("L2", "origin chain"),
    ("L4", "allowed_signers approval_signatures"),
    ("L3", "package_signature"),
    ("L2", "log_inclusion checkpoint_signature consistency"),
    ("L5", "witness_quorum timestamp"),
)
CHECKS: Final[dict[str, Level]] = {name: level for level, names in _IN_ORDER for name in names.split()}
"""The checks of a package by name, in order, each with the level that needs it."""
BUNDLE_CHECKS: Final[dict[str, Level]] = {
    **dict.fromkeys((*READING, "canonical_digest"), "L0"),
    **{name: level for name, level in CHECKS.items() if level != "L0" and name not in _OF_THE_RUN},
}
"""The checks of a bundle by name, in order, each with the level that needs it."""
_LEVEL_OF: Final = CHECKS | BUNDLE_CHECKS


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceReport:
    """The result of a verification; true when no check failed and the required level was reached.

        >>> report = verify_evidence(package)
        >>> report.ok, report.level
        (True, 'L2')

    `reached` lists the levels whose checks all hold. `level` is the highest level that is reached together with all
    levels below it. `missing` lists the checks that keep `required` from being reached.
    """

    required: Level
    checks: tuple[Check, ...]
    optional: AbstractSet[str] = _MAY_BE_SKIPPED
    """The checks that may be skipped: their level is reached without them."""

    @property
    def reached(self) -> tuple[Level, ...]:
        return tuple(level for level in LEVELS if self._is_reached(level))

    @property
    def level(self) -> Level | None:
        without_a_gap = tuple[Level, ...](takewhile(self._is_reached, LEVELS))
        return without_a_gap[-1] if without_a_gap else None

    @property
    def ok(self) -> bool:
        """No check failed, and the required level was reached."""
        is_reached = set(self._up_to_required) <= set(self.reached)
        return is_reached and all(check.status != "fail" for check in self.checks)

    @property
    def missing(self) -> tuple[Check, ...]:
        """The checks that keep the required level from being reached. One of the two checks of L5 is enough."""
        needed: list[Level] = [level for level in self._up_to_required if level not in self.reached]
        return tuple(check for level in needed for check in self._of(level) if not self._holds(check))

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
        return [check for check in self.checks if _LEVEL_OF[check.name] == level]

    def _is_reached(self, level: Level) -> bool:
        checks = self._of(level)
        if level == "L5":  # either of its checks is enough
            statuses = {check.status for check in checks}
            return "pass" in statuses and "fail" not in statuses
        return all(map(self._holds, checks))

    def _holds(self, check: Check) -> bool:
        return check.status in ("pass", "info") or (check.status == "skipped" and check.name in self.optional)


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

    The package is an object, a mapping or JSON text; for a signed package pass the bytes of its file. `trust` says
    whose keys count. `envelope`, `log_proof` and `timestamp` are files that came with the package; a given `log_proof`
    is used instead of the proof in the package. A bad package never raises: its checks fail. Raises INVALID_ARGUMENT
    for an unknown level, or for a trust whose keys cannot be read.
    """
    attached = Attached(envelope=envelope, log_proof=log_proof, timestamp=timestamp)
    return package_report(receive(package, AuditPackage), trust or NOBODY, require, attached)


def verify_bundle(
    bundle: DecisionBundle | Mapping[str, object] | str | bytes,
    *,
    trust: Trust | None = None,
    require: Level = "L1",
) -> EvidenceReport:
    """Every check of a bundle, in one order, up to a required level.

        >>> verify_bundle(bundle, require="L1").ok
        True

    The bundle is an object, a mapping or JSON text. L0 and L1 have the same checks as for a package, without the checks
    of its run. A bundle carries neither a log proof nor a signature, so L2, L3 and L5 are never reached, `level` is at
    most "L1", and a report that requires more is never ok. `reached` may name L4 beside L1: then the approvals that
    counted at dispatch were signed by keys of `trust.allowed_signers`, for logs of `trust.log_keys`. The other fields
    of `trust` are ignored.

    A decision that was not executed can reach L1 too: its history is coherent. A bad bundle never raises: its checks
    fail. Raises INVALID_ARGUMENT for an unknown level, or for a trust whose keys cannot be read.
    """
    return bundle_report(receive(bundle, DecisionBundle), trust or NOBODY, require)


def package_report(
    received: Received[AuditPackage], trust: Trust, require: Level, attached: Attached
) -> EvidenceReport:
    """The report of `verify_evidence`, for a package that was already received."""
    _require_level(require)
    package = received.document
    if package is None:
        return EvidenceReport(required=require, checks=_in_order(CHECKS, received.checks, UNREAD))
    names = [name for name in CHECKS if name != "router_digest" or package.router.mode != "reference"]
    made = package_checks(package, received.content, trust, attached)
    return EvidenceReport(required=require, checks=_in_order(names, (*received.checks, *made)))


def bundle_report(received: Received[DecisionBundle], trust: Trust, require: Level) -> EvidenceReport:
    """The report of `verify_bundle`, for a bundle that was already received."""
    _require_level(require)
    if received.document is None:
        return EvidenceReport(required=require, checks=_in_order(BUNDLE_CHECKS, received.checks, UNREAD))
    made = bundle_checks(received.document, trust)
    checks = _in_order(BUNDLE_CHECKS, (*received.checks, *made))
    return EvidenceReport(required=require, checks=checks, optional=_MAY_BE_SKIPPED | _MAY_BE_LEFT_OUT)


def _require_level(level: Level) -> None:
    if level not in LEVELS:
        raise invalid_argument("require", f"must be one of {', '.join(LEVELS)}")


def _in_order(
    names: Iterable[str], made: Iterable[Check], why: str = "the events cannot be replayed"
) -> tuple[Check, ...]:
    """The checks by these names, in their order. A name without a check in `made` is skipped, and `why` says why."""
    found = {check.name: check for check in made}
    return tuple(found.get(name) or skipped(why).named(name) for name in names)


def package_checks(
    package: AuditPackage, content: bytes | None = None, trust: Trust = NOBODY, attached: Attached = NOTHING
) -> Iterator[Check]:
    """Every check of a package that could be read, in no order."""
    history = history_of(package.control_bundle)
    yield from _six(package)
    yield from _shared_checks(package.control_bundle, history, package)
    if isinstance(history, History):
        case = Case(bundle=package.control_bundle, history=history, router=package.router)
        yield from keyed_checks(case, package, content, trust, attached)


def bundle_checks(bundle: DecisionBundle, trust: Trust = NOBODY) -> Iterator[Check]:
    """Every check of a bundle that could be read, in no order."""
    history = history_of(bundle)
    yield canonical_digest(bundle).named("canonical_digest")
    yield from _shared_checks(bundle, history)
    if isinstance(history, History):
        yield from keyed_bundle_checks(Case(bundle=bundle, history=history), trust)
    for name, level in CHECKS.items():
        if level in ("L2", "L3", "L5"):
            yield skipped("a bundle carries neither a proof of a log nor a signature").named(name)


def _shared_checks(
    bundle: DecisionBundle, history: History | NexusControlError, package: AuditPackage | None = None
) -> Iterator[Check]:
    yield event_digests(bundle).named("event_digests")
    yield event_sequence(bundle).named("event_sequence")
    yield _provenance(bundle, package).named("provenance")
    yield from history_checks(bundle, history)
    if isinstance(history, History):
        router = None if package is None else package.router
        yield from semantic_checks(Case(bundle=bundle, history=history, router=router))
        yield from template_checks(history.decision.facts)


def _six(package: AuditPackage) -> Iterator[Check]:
    for each in verify_audit_package(package).checks:
        fields = each.to_dict()
        yield Check(status="pass" if fields.pop("ok") else "fail", **fields)


def _provenance(bundle: DecisionBundle, package: AuditPackage | None) -> Finding:
    """The provenance records of bundle and package. No digest covers them, so each is made again and compared."""
    records = [(BUNDLE_METHOD, "bundle", bundle.integrity.canonical_digest, bundle.provenance)]
    if package is not None:
        digest = package.integrity.binding_digest
        records.append((PACKAGE_METHOD, "audit_package", digest, package.provenance))
    for method, kind, digest, given in records:
        made = Provenance.of_export(
            method_id=method, decision_id=bundle.decision.decision_id, kind=kind, digest=digest
        )
        found = same_fields(made.to_dict(), given.to_dict(), f"the {kind} was not made as its record says")
        if found.status == "fail":
            return found
    return passed()
