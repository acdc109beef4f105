"""What one person can approve here: with which keys, under which templates, and what waits for them now."""

from collections.abc import Iterator, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.errors import NexusControlError
from nexus_control.evidence.formats.allowed_signers import AllowedSigner
from nexus_control.evidence.statement import NAMESPACE
from nexus_control.render.html import Html, table
from nexus_control.render.policy import policy_words
from nexus_control.render.text import listed
from nexus_control.render.times import in_utc
from nexus_control.store import DecisionStore, TemplateStore
from nexus_control.template import Template
from nexus_control.usecases.list_arguments import ListArguments
from nexus_control.usecases.listing import list_requests
from nexus_control.usecases.passkeys import why_not
from nexus_control.usecases.signing import allowed_signers_of
from nexus_control.values.actors import fold_id
from nexus_control.values.instants import format_instant
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, respond
from nexus_control.web.person import person_form
from nexus_control.web.reviewing import part
from nexus_control.web.waiting import LINES

_MOST_TEMPLATES: Final = 100


def routes(inbox: Inbox) -> list[Route]:
    """The page about the reader."""

    async def standing(request: Request) -> Response:
        visit = Visit.of(request)
        content = await inbox.call(lambda: list(_standing(inbox, visit))) if visit.person else []
        heading = f"What {visit.person} can approve" if visit.person else "What can I approve?"
        return respond(
            inbox,
            visit,
            heading,
            el("h1", heading),
            person_form(visit, "/me", "Show what I can approve"),
            *content,
            current="/me",
        )

    return [Route("/me", standing)]


def _standing(inbox: Inbox, visit: Visit) -> Iterator[Html]:
    found = list_requests(inbox.store, ListArguments(limit=LINES, awaiting=visit.person))
    count = f"{found['count']}{' or more' if found['cursor'] else ''}"
    yield part("Waiting now", el("p", el("a", f"Requests that wait for you: {count}", href=visit.link("/"))))
    enrol = el("p", el("a", "Enrol a passkey", href=visit.link("/enrol")))
    yield part("Your keys", *_keys(inbox, visit.person), enrol)
    if groups := list(_groups(inbox.store, visit.person)):
        yield part("Your groups", *groups)
    yield part("Templates", *_templates(inbox.store, visit.person))


def _groups(store: DecisionStore, person: str) -> Iterator[Html]:
    """The groups of which this person is a member, which new requests may name."""
    try:
        own = [(name, ids) for name, ids in store.groups.items() if fold_id(person) in map(fold_id, ids)]
    except NexusControlError as fault:
        yield el("p", f"{fault.message}. No request can name a group.", class_="odd")
        return
    if own:
        yield table(["Group", "Its members"], [(name, listed(ids)) for name, ids in own])


def _keys(inbox: Inbox, person: str) -> Iterator[Html]:
    try:
        allowed = allowed_signers_of(inbox.store)
    except NexusControlError as fault:
        yield el("p", f"{fault.message}. No signed approval counts.", class_="odd")
        return
    own = [each for each in (allowed.signers if allowed else ()) if each.principals.match(fold_id(person))]
    signing = [each for each in own if each.allows(NAMESPACE)]
    if not signing:
        yield el("p", "No key of yours is trusted here yet, so a signature of yours does not count.")
        return
    rows = [(each.key.fingerprint, _kind(each), _validity(inbox, each)) for each in signing]
    yield table(["Fingerprint", "Kind", "Counts here now"], rows)


def _kind(signer: AllowedSigner) -> str:
    application = signer.key.application
    if application is None:
        return signer.key.type
    return "security key" if application.startswith("ssh:") else f"passkey of {application}"


def _validity(inbox: Inbox, signer: AllowedSigner) -> str:
    if problem := why_not(inbox.store, signer, inbox.rp_id):
        return f"no: it {problem}"
    until = signer.valid_before
    return "yes" if until is None else f"yes, until {in_utc(format_instant(until))} UTC"


def _templates(store: DecisionStore, person: str) -> Iterator[Html]:
    every = TemplateStore(store).list_templates(limit=_MOST_TEMPLATES)
    fitting = [each for each in every if _may_approve(each.policy.approvers, person)]
    if not fitting:
        yield el("p", "No template lets you approve." if every else "There are no templates here.")
        return
    yield table(["Template", "Its policy"], list(map(_row, fitting)))


def _may_approve(approvers: Sequence[str], person: str) -> bool:
    return not approvers or fold_id(person) in map(fold_id, approvers)


def _row(template: Template) -> tuple[str, str]:
    return template.name, policy_words(template.policy.to_dict())
