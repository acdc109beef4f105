"""Enrolling a passkey: the browser makes one, and the page gives the line that the owner adds.

    GET  /enrol         a form with a challenge
    POST /enrol/id      {"person"}: whether this id can be enrolled, before a passkey is made for it
    POST /enrol         {"person", "challenge", "attestation": {...}, "assertion": {...}}, bytes in base64url

A challenge is 32 random bytes. It is spent by the first use, and forgotten after ten minutes, or once a thousand newer
ones were given. The new passkey signs the challenge's text, in another namespace than approvals: else nothing shows
that anybody has its private half. The inbox keeps no passkey and adds none: its owner does, after they compared the
fingerprint with the person by another way.
"""

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.allowed_signers import principal_problem
from nexus_control.evidence.formats.origins import PasskeyOrigins
from nexus_control.evidence.formats.passkeys import (
    Attestation,
    NewPasskey,
    allowed_signers_line,
    enrol,
    require_signed,
)
from nexus_control.evidence.statement import ENROLMENT_NAMESPACE, NAMESPACE
from nexus_control.render.html import Html
from nexus_control.store import DecisionStore
from nexus_control.system.clock import Clock
from nexus_control.system.commands import AsIs, command, shell_line
from nexus_control.usecases.signing import allowed_signers_of
from nexus_control.values.actors import fold_id, id_problem, new_id_problem, typed_problem
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, respond
from nexus_control.web.passkey_form import AssertionBody, passkey_form
from nexus_control.web.posting import octets, posted, refusal, refusal_as_json, status_of, wants_json

