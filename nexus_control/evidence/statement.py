"""The statement that an approver signs: the exact bytes of canonical JSON, without a newline.

    {"_type": "nexus-control/approval/v1", "approver": id,
     "basis": {"chain": prefixed, "seq": number},     the chain hash of POLICY_ATTACHED, and its number
     "decision_id", "expires_at": instant or null, "issued_at": instant, "log": origin, "nonce": 32 hex digits,
     "rehearsal_digest": prefixed,                    only of an approval under a policy that requires a rehearsal
     "request": {"goal", "mode", "plan_sha256": hex or null}, "verdict": "approve" | "deny" | "revoke"}

The basis is one hash that commits to decision, goal, plan, policy, template, adapter and requester. `request` repeats
the parts that a person can read. `log` names the log of the store for which the verdict was given. `ssh-keygen -Y sign`
makes the signature, in the namespace below. A comment or a reason is not part of the statement.
"""

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.facts import Facts
from nexus_control.integrity import is_bare, is_prefixed, prefixed, sha256_hex
from nexus_control.values.actors import fold_id
from nexus_control.values.instants import is_instant
from nexus_control.values.payloads import Mode
from nexus_control.values.records import always_written, check, decode, encode

NAMESPACE: Final = "nexus-control.approval.v1"
ENROLMENT_NAMESPACE: Final = "nexus-control.enrolment.v1"
"""In this namespace a new passkey signs once, to show that somebody has its private half. It approves nothing."""
Verdict: TypeAlias = Literal["approve", "deny", "revoke"]

_TYPE = "nexus-control/approval/v1"
_NONCE = re.compile("[0-9a-f]{32}")
_LONGEST = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """The chain hash of POLICY_ATTACHED and the number of that event: everything that the verdict is about."""

    chain: str = check(is_prefixed, "'sha256:' and 64 lower-case hex digits")
    seq: int = check(lambda n: n >= 0, "at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The parts of the request that a person can read in the statement."""

    goal: str
    mode: Mode
    plan_sha256: str | None = check(is_bare, "64 lower-case hex digits", default=None, always=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalStatement:
    """One person's verdict on one request."""

    approver: str
    basis: Basis
    decision_id: str
    expires_at: str | None = always_written(None)
    issued_at: str = check(is_instant, "an ISO-8601 instant with an offset")
    log: str
    nonce: str = check(lambda text: _NONCE.fullmatch(text) is not None, "32 lower-case hex digits")
    rehearsal_digest: str | None = check(is_prefixed, "'sha256:' and 64 lower-case hex digits", default=None)
    request: Request
    verdict: Verdict

    def to_text(self) -> str:
        """The bytes to sign, as text."""
        return canonical_json({"_type": _TYPE, **encode(self)})


def parse_statement(text: str) -> ApprovalStatement:
    """Read a statement, which must be canonical JSON. Raises SIGNATURE_INVALID."""
    try:
        data = dict(parse_json_object(text)) if len(text) <= _LONGEST else {}
        kind = data.pop("_type", None)
        statement = decode(ApprovalStatement, data, where="statement", code=ErrorCode.SIGNATURE_INVALID)
    except NexusControlError as fault:
        raise _invalid(fault.message) from None
    if kind != _TYPE or statement.to_text() != text:
        raise _invalid(f"must be canonical JSON of type {_TYPE}")
    return statement


def statement_of(
    facts: Facts,
    *,
    approver: str,
    verdict: Verdict,
    basis: str,
    log: str,
    nonce: str,
    issued_at: str,
    expires_at: str | None,
    rehearsal_digest: str | None,
) -> ApprovalStatement:
    """The statement of this verdict on a decision; `basis` is the chain hash of its POLICY_ATTACHED, bare hex.

    Raises INVALID_STATE for a decision without a policy.
    """
    created = facts.created
    if created is None or facts.policy is None:
        raise NexusControlError(
            ErrorCode.INVALID_STATE,
            "There is nothing to decide before a policy is attached",
            {"state": "draft"},
        )
    return ApprovalStatement(
        approver=approver,
        basis=Basis(chain=prefixed(basis), seq=facts.policy_seq),
        decision_id=facts.decision_id,
        expires_at=expires_at,
        issued_at=issued_at,
        log=log,
        nonce=nonce,
        rehearsal_digest=rehearsal_digest,
        request=Request(
            goal=created.goal,
            mode=created.requested_mode,
            plan_sha256=None if created.plan is None else sha256_hex(created.plan),
        ),
        verdict=verdict,
    )


def require_says(
    given: ApprovalStatement,
    facts: Facts,
    *,
    approver: str,
    verdict: Verdict,
    basis: str,
    expires_at: str | None,
    rehearsal_digest: str | None,
) -> None:
    """Returns when a statement is this verdict of this approver on this decision. Its time and its log may be any.

    Raises SIGNATURE_INVALID, naming each field that differs.
    """
    same_person = fold_id(given.approver) == fold_id(approver)
    expected = statement_of(
        facts,
        approver=given.approver if same_person else approver,
        verdict=verdict,
        basis=basis,
        log=given.log,
        nonce=given.nonce,
        issued_at=given.issued_at,
        expires_at=expires_at,
        rehearsal_digest=rehearsal_digest,
    )
    ours, theirs = encode(expected), encode(given)
    differing = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
    if differing:
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID,
            f"The signed statement differs from the verdict: {', '.join(differing)}",
            {"fields": differing},
        )


def _invalid(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.SIGNATURE_INVALID, f"This is not a statement of a verdict: {problem}")
