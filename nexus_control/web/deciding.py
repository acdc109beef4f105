"""The section "Decide" of a request: a form for each verdict that this person can give now, or what keeps them.

Each form holds the exact statement that its passkey will sign, and the token of that statement. A statement names
decision, basis, rehearsal, approver, verdict and time, and has a nonce. It is made when the page is, of the request as
the page shows it: where the two differ already, there is no form. The token shows that this inbox made the statement,
in this run and less than an hour ago. It decides nothing: the signature does.
"""

import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.statement import NAMESPACE, ApprovalStatement, Verdict, parse_statement
from nexus_control.render.html import Html, as_typed, facts
from nexus_control.render.stated import OTHER_EACH_TIME, statement_facts
from nexus_control.render.text import View, spelled
from nexus_control.system.commands import command, shell_line
from nexus_control.usecases import arguments as door
from nexus_control.usecases import deciding
from nexus_control.usecases.fields import MAX_REMARK
from nexus_control.usecases.passkeys import passkeys_of
from nexus_control.usecases.signing import approval_statement, require_basis_of
from nexus_control.values.actors import fold_id
from nexus_control.values.instants import parse_instant
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, hidden_query
from nexus_control.web.passkey_form import passkey_form
from nexus_control.web.person import person_field
from nexus_control.web.posting import refusal
from nexus_control.web.wording import advice

LASTS: Final = timedelta(hours=1)
VERDICTS: Final[Mapping[Verdict, type[door.VerdictArguments]]] = {
    "approve": door.ApproveArguments,
    "deny": door.DenyArguments,
    "revoke": door.RevokeArguments,
}
_MEANS: Final[Mapping[Verdict, str]] = {
    "approve": "You agree that this runs, exactly as shown.",
    "deny": "The request ends here, and never runs.",
    "revoke": "You take your own approval back, before it runs.",
}
_BUTTONS: Final[Mapping[Verdict, str | None]] = {"approve": None, "deny": "danger", "revoke": "danger"}
Typed: TypeAlias = Mapping[Verdict, str]
"""What a person typed for a verdict that was refused: they find it in its form again."""


@dataclass(frozen=True, slots=True)
class Offers:
    """What one person can sign now: the statement of each verdict, and why another is refused."""

    statements: Mapping[Verdict, str] = field(default_factory=dict[Verdict, str])
    refusals: Mapping[Verdict, NexusControlError] = field(default_factory=dict[Verdict, NexusControlError])


async def decide_form(inbox: Inbox, visit: Visit, request: View, typed: Typed) -> Html:
    """What stands in the section "Decide" of a request. `request` is what `inspect` answers."""
    if not inbox.may_decide:
        no_key = (
            ""
            if inbox.store.allowed_signers
            else " Its owner has named no file that says whose signatures count."
        )
        return el("p", f"This inbox is for reading: nothing is decided here.{no_key}")
    if not visit.person:
        return _who(visit, request)
    try:
        offers = await inbox.call(lambda: _offers(inbox, visit.person, request))
    except NexusControlError as fault:
        enrol = el("p", el("a", "Enrol a passkey", href=visit.link("/enrol")))
        is_unknown = fault.code is ErrorCode.SIGNATURE_INVALID
        notice = refusal(fault, "You cannot decide here", *([enrol] if is_unknown else []))
        return el("div", _who(visit, request), notice, class_="verdicts")
    forms = [
        _form(inbox, visit, statement, typed.get(verdict, ""))
        for verdict, statement in offers.statements.items()
    ]
    notice = _why_not(offers.refusals.get("approve"), request["lifecycle"]["state"])
    return el("div", _who(visit, request), *notice, *forms, class_="verdicts")


def _why_not(fault: NexusControlError | None, state: str) -> Iterator[Html]:
    """Why this person cannot approve. In an approved request nobody else needs to."""
    if fault is not None:
        is_done = fault.code is ErrorCode.ALREADY_APPROVED and state == "approved"
        text = f"{spelled(fault.message).rstrip('.')}. {advice(fault)}"
        yield el("p", "You have approved this request." if is_done else text, data_code=fault.code)


def what_was_done(visit: Visit, request: View, verdict: str | None) -> list[Html]:
    """Says that this person's verdict is recorded, where it is. `verdict` is what the address says that they gave."""
    people = {fold_id(each["actor"]["id"]): each for each in request["approval"]["approvals"]}
    mine, ending = people.get(fold_id(visit.person)), request["decision"].get("ending")
    match verdict:
        case "approve" if mine and mine["active"]:
            text = "Your approval is recorded."
        case "revoke" if mine and mine["revoked_at"]:
            text = "Your approval is revoked."
        case "deny" if ending and fold_id(ending["actor"]["id"]) == fold_id(visit.person):
            text = "Your denial is recorded. The request has ended."
        case _:
            return []
    return [el("p", text, role="status", tabindex="-1", class_="notice good", data_said=verdict)]


def token_of(inbox: Inbox, statement: str) -> str:
    """The token of a statement that this inbox made."""
    return hmac.digest(inbox.form_key, statement.encode(), "sha256").hex()


