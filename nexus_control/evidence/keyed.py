"""The checks of a package that need keys, and the checks of the chain and the log that these rest on.

    origin                the package does not say that its history was brought into the store from elsewhere
    chain                 the events, recomputed, end in the chain hash that the package names; if it names none, in
                          the leaf that a log proof proves
    allowed_signers       tells which lines of the verifier's file of signers are not used, and why
    approval_signatures   each signed verdict verifies, says what the events say, and was made once; enough of the
                          approvals that counted were signed by people whom the verifier trusts, at the time
    package_signature     a trusted key signed these very bytes, and the signed statement is about this package
    log_inclusion         the chain hash is a leaf of the checkpoint's tree
    checkpoint_signature  a trusted log signed the checkpoint; if no log is trusted, the log that the package names
    consistency           the checkpoint's tree continues the tree that the verifier remembers, or the reverse
    witness_quorum        enough trusted witnesses cosigned the checkpoint
    timestamp             a trusted authority stamped the checkpoint

Example: with no trusted key at all, these checks prove nothing about who made the package. A checkpoint that is signed
only by the log which the package itself names gets `info`; a signature that no trusted key can verify gets `skipped`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from nexus_control.audit_package import AuditPackage
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import from_base64
from nexus_control.evidence.formats.keys import public_from_pem
from nexus_control.evidence.formats.merkle import require_consistent
from nexus_control.evidence.formats.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Verifier,
    open_note,
    parse_checkpoint,
    parse_verifier,
)
from nexus_control.evidence.formats.timestamp import verify_timestamp
from nexus_control.evidence.formats.tlog_proof import LogProof, parse_log_proof
from nexus_control.evidence.log_section import (
    Imported,
    LogSection,
    Section,
    UnprovenSection,
    read_section,
)
from nexus_control.evidence.report import Check, Finding, compared, failed, judged, noted, passed, skipped
from nexus_control.evidence.semantics import Case
from nexus_control.evidence.signatures import approval_checks, chain_of, package_signature
from nexus_control.evidence.trust import Attached, Trust
from nexus_control.integrity import prefixed

_SELF_SIGNED: Final = (
    "self-signed: an operator who has the log's key can rewrite history until a checkpoint leaves the machine"
)
_NO_PROOF: Final = "the package carries no proof of a log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """A package's place in a log, and the log keys and witnesses that the verifier trusts."""

    proof: LogProof
    checkpoint: Checkpoint
    own_key: Verifier | None
    known: tuple[Verifier, ...]
    witnesses: tuple[Verifier, ...]

    def signers(self, among: tuple[Verifier, ...]) -> set[Verifier]:
        """The verifiers `among` these that signed the checkpoint. Raises SIGNATURE_INVALID for a false signature."""
        return {signature.verifier for signature in self.proof.signed_by(among).signatures}


def keyed_checks(
    case: Case, package: AuditPackage, content: bytes | None, trust: Trust, attached: Attached
) -> Iterator[Check]:
    """Every check above, in that order. `content` is the package as it was received; None if it came as an object.

    Raises INVALID_ARGUMENT for a trust whose keys cannot be read.
    """
    if trust.witness_quorum < 1:
        raise invalid_argument("witness_quorum", "must be at least 1")
    known = _verifiers("log_keys", trust.log_keys, ED25519)
    witnesses = _verifiers("witnesses", trust.witnesses, COSIGNATURE)
    signers = [public_from_pem(key) for key in trust.package_keys]
    evidence = _evidence(package)
    imported = evidence.events if isinstance(evidence, Imported) else 0
    chain = chain_of(case.history.decision, imported)
    text = attached.log_proof or (evidence.log_proof if isinstance(evidence, LogSection) else None)
    logged = _logged(text, evidence, known, witnesses)
    inclusion = judged("log_inclusion", lambda: _inclusion(logged, evidence, chain[-1]))
    yield _origin(evidence).named("origin")
    yield _chain(evidence, chain[-1], inclusion).named("chain")
    origins = {verifier.name for verifier in known}
    if isinstance(logged, Logged):
        origins.add(logged.checkpoint.origin)
    chains = [chain, chain_of(case.history.decision)] if imported else [chain]
    yield from approval_checks(case, chains, trust, origins)
    proof = logged.proof if isinstance(logged, Logged) else None
    yield judged(
        "package_signature",
        lambda: package_signature(package, content, chain[-1], signers, attached.envelope, proof),
    )
    yield inclusion
    if not isinstance(logged, Logged):
        for name in ("checkpoint_signature", "consistency", "witness_quorum", "timestamp"):
            yield skipped(_without_proof(evidence)).named(name)
        return
    yield judged("checkpoint_signature", lambda: _signature(logged))
    yield judged("consistency", lambda: _consistency(logged, trust))
    yield judged("witness_quorum", lambda: _witnesses(logged, trust.witness_quorum))
    yield judged("timestamp", lambda: _timestamp(logged, trust, attached.timestamp))


def keyed_bundle_checks(case: Case, trust: Trust) -> Iterator[Check]:
    """The two checks of a bundle's approvals. A signed verdict counts only for a log whose key is in `trust.log_keys`.

    Raises INVALID_ARGUMENT for a trust whose keys cannot be read.
    """
    # A bundle does not say how many events its store imported. A basis depends on the first two events only.
    chains = [chain_of(case.history.decision, imported) for imported in range(3)]
    logs = {verifier.name for verifier in _verifiers("log_keys", trust.log_keys, ED25519)}
    yield from approval_checks(case, chains, trust, logs)


