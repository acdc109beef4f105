"""Four forged copies of an audit package, each as good as a forger can make it without the signers' keys."""

import copy
from dataclasses import dataclass, replace

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import canonical_json
from nexus_control.events import compute_event_digest
from nexus_control.evidence.formats import dsse, keys, note, tlog_proof
from nexus_control.evidence.log_section import LogSection
from nexus_control.evidence.package_statement import PAYLOAD_TYPE
from nexus_control.evidence.vouching import state_package
from nexus_control.integrity import bare
from nexus_control.usecases.answers import JsonObject
from nexus_control.values.instants import parse_instant


@dataclass(frozen=True, slots=True)
class Forgery:
    """A forged copy, what its forger did, and the envelope beside it."""

    name: str
    what: str
    package: JsonObject
    envelope: str
    only_keys_catch_it: bool = False


def forgeries(package: JsonObject, envelope: str, bystander: str) -> list[Forgery]:
    """The forged copies. `bystander` is an approver who might have approved but did not."""
    renamed, eased, swapped = (copy.deepcopy(package) for _ in range(3))
    _events(renamed, "APPROVAL_GRANTED")[0]["actor"]["id"] = "mallory@example.com"
    _events(eased, "POLICY_ATTACHED")[0]["payload"]["min_approvals"] = 1
    _events(swapped, "APPROVAL_GRANTED")[1]["actor"]["id"] = bystander
    eased, resealed = _sealed(eased).to_dict(), _sealed(swapped)
    relogged, own_envelope = _logged_elsewhere(resealed, package["evidence"]["log_key"])
    by_bystander = f"an approval is now by {bystander}; sealed, and its log left out"
    in_own_log = "the same, in a log and under a signature of the forger's"
    return [
        Forgery("approver", "the first approver is now mallory", renamed, envelope),
        Forgery("quorum", "min_approvals is now 1, and everything sealed again", eased, envelope),
        Forgery("resealed", by_bystander, resealed.to_dict(), envelope, only_keys_catch_it=True),
        Forgery("relogged", in_own_log, relogged.to_dict(), own_envelope, only_keys_catch_it=True),
    ]


def _events(package: JsonObject, event_type: str) -> list[JsonObject]:
    return [event for event in package["control_bundle"]["events"] if event["type"] == event_type]


def _sealed(package: JsonObject) -> AuditPackage:
    """The package with every digest recomputed, from the events up. The log proof cannot be recomputed; it is left
    out.
    """
    forged = AuditPackage.from_dict(package)
    bundle = forged.control_bundle
    sealed = DecisionBundle.seal(
        decision=bundle.decision,
        events=[
            replace(each, digest=compute_event_digest(each.type, each.payload)) for each in bundle.events
        ],
        template_snapshot=bundle.template_snapshot,
        router_link=bundle.router_link,
        exported_at=parse_instant(bundle.meta.exported_at),
    )
    at = parse_instant(forged.meta.exported_at)
    return AuditPackage.seal(control_bundle=sealed, router=forged.router, exported_at=at)


def _logged_elsewhere(forged: AuditPackage, log_key: str) -> tuple[AuditPackage, str]:
    """The copy in the forger's own log, which has the real log's name; and its envelope, signed by the forger."""
    origin, key = note.parse_verifier(log_key).name, keys.generate()
    head = state_package(forged, b"").predicate.chain_head
    checkpoint = note.Checkpoint(origin=origin, size=1, root=bytes.fromhex(bare(head)))
    signed = note.sign_note(checkpoint.to_text(), origin, key)
    proof = tlog_proof.LogProof(index=0, path=(), note=signed).to_text()
    own_key = str(note.Verifier(name=origin, key=key.public))
    evidence = LogSection(chain_head=head, log_key=own_key, log_proof=proof)
    logged = replace(forged, evidence=evidence.to_dict())
    statement = state_package(logged, canonical_json(logged.to_dict()).encode())
    return logged, dsse.sign_envelope(PAYLOAD_TYPE, statement.to_payload(), key).to_json()
