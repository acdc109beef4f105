"""Three ways to forge an audit package, each done as well as its forger could."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle, compute_bundle_digest
from nexus_control.events import compute_event_digest
from nexus_control.instants import parse_instant

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forgery:
    """A forged copy of a package, and what its forger did."""

    name: str
    what: str
    package: Json


def forgeries(package: Json) -> tuple[Forgery, ...]:
    """The copies; `package` stays as it is."""
    attempts: tuple[tuple[str, str, Callable[[Json], Json]], ...] = (
        ("approver", "the first approver is now mallory", _another_approver),
        ("quorum", "min_approvals is now 1; event and bundle sealed again", _smaller_quorum),
        ("resealed", "the same, and everything above sealed again too", _sealed_to_the_top),
    )
    return tuple(Forgery(name, what, forge(copy.deepcopy(package))) for name, what, forge in attempts)


def _another_approver(package: Json) -> Json:
    _event(package, "APPROVAL_GRANTED")["actor"]["id"] = "mallory@example.com"
    return package


def _smaller_quorum(package: Json) -> Json:
    event = _event(package, "POLICY_ATTACHED")
    event["payload"]["min_approvals"] = 1
    event["digest"] = compute_event_digest(event["type"], event["payload"])
    bundle = package["control_bundle"]
    bundle["integrity"]["canonical_digest"] = compute_bundle_digest(bundle)
    return package


def _sealed_to_the_top(package: Json) -> Json:
    forged = AuditPackage.from_dict(_smaller_quorum(package))
    bundle = forged.control_bundle
    sealed = DecisionBundle.seal(
        decision=bundle.decision,
        events=bundle.events,
        template_snapshot=bundle.template_snapshot,
        router_link=bundle.router_link,
        exported_at=parse_instant(bundle.meta.exported_at),
    )
    return AuditPackage.seal(
        control_bundle=sealed, router=forged.router, exported_at=parse_instant(forged.meta.exported_at)
    ).to_dict()


def _event(package: Json, event_type: str) -> Json:
    return next(event for event in package["control_bundle"]["events"] if event["type"] == event_type)
