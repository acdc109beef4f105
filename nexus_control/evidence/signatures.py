"""The checks of two kinds of signatures: an approver's signature of a verdict, and a signer's of the whole package."""

from collections.abc import Collection, Iterator, Sequence

from nexus_control.audit_package import AuditPackage
from nexus_control.decision import Decision
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.events import EventType, StoredEvent
from nexus_control.evidence.chain import GENESIS, event_leaf_data, leaf_hash
from nexus_control.evidence.formats.allowed_signers import AllowedSigners, parse_allowed_signers
from nexus_control.evidence.formats.dsse import parse_envelope
from nexus_control.evidence.formats.keys import PublicKey
from nexus_control.evidence.formats.origins import PasskeyOrigins, parse_origins
from nexus_control.evidence.formats.ssh_keys import SshKey
from nexus_control.evidence.formats.tlog_proof import LogProof
from nexus_control.evidence.package_statement import PAYLOAD_TYPE, parse_package_statement
from nexus_control.evidence.report import Check, Finding, failed, judged, noted, passed, same_fields, skipped
from nexus_control.evidence.semantics import Case
from nexus_control.evidence.signed_approval import SignedVerdict, open_verdict
from nexus_control.evidence.statement import Verdict, require_says
from nexus_control.evidence.trust import Trust
from nexus_control.integrity import prefixed, sha256_hex
from nexus_control.lifecycle import counted
from nexus_control.values.groups import slot_words
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
)

_SHOWN = 10
_VERDICTS: dict[EventType, Verdict] = {
    EventType.APPROVAL_GRANTED: "approve",
    EventType.APPROVAL_DENIED: "deny",
    EventType.APPROVAL_REVOKED: "revoke",
}


def chain_of(decision: Decision, imported: int = 0) -> list[str]:
    """The chain hash of each event, bare hex, in a store that imported the first `imported` of them."""
    chain: list[str] = []
    for event in decision.events:
        data = event_leaf_data(
            subject="decision_id",
            name=decision.decision_id,
            seq=event.seq,
            event_type=event.event_type,
            ts=event.ts,
            actor=event.actor,
            digest=event.digest,
            prev=chain[-1] if chain else GENESIS,
            origin="imported" if len(chain) < imported else "local",
        )
        chain.append(leaf_hash(data))
    return chain


def approval_checks(
    case: Case, chains: Sequence[Sequence[str]], trust: Trust, logs: Collection[str]
) -> Iterator[Check]:
    """`chains` holds the event chain in each store where a verdict may have been given; `logs` the names of their logs.

    Raises INVALID_ARGUMENT for a file of signers that cannot be read, and for a text that is not an origin.
    """
    origins = parse_origins(trust.passkey_origins)
    allowed = None if trust.allowed_signers is None else parse_allowed_signers(trust.allowed_signers)
    yield _allowed_signers(allowed).named("allowed_signers")
    yield judged("approval_signatures", lambda: _approval_signatures(case, chains, allowed, origins, logs))


def _allowed_signers(allowed: AllowedSigners | None) -> Finding:
    """How much of the verifier's file of signers is used: a line that is skipped lets nobody sign."""
    if allowed is None:
        return noted("nobody is trusted to sign approvals")
    used = f"{counted(len(allowed.signers), 'line')} used"
    if not allowed.skipped:
        return noted(used)
    return noted(f"{used}, {len(allowed.skipped)} skipped: {allowed.skipped_in_words}")


def _approval_signatures(
    case: Case,
    chains: Sequence[Sequence[str]],
    allowed: AllowedSigners | None,
    origins: PasskeyOrigins,
    logs: Collection[str],
) -> Finding:
    signed, nonces = dict[int, SignedVerdict](), set[str]()
    numbers = [event.seq for event in case.history.decision.events]  # as stated: they may be wrong
    bases = [dict(zip(numbers, each, strict=True)).get(case.facts.policy_seq, GENESIS) for each in chains]
    try:
        for event in case.history.decision.events:
            verdict = _signed_verdict(case, event, bases)
            if verdict is None:
                continue
            if verdict.statement.nonce in nonces:
                return failed(f"event {event.seq} repeats a statement that was made before")
            nonces.add(verdict.statement.nonce)
            signed[event.seq] = verdict
    except NexusControlError as fault:
        return failed(f"{fault.message} (signed verdicts are verified in the order of events)")
    execution = case.facts.linked_execution
    counting = case.counted(execution) if execution else ()
    if allowed is None:
        said = f"{counted(len(signed), 'signed verdict')}, but no allowed signers say whose keys sign"
        return skipped(said if signed else "no verdict is signed, and nobody is trusted to sign")
    refused, keys, trusted, passkeys = list[str](), set[SshKey](), set[int](), list[str]()
    for approval in counting:
        verdict = signed.get(approval.seq)
        why = _not_trusted(verdict, allowed, origins, approval.granted_at, logs)
        if why is None and verdict is not None and verdict.signature.key in keys:
            why = "signed with the key of another approver"
        if why is not None:
            refused.append(f"{approval.actor.id}: {why}")
        elif verdict is not None:
            keys.add(verdict.signature.key)
            trusted.add(approval.seq)
            passkeys.extend(f"{approval.actor.id} {said}" for said in [verdict.passkey] if said)
    return _signed_quorum(case, trusted, passkeys[:_SHOWN], refused)