def _origin(evidence: Section | str | None) -> Finding:
    match evidence:
        case Imported():
            by = evidence.by or "somebody unknown"
            came = (
                f"{evidence.events} events came at {evidence.at} by {by}, in bundle {evidence.bundle_digest}"
            )
            return skipped(f"{came}: a log shows that they were imported, not that they happened")
        case str():
            return failed(evidence)
        case _:
            return noted("the package does not say that any event was imported")


def _chain(evidence: Section | str | None, head: str, inclusion: Check) -> Finding:
    if isinstance(evidence, LogSection | UnprovenSection):
        return compared(evidence.chain_head, prefixed(head), "the events end in another chain hash")
    if isinstance(evidence, str):
        return failed(evidence)
    if inclusion.status == "pass":
        return passed("the events end in the leaf that the log proof proves")
    return skipped("the package names no chain hash")


def _without_proof(evidence: Section | str | None) -> str:
    return f"{_NO_PROOF}: {evidence.unproven}" if isinstance(evidence, UnprovenSection) else _NO_PROOF


def _inclusion(logged: Logged | str | None, evidence: Section | str | None, head: str) -> Finding:
    if not isinstance(logged, Logged):
        return skipped(_without_proof(evidence)) if logged is None else failed(logged)
    logged.proof.require_leaf(bytes.fromhex(head))
    place = f"leaf {logged.proof.index} of {logged.checkpoint.size} in {logged.checkpoint.origin}"
    return passed(place)


def _signature(logged: Logged) -> Finding:
    origin = logged.checkpoint.origin
    if logged.known:
        if any(verifier.name == origin for verifier in logged.signers(logged.known)):
            return passed(f"signed by {origin}, which is trusted")
        return failed(
            "no trusted log signed it", expected=[each.name for each in logged.known], actual=origin
        )
    own = logged.own_key
    if own is None:
        return skipped("no log is trusted")
    if own.name != origin or own not in logged.signers((own,)):
        return failed("the log that the package names did not sign it", expected=own.name, actual=origin)
    return noted(_SELF_SIGNED)


def _consistency(logged: Logged, trust: Trust) -> Finding:
    if trust.checkpoint is None:
        return noted("no earlier checkpoint is remembered, so there is nothing to compare it with")
    among = logged.known or ((logged.own_key,) if logged.own_key else ())
    note = open_note(trust.checkpoint, among)
    remembered = parse_checkpoint(note.text)
    if remembered.origin not in {signature.verifier.name for signature in note.signatures}:
        return failed("the remembered checkpoint is not signed by this log", actual=remembered.origin)
    if remembered.origin != logged.checkpoint.origin:
        return failed("another log", expected=remembered.origin, actual=logged.checkpoint.origin)
    if remembered.size != logged.checkpoint.size and not trust.consistency:
        return skipped(
            f"a proof between {remembered.size} and {logged.checkpoint.size} entries is needed: ask the log's owner"
            f" for `log consistency --size {max(remembered.size, logged.checkpoint.size)}`"
        )
    old, new = sorted((remembered, logged.checkpoint), key=lambda each: each.size)
    require_consistent(old.size, new.size, old.root, new.root, _hashes(trust))
    return passed(f"one history from {old.size} to {new.size} entries")


def _witnesses(logged: Logged, quorum: int) -> Finding:
    if not logged.witnesses:
        return skipped("no witness is trusted")
    found = {verifier.key for verifier in logged.signers(logged.witnesses)}
    detail = f"{len(found)} of {quorum} trusted witnesses cosigned"
    return passed(detail) if len(found) >= quorum else skipped(detail)


def _timestamp(logged: Logged, trust: Trust, token: bytes | None) -> Finding:
    if token is None:
        return skipped("no timestamp came with it")
    if not trust.timestamp_roots:
        return skipped("no timestamp authority is trusted")
    stamped = verify_timestamp(
        token, logged.proof.note.encode(), trust.timestamp_roots, trust.timestamp_certificates
    )
    return passed(f"{stamped.time.isoformat()} by {stamped.authority}")


def _evidence(package: AuditPackage) -> Section | str | None:
    """The package's `evidence`: its log or its import; None if it has none, a text if it cannot be read."""
    if package.evidence is None:
        return None
    try:
        return read_section(package.evidence)
    except NexusControlError as fault:
        return fault.message


def _logged(
    text: str | None,
    evidence: Section | str | None,
    known: tuple[Verifier, ...],
    witnesses: tuple[Verifier, ...],
) -> Logged | str | None:
    if text is None:
        return None
    try:
        proof = parse_log_proof(text)
        return Logged(
            proof=proof,
            checkpoint=parse_checkpoint(open_note(proof.note, ()).text),
            own_key=parse_verifier(evidence.log_key) if isinstance(evidence, LogSection) else None,
            known=known,
            witnesses=witnesses,
        )
    except NexusControlError as fault:
        return fault.message


def _verifiers(field: str, texts: Sequence[str], kind: int) -> tuple[Verifier, ...]:
    verifiers = tuple(map(parse_verifier, texts))
    if any(verifier.type != kind for verifier in verifiers):
        raise invalid_argument(field, f"must be verifier keys of type {kind}")
    return verifiers


def _hashes(trust: Trust) -> list[bytes]:
    hashes = [from_base64(text) for text in trust.consistency]
    proof = [each for each in hashes if each is not None]
    if len(proof) != len(hashes):
        raise invalid_argument("consistency", "must be hashes in base64")
    return proof
