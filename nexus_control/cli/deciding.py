"""The commands that decide: approve, deny, revoke, withdraw.

Before a person decides, the command shows the whole request, with unprintable characters spelled out, and asks. The
verdict is about the request as it was shown: its basis is part of the verdict, and of a signed statement too. In a pipe
nobody can be asked. There `--yes` says that the answer was given elsewhere, and the assurance is never *local*.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.adapters import adapters_at_hand
from nexus_control.cli.frame import Answer, Frame, identity, shared_options, told
from nexus_control.cli.options import RequestId, UsualConfig
from nexus_control.cli.screen import Screen
from nexus_control.cli.signing import SignatureFile, Signing, SignKey, StatementFile
from nexus_control.cli.streams import require_shown
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.render.decision import render_decision
from nexus_control.render.will_run import NOT_AT_HAND
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import deciding, views
from nexus_control.usecases.answers import ApprovalData, StateData
from nexus_control.usecases.signing import require_basis_of
from nexus_control.values.payloads import Assurance

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Reason = Annotated[str, typer.Option(help="Why; it is recorded.")]

Act = Callable[[DecisionStore, Mapping[str, object], Assurance], ApprovalData | StateData]
"""Its arguments name the person who decides, the request, and its basis as it was shown; None if it was not shown."""


@shared_options("acting_as", "allowed_signers", "db")
def approve(
    frame: Frame,
    request_id: RequestId,
    comment: Annotated[str | None, typer.Option(help="A comment; it is recorded.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="When the approval runs out (ISO 8601).")] = None,
    config: UsualConfig = None,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
) -> Answer:
    """Approve a request, after looking at it.

    Example: nexus-control approve 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --comment "checked the plan"
    """

    def act(store: DecisionStore, arguments: Mapping[str, object], assurance: Assurance) -> ApprovalData:
        said = {"comment": comment, "expires_at": expires_at}
        checked = door.validated(door.ApproveArguments, {**arguments, **said})
        return deciding.approve(store, checked, assurance=assurance)

    signing = Signing("approve", sign, signature, statement, expires_at)
    return _decide(frame, request_id, "approve", act, config, yes, signing)


@shared_options("acting_as", "allowed_signers", "db")
def deny(
    frame: Frame,
    request_id: RequestId,
    reason: Reason,
    config: UsualConfig = None,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
) -> Answer:
    """Refuse a request as an approver; it ends there.

    Example: nexus-control deny 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --reason "not during the freeze"
    """

    def act(store: DecisionStore, arguments: Mapping[str, object], assurance: Assurance) -> StateData:
        checked = door.validated(door.DenyArguments, {**arguments, "reason": reason})
        return deciding.deny(store, checked, assurance=assurance)

    signing = Signing("deny", sign, signature, statement)
    return _decide(frame, request_id, "deny", act, config, yes, signing)


@shared_options("acting_as", "allowed_signers", "db")
def revoke(
    frame: Frame,
    request_id: RequestId,
    reason: Reason,
    config: UsualConfig = None,
    yes: Yes = False,
    sign: SignKey = None,
    signature: SignatureFile = None,
    statement: StatementFile = None,
) -> Answer:
    """Take your own approval back, before the execution.

    Example: nexus-control revoke 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --reason "wrong window"
    """

    def act(store: DecisionStore, arguments: Mapping[str, object], _: Assurance) -> ApprovalData:
        checked = door.validated(door.RevokeArguments, {**arguments, "reason": reason})
        return deciding.revoke_approval(store, checked)

    signing = Signing("revoke", sign, signature, statement)
    return _decide(frame, request_id, "revoke your approval of", act, config, yes, signing)


@shared_options("acting_as", "db")
def withdraw(frame: Frame, request_id: RequestId, reason: Reason, yes: Yes = False) -> Answer:
    """Take your own request back.

    Example: nexus-control withdraw 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 --reason "no longer needed"
    """

    def act(store: DecisionStore, arguments: Mapping[str, object], _: Assurance) -> StateData:
        checked = door.validated(door.WithdrawArguments, {**arguments, "reason": reason})
        return deciding.withdraw(store, checked)

    return _decide(frame, request_id, "withdraw", act, None, yes, Signing("withdraw"))


def _decide(
    frame: Frame,
    request_id: str,
    verb: str,
    act: Act,
    config: Path | None,
    yes: bool,
    signing: Signing,
) -> Answer:
    with frame.store() as store:
        actor, assurance = identity(frame.acting_as)
        signing.require_usable(frame, store, actor)
        if yes:
            assurance = "declared"  # because nobody answered at a terminal
        else:
            _require_somebody_to_ask()
        basis = None if yes else _review(store, request_id, config)
        stated = signing.stated(store, request_id, actor)
        if stated is not None:
            require_basis_of(stated, basis)
        if not yes:
            known = assurance if stated is None else "signed"
            _require_consent(f"{verb.capitalize()} this request as {actor} ({known})?")
        arguments: Mapping[str, object] = {"request_id": request_id, "actor": actor, "basis": basis}
        if stated is not None:
            arguments = {**arguments, "statement": stated, "signature": signing.signature_of(stated)}
        data = act(store, arguments, assurance)
    text = f"{data['request_id']} is {data['state']}"
    if "current_approvals" in data:
        text += f": {data['current_approvals']} of {data['required_approvals']} approvals"
    return Answer(data, told(f"{text}."), f"It is recorded that you {verb} {data['request_id']}")


def _review(store: DecisionStore, request_id: str, config: Path | None) -> str:
    """Show all that a reviewer needs on standard error, because standard output is for the answer. Returns the basis of
    the request as shown. Raises INVALID_STATE if no policy is attached yet.
    """
    checked = door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    with adapters_at_hand(config) as router:
        data = views.inspect(store, checked, router)
    basis = data["basis"]
    if basis is None:
        raise NexusControlError(
            ErrorCode.INVALID_STATE, "There is nothing to decide before a policy is attached"
        )
    screen = Screen(sys.stderr)
    for line in render_decision(data).splitlines():
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
