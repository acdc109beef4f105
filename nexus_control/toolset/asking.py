"""Asks a person, through the agent's host, whether they approve.

The form has a required choice and a reason. Only a choice that was typed in counts: a form that is declined, closed,
empty, or not answered in time is *unanswered*, neither an approval nor a denial. The host reports what the person said,
which proves nothing: the answer is recorded as assurance "elicited", with the client's name and the time it took. It
counts only for the request that the form showed.

The model's comment is neither shown nor recorded: the reason is the person's own.

Where there is an inbox and the host can open a page, the person is sent there instead: they sign with a passkey, which
proves who decided. The host says only that it opened the page, so `approve` never has an answer then.
"""

from collections.abc import Mapping
from typing import Any, Final

from nexus_control.decision import require_basis, require_may_approve, require_open, require_rehearsed
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.render.question import render_question
from nexus_control.render.text import holds_padding
from nexus_control.toolset.guidance import for_a_person
from nexus_control.toolset.tool import FormAnswer, Question, ToolContext
from nexus_control.usecases import deciding, views
from nexus_control.usecases.answers import ApprovalData
from nexus_control.usecases.arguments import ApproveArguments, ApproveOptions, DenyArguments, validated
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.describing import will_run
from nexus_control.usecases.resulting import executions_view
from nexus_control.usecases.views import decision_view, template_view
from nexus_control.values.instants import format_instant
from nexus_control.values.pages import page_of
from nexus_control.values.payloads import Elicitation
from nexus_control.values.results import looking_after

FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "verdict": {
            "type": "string",
            "title": "Your decision",
            "description": "approve, or deny, which ends the request",
            "enum": ["approve", "deny"],
        },
        "reason": {
            "type": "string",
            "title": "Your reason",
            "description": "It is recorded.",
            "maxLength": 1000,
        },
    },
    "required": ["verdict"],
}
SILENCE_SECONDS: Final = 45
LONGEST_QUESTION: Final = 8000
MOST_LINES: Final = 200
_NO_REASON = "Denied in the host's form, without a reason"


def read_answer(
    question: Question, content: Mapping[str, object] | None, *, client: str, latency_ms: int
) -> FormAnswer | None:
    """The answer in an accepted form of this question; None where no choice was typed in."""
    match content:
        case {"verdict": ("approve" | "deny") as verdict}:
            pass
        case _:
            return None
    given = content.get("reason")
    reason = given.strip() if isinstance(given, str) else ""
    elicitation = Elicitation(client=client, latency_ms=latency_ms)
    return FormAnswer(
        question=question, approves=verdict == "approve", reason=reason or None, elicitation=elicitation
    )


def question(context: ToolContext, arguments: ApproveOptions) -> Question:
    """The question for the approver. Raises as their approval would, or APPROVAL_NEEDS_A_PERSON where no form can be
    used.
    """
    if context.inbox is not None and context.opens_pages:
        return _page(context, context.inbox, arguments)
    approver = context.approver
    if approver is None:
        raise needs_a_person(context, arguments, "no approver is named to be asked")
    with context.store.reading() as session:
        decision = session.decision(arguments.request_id)
        now = session.now
        authority = authority_of(context.store, session, decision, now)
        template = template_view(session, decision)
        executions = executions_view(session, decision, last=1)
    require_basis(arguments.basis, decision.basis, decision.decision_id)
    try:
        require_may_approve(decision.facts, approver, "elicited", now, authority)
    except NexusControlError as fault:
        if fault.code is not ErrorCode.ASSURANCE_TOO_LOW:
            raise
        raise needs_a_person(context, arguments, "the policy does not accept an answer given here") from None
    expires_at = format_instant(arguments.expires_at) if arguments.expires_at else None
    rehearsed = executions[-1] if decision.facts.needs_rehearsal else None
    if rehearsed is not None and (rehearsed["results"] is None or rehearsed["truncated"]):
        raise needs_a_person(context, arguments, "what the rehearsal gave back is not known whole here")
    view = {
        "decision": decision_view(decision, now),
        "template": template,
        "will_run": will_run(decision.facts, context.router),
        "rehearsed": rehearsed,
        "basis": decision.basis,
    }
    text = render_question(view, approver, expires_at)
    if len(text) > LONGEST_QUESTION or text.count("\n") > MOST_LINES:
        raise needs_a_person(context, arguments, "the request is too long to be shown whole in a form")
    if holds_padding(view):
        raise needs_a_person(context, arguments, "the request is padded with blanks or empty lines")
    last, cover = decision.facts.last_rehearsal, decision.facts.progress.cover
    return Question(
        text=text,
        request_id=decision.decision_id,
        basis=decision.basis or "",
        expires_at=expires_at,
        rehearsal=(last.seq, cover.digest) if last and cover else None,
    )


def _page(context: ToolContext, inbox: str, arguments: ApproveOptions) -> Question:
    """The page of the inbox to open. It is shown whole there, whatever its length, and nobody is named: the passkey
    tells who decides.
    """
    with context.store.reading() as session:
        decision = session.decision(arguments.request_id)
        now = session.now
    require_basis(arguments.basis, decision.basis, decision.decision_id)
    require_open(decision.facts, now, "approve")
    require_rehearsed(decision.facts, now)
    return Question(
        text=f"Request {decision.decision_id} waits for an approval. Look at it and decide in your inbox: open the page"
        " in the browser where you use it.",
        request_id=decision.decision_id,
        basis=decision.basis or "",
        expires_at=format_instant(arguments.expires_at) if arguments.expires_at else None,
        page=page_of(inbox, decision.decision_id),
    )


def decide(context: ToolContext, arguments: ApproveOptions, answer: FormAnswer) -> ApprovalData:
    """Record the person's answer, an approval or a denial of what they were shown. Raises BASIS_CHANGED."""
    given = {
        "request_id": arguments.request_id,
        "actor": context.approver,
        "basis": answer.question.basis,
    }
    if answer.approves:
        values = {**given, "comment": answer.reason, "expires_at": arguments.expires_at}
        if (rehearsal := answer.question.rehearsal) is not None:
            values["rehearsal_digest"] = rehearsal[1]
        return deciding.approve(
            context.store,
            validated(ApproveArguments, values),
            assurance="elicited",
            elicitation=answer.elicitation,
        )
    denial = validated(DenyArguments, {**given, "reason": answer.reason or _NO_REASON})
    deciding.deny(context.store, denial, assurance="elicited", elicitation=answer.elicitation)
    with looking_after("The denial is recorded"):
        return views.current_view(context.store, arguments.request_id)[0]


def needs_a_person(context: ToolContext, arguments: ApproveOptions, why: str) -> NexusControlError:
    """The fault APPROVAL_NEEDS_A_PERSON, with the command and the page for the person. Raises INVALID_STATE or
    REHEARSAL_REQUIRED where nobody can approve.
    """
    facts, now = context.store.load(arguments.request_id).facts, context.store.clock.now()
    require_open(facts, now, "approve")
    require_rehearsed(facts, now)
    where = "in the inbox, or from their own terminal" if context.inbox else "from their own terminal"
    return NexusControlError(
        ErrorCode.APPROVAL_NEEDS_A_PERSON,
        f"A person must approve this {where}: {why}",
        {
            "request_id": facts.decision_id,
            "state": views.current_view(context.store, facts.decision_id)[0]["state"],
            **for_a_person(context, facts.decision_id),
        },
    )
