"""The commands that decide: approve, deny, revoke, withdraw.

Before a person decides, the command shows the whole request, with unprintable characters spelled out, and asks. The
verdict is about the request as it was shown: its basis is part of the verdict, and of a signed statement too. In a pipe
nobody can be asked. There `--yes` says that the answer was given elsewhere, and the assurance is never *local*.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.adapters import adapters_at_hand
from nexus_control.cli.frame import Data, Frame, carry_out, frame_of, identity
from nexus_control.cli.options import ActingAs, AllowedSigners, AsJson, Database, RequestId, UsualConfig
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.signing import SignatureFile, Signing, SignKey, StatementFile
from nexus_control.cli.streams import require_shown
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.render.will_run import NOT_AT_HAND
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import deciding, views
from nexus_control.usecases.signing import require_basis_of
from nexus_control.values.actors import Actor
from nexus_control.values.payloads import Assurance, SignedStatement

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]


@dataclass(frozen=True, slots=True)
class Given:
    """Who decides, how that is known, and the basis of the request that they were shown; None if none was shown."""

    actor: Actor
    assurance: Assurance
    basis: str | None
    signed: SignedStatement | None

    def values(self, request_id: str, **said: object) -> dict[str, object]:
        signed = self.signed
        both = {"statement": signed.statement, "signature": signed.signature} if signed else {}
        return {"request_id": request_id, "actor": self.actor, "basis": self.basis, **both, **said}


def approve(
    context: typer.Context,
    request_id: RequestId,
    comment: Annotated[str | None, typer.Option(help="A comment; it is recorded.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When the approval runs out (ISO 8601).")] = None,
    config: UsualConfig = None,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Approve a request, after looking at it.

    Example: nexus-control approve 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --comment "checked the plan"
    """

    frame = frame_of(context, db, as_json, allowed_signers)
    signing = Signing("approve", sign, signature, statement, expires_at)

    def act(store: DecisionStore, given: Given) -> Data:
        values = given.values(request_id, comment=comment, expires_at=expires_at)
        checked = door.validated(door.ApproveArguments, values)
        return deciding.approve(store, checked, assurance=given.assurance)

    _decide(frame, request_id, "approve", act, config, yes, acting_as, signing)


def deny(
    context: typer.Context,
    request_id: RequestId,
    reason: Reason,
    config: UsualConfig = None,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Refuse a request as an approver; it ends there.

    Example: nexus-control deny 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --reason "not during the freeze"
    """

    frame = frame_of(context, db, as_json, allowed_signers)
    signing = Signing("deny", sign, signature, statement)

    def act(store: DecisionStore, given: Given) -> Data:
        checked = door.validated(door.DenyArguments, given.values(request_id, reason=reason))
        return deciding.deny(store, checked, assurance=given.assurance)

    _decide(frame, request_id, "deny", act, config, yes, acting_as, signing)


def revoke(
    context: typer.Context,
    request_id: RequestId,
    reason: Reason,
    config: UsualConfig = None,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
    acting_as: ActingAs = None,
    allowed_signers: AllowedSigners = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Take your own approval back, before the execution.

    Example: nexus-control revoke 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --reason "wrong window"
    """

    frame = frame_of(context, db, as_json, allowed_signers)
    signing = Signing("revoke", sign, signature, statement)

    def act(store: DecisionStore, given: Given) -> Data:
        checked = door.validated(door.RevokeArguments, given.values(request_id, reason=reason))
        return deciding.revoke_approval(store, checked)

    _decide(frame, request_id, "revoke your approval of", act, config, yes, acting_as, signing)


def withdraw(
    context: typer.Context,
    request_id: RequestId,
    reason: Reason,
    yes: Yes = False,
    acting_as: ActingAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Take your own request back.

    Example: nexus-control withdraw 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --reason "no longer needed"
    """

    def act(store: DecisionStore, given: Given) -> Data:
        checked = door.validated(door.WithdrawArguments, given.values(request_id, reason=reason))
        return deciding.withdraw(store, checked)

    _decide(frame_of(context, db, as_json), request_id, "withdraw", act, None, yes, acting_as)


def _decide(
    frame: Frame,
    request_id: str,
    verb: str,
    act: Callable[[DecisionStore, Given], Data],
    config: Path | None,
    yes: bool,
    acting_as: str | None,
    signing: Signing | None = None,
) -> None:
    def run(store: DecisionStore) -> Data:
        actor, assurance = identity(acting_as)
        if signing is not None:
            signing.require_usable(frame, store, actor)
        if yes:
            assurance = "declared"  # because nobody answered at a terminal
        else:
            _require_somebody_to_ask()
        basis = None if yes else _review(store, request_id, config)
        stated = signing.stated(store, request_id, actor) if signing is not None else None
        if stated is not None:
            require_basis_of(stated, basis)
        if not yes:
            known = assurance if stated is None else "signed"
            _require_consent(f"{verb.capitalize()} this request as {actor} ({known})?")
        signed = signing.signed(stated) if signing is not None and stated is not None else None
        return act(store, Given(actor, assurance, basis, signed))

    def show(screen: Screen, data: Data) -> None:
        agreed = (
            f": {data['current_approvals']} of {data['required_approvals']} approvals"
            if "current_approvals" in data
            else ""
        )
        screen.prose(f"{data['request_id']} is {data['state']}{agreed}.", Mark("Done.", "good"))

    def done(data: Data) -> str:
        return f"It is recorded that you {verb} {data['request_id']}"

    carry_out(frame, run, show, done)


def _review(store: DecisionStore, request_id: str, config: Path | None) -> str:
    """Show all that a reviewer needs on standard error, because standard output is for the answer. Returns the basis of
    the request as shown. Raises INVALID_STATE if no policy is attached yet.
    """
    checked = door.validated(door.InspectArguments, {"decision_id": request_id})
    with adapters_at_hand(config) as router:
        data = views.inspect(store, checked, router)
    basis: str | None = data["basis"]
    if basis is None:
        raise NexusControlError(
            ErrorCode.INVALID_STATE, "There is nothing to decide before a policy is attached"
        )
    screen = Screen(sys.stderr)
    for line in data["rendered"].splitlines():
        screen.verbatim(line)
    if router is None:
        screen.verbatim(NOT_AT_HAND)
    require_shown()
    return basis


def _require_somebody_to_ask() -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise invalid_argument("--yes", "is needed where nobody can be shown the request and asked")


def _require_consent(question: str) -> None:
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise NexusControlError(ErrorCode.NOT_CONFIRMED, "You answered no")