PATH: Final = "/enrol"
CHECK_PATH: Final = "/enrol/id"
LASTS: Final = timedelta(minutes=10)
MOST: Final = 1_000
_TITLE: Final = "Enrol a passkey"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationBody:
    """What the browser gave of a new passkey; bytes in base64url."""

    authenticator_data: str
    client_data: str
    public_key: str
    algorithm: int

    def decoded(self) -> Attestation:
        return Attestation(
            authenticator_data=octets("authenticator_data", self.authenticator_data),
            client_data_json=octets("client_data", self.client_data),
            public_key=octets("public_key", self.public_key),
            algorithm=self.algorithm,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IdBody:
    """The body of `POST /enrol/id`."""

    person: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentBody:
    """The body of `POST /enrol`."""

    person: str
    challenge: str
    attestation: AttestationBody
    assertion: AssertionBody


class Challenges:
    """The challenges that were given and not used yet."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._given = dict[str, datetime]()

    def give(self) -> str:
        """A new one, in base64url."""
        while len(self._given) >= MOST:
            del self._given[next(iter(self._given))]
        challenge = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        self._given[challenge] = self._clock.now() + LASTS
        return challenge

    def spend(self, challenge: str) -> bytes:
        """The bytes of a challenge, which counts this once. Raises PAGE_OUTDATED."""
        ends = self._given.pop(challenge, None)
        if ends is None or ends < self._clock.now():
            raise NexusControlError(
                ErrorCode.PAGE_OUTDATED, "The challenge of this enrolment was used before, or is too old"
            )
        return octets("challenge", challenge)


def routes(inbox: Inbox) -> list[Route]:
    """The routes that enrol."""
    challenges = Challenges(inbox.store.clock)

    async def form(request: Request) -> Response:
        visit = Visit.of(request)
        return _form_page(inbox, visit, challenges.give(), visit.person)

    async def check(request: Request) -> Response:
        person = ""
        try:
            person = (await posted(request, IdBody)).person
            _require_id(person)
        except NexusControlError as fault:
            return refused(request, fault, person)
        return Response(status_code=204)

    async def answer(request: Request) -> Response:
        visit, person = Visit.of(request), ""
        try:
            body = await posted(request, EnrolmentBody)
            person = body.person
            new = _enrolled(inbox, body, challenges)
        except NexusControlError as fault:
            return refused(request, fault, person)
        line = allowed_signers_line(person, new.key, NAMESPACE)
        if wants_json(request):
            return JSONResponse({"line": line, "fingerprint": new.key.fingerprint})
        owner = await inbox.call(lambda: _owners_command(inbox.store, person))
        return respond(inbox, visit, "Passkey made", *_made(visit, person, new, line, owner))

    def refused(request: Request, fault: NexusControlError, person: str) -> Response:
        if wants_json(request):
            return refusal_as_json(fault)
        return _form_page(inbox, Visit.of(request), challenges.give(), person, fault)

    return [
        Route(PATH, form),
        Route(CHECK_PATH, check, methods=["POST"]),
        Route(PATH, answer, methods=["POST"]),
    ]


def _require_id(person: str) -> None:
    """Raises INVALID_ARGUMENT, in words for this person, for an id that no line of the allowed signers can have."""
    problem = (
        typed_problem(person) or id_problem(person) or new_id_problem(person) or principal_problem(person)
    )
    if problem:
        raise NexusControlError(
            ErrorCode.INVALID_ARGUMENT,
            f"Your id {problem}",
            {"fields": [{"field": "person", "problem": problem}]},
            "Write the id under which you approve here. The owner of the inbox knows it.",
        )


def _enrolled(inbox: Inbox, body: EnrolmentBody, challenges: Challenges) -> NewPasskey:
    """The new passkey, when everything about it is in order. Raises INVALID_ARGUMENT, PAGE_OUTDATED or
    SIGNATURE_INVALID.
    """
    origins = PasskeyOrigins(inbox.origins)
    _require_id(body.person)
    attestation, assertion = body.attestation.decoded(), body.assertion.decoded()
    challenge = challenges.spend(body.challenge)
    new = enrol(attestation, challenge=challenge, rp_id=inbox.rp_id, origins=origins)
    require_signed(assertion, new.key, body.challenge.encode(), ENROLMENT_NAMESPACE, origins)
    return new


def _owners_command(store: DecisionStore, person: str) -> str:
    """The command with which the owner adds the passkey, from the folder that holds its line."""
    try:
        allowed = allowed_signers_of(store)
    except NexusControlError:
        allowed = None  # the owner meets what is wrong with the file when they run the command
    has_key = allowed is not None and any(
        fold_id(person) in each.principals.wanted for each in allowed.signers
    )
    options = {"--allowed-signers": store.allowed_signers or AsIs("FILE")}
    another = ["--another"] if has_key else []
    ends_options = ["--"] if person.startswith("-") else []
    return shell_line(
        [*command("approver", "add", options=options), *another, *ends_options, person, "passkey.line"]
    )


def _form_page(
    inbox: Inbox, visit: Visit, challenge: str, person: str, fault: NexusControlError | None = None
) -> Response:
    form = passkey_form(
        inbox,
        "enrol",
        visit.link(PATH),
        el("input", type="hidden", name="challenge", value=challenge),
        el("label", "Your id", for_="person"),
        el(
            "input",
            id="person",
            name="person",
            value=person,
            required=True,
            maxlength=256,
            autocomplete="username",
            autocapitalize="none",
            spellcheck="false",
            aria_describedby="person-hint",
        ),
        el(
            "p",
            "The id under which you approve, such as alice@example.com. The inbox's owner knows it.",
            id="person-hint",
            class_="soft",
        ),
        button="Enrol",
        namespace=ENROLMENT_NAMESPACE,
        data_check=visit.link(CHECK_PATH),
    )
    return respond(
        inbox,
        visit,
        _TITLE,
        el("h1", _TITLE),
        *([refusal(fault, "Nothing was enrolled")] if fault else []),
        el(
            "p",
            "A passkey lives in your phone, computer or security key, and signs what you decide here, after your PIN, "
            "finger or face. Your browser asks twice: once to make it, once to use it.",
        ),
        form,
        current=PATH,
        status=200 if fault is None else status_of(fault),
    )


def _made(visit: Visit, person: str, new: NewPasskey, line: str, owners_command: str) -> list[Html]:
    synced = "Its device copies it to your other devices." if new.is_synced else ""
    return [
        el("h1", "Your passkey is made, and does not count yet"),
        el(
            "p",
            "The inbox has kept nothing. Its owner decides whether this passkey counts.",
            f" {synced}".rstrip(),
        ),
        el(
            "ol",
            el(
                "li",
                el("p", "Send the owner of this inbox this line:"),
                el("pre", line, id="line", tabindex="0", aria_label="The line for the owner"),
            ),
            el(
                "li",
                el(
                    "p",
                    "Tell the owner this fingerprint by another way, such as a call, so that they can compare it:",
                ),
                el("p", el("code", new.key.fingerprint, id="fingerprint"), class_="fingerprint"),
            ),
            el(
                "li",
                el(
                    "p",
                    "Where the fingerprints are the same, the owner saves the line in a file, such as passkey.line, "
                    "and adds it to the allowed signers, from the folder of that file, by this command:",
                ),
                el("pre", owners_command, id="command", tabindex="0", aria_label="The command for the owner"),
            ),
            class_="next",
        ),
        el("p", "Then ", el("a", "decide on your requests", href=visit.link("/", **{"as": person})), "."),
    ]