def require_ours(inbox: Inbox, statement: str, token: str) -> ApprovalStatement:
    """The statement, when this inbox made it in this run and not too long ago. Raises PAGE_OUTDATED."""
    if not hmac.compare_digest(token_of(inbox, statement).encode(), token.encode()):
        raise _outdated("This page is not of this run of the inbox")
    stated = parse_statement(statement)
    if inbox.store.clock.now() - parse_instant(stated.issued_at) > LASTS:
        raise _outdated(f"This page is older than {LASTS.seconds // 60} minutes")
    return stated


def _outdated(why: str) -> NexusControlError:
    return NexusControlError(ErrorCode.PAGE_OUTDATED, why)


def _offers(inbox: Inbox, person: str, request: View) -> Offers:
    """Raises SIGNATURE_INVALID for a person of whom no passkey counts here."""
    passkeys_of(inbox.store, person, inbox.rp_id)
    statements, refusals = dict[Verdict, str](), dict[Verdict, NexusControlError]()
    for verdict in VERDICTS:
        try:
            statements[verdict] = _statement(inbox, person, verdict, request)
        except NexusControlError as fault:
            refusals[verdict] = fault
    return Offers(statements, refusals)


def _statement(inbox: Inbox, person: str, verdict: Verdict, request: View) -> str:
    """The statement of this verdict on the request as it is shown. Raises what the verdict would be refused for."""
    request_id, basis = request["decision"]["decision_id"], request["basis"]
    given: dict[str, Any] = {
        "request_id": request_id,
        "actor": {"type": "human", "id": person},
        "basis": basis,
    }
    said = {"reason": "to be given"} if verdict == "deny" else {}
    deciding.require_may_decide(inbox.store, door.validated(VERDICTS[verdict], given | said), "signed")
    asked = {"request_id": request_id, "approver": person, "verdict": verdict}
    statement = approval_statement(inbox.store, door.validated(door.StatementArguments, asked))["statement"]
    require_basis_of(statement, basis)
    rehearsal = request["decision"].get("rehearsal")
    covered = parse_statement(statement).rehearsal_digest
    if covered is not None and covered != (rehearsal and rehearsal["digest"]):
        raise NexusControlError(ErrorCode.BASIS_CHANGED, "It was rehearsed again while this page was made")
    return statement


def _who(visit: Visit, request: View) -> Html:
    path = f"/requests/{request['decision']['decision_id']}"
    return el(
        "form",
        el("label", "You are" if visit.person else "Who are you?", for_="person"),
        el("div", *person_field(visit, "Change" if visit.person else "Continue"), class_="row"),
        hidden_query(visit, **{"as": None}),
        el("p", "Your id only says whose passkey signs. It is kept in this browser.", class_="note"),
        method="get",
        action=visit.link_without_query(path),
        class_="ask",
    )


def _form(inbox: Inbox, visit: Visit, statement: str, typed: str) -> Html:
    stated = parse_statement(statement)
    verdict, heading = stated.verdict, f"{stated.verdict}-heading"
    return el(
        "section",
        el("h3", verdict.capitalize(), " as ", el("bdi", spelled(stated.approver)), id=heading),
        el("p", _MEANS[verdict]),
        passkey_form(
            inbox,
            "sign",
            visit.link(f"/requests/{stated.decision_id}/{verdict}"),
            el("input", type="hidden", name="token", value=token_of(inbox, statement)),
            el("input", type="hidden", name="statement", value=statement),
            *_remark(verdict, typed),
            el("details", *_compared(inbox, stated, statement)),
            button=verdict.capitalize(),
            namespace=NAMESPACE,
            class_=_BUTTONS[verdict],
            data_person=stated.approver,
        ),
        aria_labelledby=heading,
        class_=f"choice {verdict}",
    )


def _compared(inbox: Inbox, stated: ApprovalStatement, statement: str) -> Iterator[Html]:
    """What the statement says, and the command by which another program says the same."""
    options = {"--verdict": stated.verdict, "--as": f"human:{stated.approver}", "--db": inbox.store.place}
    line = shell_line(command("statement", argument=stated.decision_id, options=options))
    yield el("summary", "The statement that you sign")
    yield facts(statement_facts(stated), kind="digests stated")
    yield el(
        "p",
        "To compare, run this at the store: it reads the request by itself, and must print the same. Only "
        f"“{OTHER_EACH_TIME}” is new each time.",
        class_="note",
    )
    yield el("pre", line, tabindex="0", aria_label=f"The command to compare: {stated.verdict}")
    yield el("p", "The exact text:", class_="note")
    yield el("pre", spelled(statement), tabindex="0", aria_label="The statement")


def _remark(verdict: Verdict, typed: str) -> Iterator[Html]:
    """The comment of an approval, or the reason of another verdict."""
    is_approving, field_id = verdict == "approve", f"{verdict}-text"
    yield el("label", "Comment (may be empty)" if is_approving else "Reason", for_=field_id)
    yield el(
        "textarea",
        as_typed(typed),
        id=field_id,
        name="comment" if is_approving else "reason",
        rows=2,
        maxlength=MAX_REMARK,
        required=not is_approving,
    )