def _signed_quorum(
    case: Case, trusted: Collection[int], passkeys: Sequence[str], refused: Sequence[str]
) -> Finding:
    """Whether the approvals with these seqs, which trusted people signed, are enough by themselves."""
    facts, execution = case.facts, case.facts.linked_execution
    required = facts.policy.min_approvals if facts.policy else 0
    so_many = f"{len(trusted)} of {counted(required, 'approval')}"
    detail = f"{so_many} signed by people who are trusted, each with their own key"
    lacking = dict[str, int]()
    if execution is not None:
        lacking = case.before(execution).lacking(parse_instant(execution.requested_at), trusted)
    if lacking:
        detail = f"{detail}; signed ones are missing, {slot_words(lacking)}"
    if len(trusted) >= required and not lacking:
        return passed("; ".join([detail, *passkeys]))
    return skipped("; ".join([detail, *refused]))


def package_signature(
    package: AuditPackage,
    content: bytes | None,
    head: str,
    trusted: Sequence[PublicKey],
    envelope: str | bytes | None,
    proof: LogProof | None,
) -> Finding:
    """`content` holds the bytes that the signature covers; None if the package came as an object. Raises
    INTEGRITY_MISMATCH for an envelope or a statement in another format.
    """
    if envelope is None:
        return skipped("no envelope came with it")
    opened = parse_envelope(envelope)
    signers = opened.signed_by(trusted)
    if not signers:
        return (
            failed("no trusted key signed it") if trusted else skipped("nobody is trusted to sign packages")
        )
    if opened.payload_type != PAYLOAD_TYPE:
        return failed("another kind of payload", expected=PAYLOAD_TYPE, actual=opened.payload_type)
    statement = parse_package_statement(opened.payload)
    if content is None:
        return failed("its signature covers the bytes of its file, but the package came as an object instead")
    said, bundle = statement.predicate, package.control_bundle
    fields: dict[str, tuple[object, object]] = {
        "package.json": (sha256_hex(content), statement.package_sha256),
        "binding": (package.integrity.binding_digest, prefixed(statement.binding_sha256)),
        "decision_id": (bundle.decision.decision_id, said.decision_id),
        "chain_head": (prefixed(head), said.chain_head),
        "events": (len(bundle.events), said.events),
    }
    if said.log is not None and proof is not None:
        fields["log"] = (proof.origin, proof.index), (said.log.origin, said.log.index)
    expected, found = ({name: pair[side] for name, pair in fields.items()} for side in (0, 1))
    compared = same_fields(expected, found, "the signed statement is about another package")
    if compared.status == "fail":
        return compared
    return passed(f"signed by {', '.join(sorted(key.fingerprint for key in signers))}")


def _signed_verdict(case: Case, event: StoredEvent, bases: Sequence[str]) -> SignedVerdict | None:
    """The signed verdict of an event; None if it is unsigned. Raises SIGNATURE_INVALID if it differs from the event."""
    verdict = _VERDICTS.get(event.event_type)
    if verdict is None:
        return None
    content, facts = event.content, case.facts
    assert isinstance(content, ApprovalGrantedPayload | ApprovalDeniedPayload | ApprovalRevokedPayload)
    if content.signed is None:
        if not isinstance(content, ApprovalRevokedPayload) and content.assurance == "signed":
            raise NexusControlError(
                ErrorCode.SIGNATURE_INVALID, f"event {event.seq} says that it is signed, but has no signature"
            )
        return None
    opened = open_verdict(content.signed)
    stated = opened.statement.basis.chain
    require_says(
        opened.statement,
        facts,
        approver=event.actor.id,
        verdict=verdict,
        basis=next((basis for basis in bases if prefixed(basis) == stated), bases[0]),
        expires_at=content.expires_at if isinstance(content, ApprovalGrantedPayload) else None,
        rehearsal_digest=content.rehearsal_digest if isinstance(content, ApprovalGrantedPayload) else None,
    )
    opened.require_issued_by(event.instant)
    return opened


def _not_trusted(
    verdict: SignedVerdict | None,
    allowed: AllowedSigners,
    origins: PasskeyOrigins,
    at: str,
    logs: Collection[str],
) -> str | None:
    """Why an approval does not count as signed by a trusted person; None when it counts."""
    if verdict is None:
        return "not signed"
    if verdict.statement.log not in logs:
        return f"given for the log {verdict.statement.log}, whose key was not named (--log-key)"
    try:
        verdict.require_allowed(allowed, origins, parse_instant(at))
    except NexusControlError as fault:
        return fault.message
    return None
