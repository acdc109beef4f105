"""Three ways to forge an audit package, each done as well as its forger could."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle, compute_bundle_digest
from nexus_control.bundle_parts import event_part
from nexus_control.events import compute_event_digest

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
        ("approver", "the first approver's name", _another_approver),
        ("quorum", "min_approvals 2 -> 1, and the bundle sealed again", _smaller_quorum),
        ("resealed", "the same, and every digest computed again", _sealed_to_the_top),
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
    bundle["integrity"]["canonical_digest"] = compute_bundle_digest(DecisionBundle.from_dict(bundle))
    return package


def _sealed_to_the_top(package: Json) -> Json:
    forged = AuditPackage.from_dict(_smaller_quorum(package))
    return AuditPackage.seal(
        control_bundle=forged.control_bundle,
        router=forged.router,
        exported_at=forged.meta.instant,
    ).to_dict()


def _event(package: Json, event_type: str) -> Json:
    return next(event for event in package["control_bundle"]["events"] if event["type"] == event_type)
