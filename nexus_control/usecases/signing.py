"""Signed verdicts: what an approver signs, and whose signatures count here.

The store's owner says who may sign, in the `allowed_signers` file, and on which pages a passkey may. The file is read
for each verdict, and again at dispatch: a key that was removed from it, or has expired, no longer counts. A verdict
counts only in the store whose log it names, and only once: no import or rollback makes a used one valid again.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

from nexus_control.canonical_json import MAX_TEXT_BYTES
from nexus_control.decision import require_basis, require_future, require_rehearsed
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.events import StoredEvent
from nexus_control.evidence.formats.allowed_signers import AllowedSigners, parse_allowed_signers
from nexus_control.evidence.formats.origins import PasskeyOrigins
from nexus_control.evidence.formats.ssh_keys import SshKey, parse_ssh_public_key
from nexus_control.evidence.formats.sshsig import as_ssh_keygen_writes
from nexus_control.evidence.signed_approval import SignedVerdict, open_verdict
from nexus_control.evidence.statement import NAMESPACE, Verdict, parse_statement, require_says, statement_of
from nexus_control.integrity import sha256_hex
from nexus_control.log import head, log_keys
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.store import DecisionStore
from nexus_control.system.whole_files import read_regular
from nexus_control.usecases.answers import StatementData
from nexus_control.usecases.arguments import StatementArguments
from nexus_control.values.actors import Actor, fold_id
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import (
    ApprovalDeniedPayload,
    ApprovalGrantedPayload,
    ApprovalRevokedPayload,
    SignedStatement,
)


def approval_statement(store: DecisionStore, arguments: StatementArguments) -> StatementData:
    """The exact text that an approver signs for this verdict, with a new nonce each time."""
    if arguments.expires_at is not None and arguments.verdict != "approve":
        raise invalid_argument("expires_at", "is for the verdict approve: no other verdict expires")
    with _naming_the_log(store) as (session, log):
        decision = session.decision(arguments.request_id)
        require_future(arguments.expires_at, session.now, "expires_at")
        if arguments.verdict == "approve":
            require_rehearsed(decision.facts, session.instant_of_next(decision))
        statement = statement_of(
            decision.facts,
            approver=arguments.approver,
            verdict=arguments.verdict,
            basis=decision.policy_leaf,
            log=log,
            nonce=store.clock.new_id().replace("-", ""),
            issued_at=format_instant(session.now),
            expires_at=format_instant(arguments.expires_at) if arguments.expires_at else None,
            rehearsal_digest=_covered_by(decision, arguments.verdict),
        )
    text = statement.to_text()
    return {
        "request_id": decision.decision_id,
        "approver": statement.approver,
        "verdict": statement.verdict,
        "basis": statement.basis.chain,
        "statement": text,
        "sha256": sha256_hex(text),
        "namespace": NAMESPACE,
    }


def _covered_by(decision: Projection, verdict: Verdict) -> str | None:
    """The digest of the rehearsal that this verdict is about; None where it is about none."""
    cover = decision.facts.progress.cover
    return cover.digest if cover and verdict == "approve" else None


@contextmanager
def _naming_the_log(store: DecisionStore) -> Generator[tuple[ReadSession, str]]:
    """A session, and the name of the store's log, which is all that a statement needs of it. A log without a name gets
    one, and a key. Raises STORE_ROLLED_BACK: an older copy of the store hands out no statement.
    """
    known = head.look_at(store)
    with store.reading() as session:
        log = log_keys.origin_in(session)
        if log is not None:
            head.require_continued(session, store.sidecar, known)
            yield session, log
            return
    with log_keys.continuing(store) as writer:
        yield writer, log_keys.origin_of(writer, store.sidecar)


def allowed_signers_of(store: DecisionStore) -> AllowedSigners | None:
    """Who may sign here, read from the file now. Raises INVALID_ARGUMENT for a file that cannot be read."""
    if store.allowed_signers is None:
        return None
    try:
        return parse_allowed_signers(read_regular(store.allowed_signers, MAX_TEXT_BYTES))
    except OSError as error:
        raise invalid_argument("allowed_signers", f"cannot be read: {error.strerror}") from None


def describe_allowed_signers(store: DecisionStore) -> dict[str, Any] | None:
    """How many signers the file names, which lines are skipped and why, and which lines of passkeys count nowhere,
    because no origin is allowed for their RP ID; None without a file. Never raises.
    """
    try:
        allowed = allowed_signers_of(store)
    except NexusControlError as fault:
        return {**_no_lines(store), "problem": fault.message}
    if allowed is None:
        return None
    skipped = [{"line": each.line, "why": each.why} for each in allowed.skipped]
    nowhere = [
        {"line": each.line, "rp_id": each.key.rp_id}
        for each in allowed.signers
        if each.key.rp_id is not None and not store.passkey_origins.for_rp_id(each.key.rp_id).origins
    ]
    return {**_no_lines(store), "used": len(allowed.signers), "skipped": skipped, "without_origin": nowhere}


def _no_lines(store: DecisionStore) -> dict[str, Any]:
    return {
        "file": str(store.allowed_signers),
        "used": 0,
        "skipped": [],
        "without_origin": [],
        "problem": None,
    }


def require_may_sign(store: DecisionStore, approver: str, public_key: str | None) -> None:
    """Check that a signature of this approver can count here now, before anybody is asked for a passphrase or a touch.

    `public_key` is the line of the key that will sign. None, where that is not known, accepts any key of the approver.
    Raises SIGNATURE_INVALID.
    """
    allowed, now = _allowed(store), store.clock.now()
    if public_key is None:
        why = allowed.refusal_of_every_key(approver, NAMESPACE, now)
    else:
        try:
            why = allowed.refusal(approver, parse_ssh_public_key(public_key), NAMESPACE, now)
        except NexusControlError as fault:
            why = f"{fault.message}{allowed.unsupported(approver)}"
    if why:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"A signature would not be trusted here: {why}",
            {"approver": approver},
            "Sign with a key that is trusted here as yours. On the command line, --as names the key's person.",
        )


def require_basis_of(statement: str, shown: str | None) -> None:
    """Check that a statement is about what was shown. Raises BASIS_CHANGED, or SIGNATURE_INVALID for another text."""
    if shown is not None:
        stated = parse_statement(statement)
        require_basis(shown, stated.basis.chain, stated.decision_id, what="What the statement names")


def require_signed(
    store: DecisionStore,
    session: ReadSession,
    decision: Projection,
    actor: Actor,
    verdict: Verdict,
    signed: SignedStatement,
    at: datetime,
) -> SignedVerdict:
    """Check that this approver signed this verdict, for this store and for the first time. `signed` of the result is
    what to store. Raises SIGNATURE_INVALID.
    """
    allowed = _allowed(store)
    opened = _opened_for(allowed, actor.id, signed)
    statement = opened.statement
    require_says(
        statement,
        decision.facts,
        approver=actor.id,
        verdict=verdict,
        basis=decision.policy_leaf,
        expires_at=statement.expires_at if verdict == "approve" else None,
        rehearsal_digest=_covered_by(decision, verdict),
    )
    if statement.log != log_keys.origin_in(session):
        raise _refused(f"it was given for the log {statement.log}")
    opened.require_issued_by(at)
    earlier = [each for _, each in _signed_verdicts(_of_every_generation(session, decision))]
    if statement.nonce in {each.statement.nonce for each in earlier}:
        raise _refused("it was used before: make a new statement")
    if verdict == "approve" and any(_is_anothers(each, opened) for each in earlier):
        raise _refused("its key has approved this decision as another person: one key is one person")
    opened.require_allowed(allowed, store.passkey_origins, at)
    return opened


def verified(
    store: DecisionStore, session: ReadSession, decision: Projection, signed: set[int], at: datetime
) -> set[int]:
    """The signed approvals, by `seq`, whose signers are trusted here at this instant. One key counts once."""
    allowed = allowed_signers_of(store)
    if allowed is None:
        return set()
    log = log_keys.origin_in(session)
    used, by_key = set[str](), dict[SshKey, int]()
    for event, opened in _signed_verdicts(session.events(decision)):
        is_first, nonce = opened.statement.nonce not in used, opened.statement.nonce
        used.add(nonce)
        if (
            is_first
            and event.seq in signed
            and _counts(event, opened, decision, allowed, store.passkey_origins, log, at)
        ):
            by_key.setdefault(opened.signature.key, event.seq)
    return set(by_key.values())


def _allowed(store: DecisionStore) -> AllowedSigners:
    allowed = allowed_signers_of(store)
    if allowed is None:
        raise _refused("nobody is trusted to sign here: open the store with an allowed_signers file")
    return allowed


def _opened_for(allowed: AllowedSigners, approver: str, signed: SignedStatement) -> SignedVerdict:
    """The verdict, with its signature in the armor that ssh-keygen reads. A refusal names the unsupported lines of its
    approver: the key may be in one of them.
    """
    try:
        return open_verdict(replace(signed, signature=as_ssh_keygen_writes(signed.signature)))
    except NexusControlError as fault:
        raise NexusControlError(
            fault.code, f"{fault.message}{allowed.unsupported(approver)}", fault.details
        ) from None


def _counts(
    event: StoredEvent,
    opened: SignedVerdict,
    decision: Projection,
    allowed: AllowedSigners,
    origins: PasskeyOrigins,
    log: str | None,
    at: datetime,
) -> bool:
    """Whether this signed approval counts here at this instant."""
    content = event.content
    assert isinstance(content, ApprovalGrantedPayload)
    try:
        require_says(
            opened.statement,
            decision.facts,
            approver=event.actor.id,
            verdict="approve",
            basis=decision.policy_leaf,
            expires_at=content.expires_at,
            rehearsal_digest=content.rehearsal_digest,
        )
        opened.require_issued_by(event.instant)
        opened.require_allowed(allowed, origins, at)
    except NexusControlError as fault:
        if fault.code is not ErrorCode.SIGNATURE_INVALID:
            raise
        return False
    return opened.statement.log == log


def _of_every_generation(session: ReadSession, decision: Projection) -> Iterator[StoredEvent]:
    """The events of all generations of the decision here."""
    for generation in session.rows.generations("decision", decision.decision_id):
        yield from session.events(decision, generation)


def _signed_verdicts(events: Iterable[StoredEvent]) -> Iterator[tuple[StoredEvent, SignedVerdict]]:
    """The signed verdicts among these events, except imported ones that do not verify."""
    for event in events:
        content = event.content
        if not isinstance(content, ApprovalGrantedPayload | ApprovalDeniedPayload | ApprovalRevokedPayload):
            continue
        opened = None if content.signed is None else _opened(content.signed)
        if opened is not None:
            yield event, opened


def _opened(signed: SignedStatement) -> SignedVerdict | None:
    try:
        return open_verdict(signed)
    except NexusControlError as fault:
        if fault.code is not ErrorCode.SIGNATURE_INVALID:
            raise
        return None


def _is_anothers(earlier: SignedVerdict, given: SignedVerdict) -> bool:
    """Whether the same key signed an earlier approval under another name."""
    return (
        earlier.statement.verdict == "approve"
        and earlier.signature.key == given.signature.key
        and fold_id(earlier.statement.approver) != fold_id(given.statement.approver)
    )


def _refused(why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.SIGNATURE_INVALID, f"The signed statement is refused: {why}")
