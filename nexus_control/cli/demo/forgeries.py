"""Four ways to forge an audit package, each done as well as its forger could."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import BundleEvent, DecisionBundle
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import NexusControlError
from nexus_control.events import compute_event_digest
from nexus_control.evidence.bundle_checks import history_of
from nexus_control.evidence.formats import dsse, keys, note, tlog_proof
from nexus_control.evidence.log_section import LogSection
from nexus_control.evidence.package_statement import PAYLOAD_TYPE
from nexus_control.evidence.signatures import chain_of
from nexus_control.evidence.vouching import state_package
from nexus_control.integrity import prefixed
from nexus_control.values.instants import parse_instant

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Forgery:
    """A forged copy of a package, what its forger did, and the envelope that comes with it."""

    name: str
    what: str
    content: str
    envelope: str


def forgeries(package: Json, envelope: str, *, bystander: str) -> tuple[Forgery, ...]:
    """The copies; `package` stays as it is. `bystander` is an approver who might have approved, and did not."""

    def copied(name: str, what: str, forge: Callable[[Json], Json]) -> Forgery:
        return Forgery(name, what, canonical_json(forge(copy.deepcopy(package))), envelope)

    def swap(whole: Json) -> Json:
        _events(whole, "APPROVAL_GRANTED")[1]["actor"]["id"] = bystander
        return _sealed(whole)

    return (
        copied("approver", "the first approver is now mallory", _another_approver),
        copied("quorum", "min_approvals is now 1, and everything sealed again", _smaller_quorum),
        copied("resealed", f"an approval is now by {bystander}; sealed, and its log left out", swap),
        _logged_elsewhere(AuditPackage.from_dict(swap(copy.deepcopy(package))), package["evidence"]),
    )


def _another_approver(package: Json) -> Json:
    _events(package, "APPROVAL_GRANTED")[0]["actor"]["id"] = "mallory@example.com"
    return package


def _smaller_quorum(package: Json) -> Json:
    _events(package, "POLICY_ATTACHED")[0]["payload"]["min_approvals"] = 1
    return _sealed(package)


def _sealed(package: Json) -> Json:
    """Every digest made anew, from the events up. The proof of the log cannot be, and is left out."""
    forged = AuditPackage.from_dict(package)
    bundle = forged.control_bundle
    sealed = DecisionBundle.seal(
        decision=bundle.decision,
        events=list(map(_sealed_event, bundle.events)),
        template_snapshot=bundle.template_snapshot,
        router_link=bundle.router_link,
        exported_at=parse_instant(bundle.meta.exported_at),
    )
    return AuditPackage.seal(
        control_bundle=sealed, router=forged.router, exported_at=parse_instant(forged.meta.exported_at)
    ).to_dict()


def _sealed_event(event: BundleEvent) -> BundleEvent:
    return replace(event, digest=compute_event_digest(event.type, event.payload))


def _logged_elsewhere(forged: AuditPackage, genuine: Json) -> Forgery:
    """Put into a log of the forger's own, under the name of the real one, and signed with a key of their own."""
    history = history_of(forged.control_bundle)
    if isinstance(history, NexusControlError):
        raise history
    head, key = chain_of(history.decision)[-1], keys.generate()
    origin = note.parse_verifier(genuine["log_key"]).name
    checkpoint = note.Checkpoint(origin=origin, size=1, root=bytes.fromhex(head))
    proof = tlog_proof.LogProof(index=0, path=(), note=note.sign_note(checkpoint.to_text(), origin, key))
    evidence = LogSection(
        chain_head=prefixed(head),
        log_key=str(note.Verifier(name=origin, key=key.public)),
        log_proof=proof.to_text(),
    )
    logged = replace(forged, evidence=evidence.to_dict())
    content = canonical_json(logged.to_dict())
    statement = state_package(logged, content.encode())
    envelope = dsse.sign_envelope(PAYLOAD_TYPE, statement.to_payload(), key).to_json()
    return Forgery("relogged", "the same, in a log and under a signature of the forger's", content, envelope)


def _events(package: Json, event_type: str) -> list[Json]:
    return [event for event in package["control_bundle"]["events"] if event["type"] == event_type]
