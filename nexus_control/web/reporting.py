"""The report of a decision: the page that `nexus-control report ID` writes, in the frame of the inbox."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.canonical_json import MAX_TEXT_BYTES, canonical_json
from nexus_control.errors import NexusControlError
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.evidence.reading import Reading, read_evidence
from nexus_control.evidence.trust import Trust
from nexus_control.render.report import report_parts, report_title
from nexus_control.store import DecisionStore
from nexus_control.system.whole_files import read_regular
from nexus_control.usecases import arguments as door
from nexus_control.usecases import views
from nexus_control.usecases.answers import InspectData
from nexus_control.usecases.exporting import document_of
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import el, respond


def routes(inbox: Inbox) -> list[Route]:
    """The page of one report."""

    async def report(request: Request) -> Response:
        visit, request_id = Visit.of(request), request.path_params["request_id"]
        evidence, view, problem = await inbox.call(lambda: _evidence(inbox.store, request_id))
        back = el("p", el("a", "Back to the request", href=visit.link(f"/requests/{request_id}")))
        notice = [el("p", f"{problem} So no signature is checked.", class_="odd")] if problem else []
        title = report_title(evidence, view)
        return respond(inbox, visit, title, back, *notice, *report_parts(evidence, view))

    return [Route("/requests/{request_id}/report", report)]


def _evidence(store: DecisionStore, request_id: str) -> tuple[Reading, InspectData, str | None]:
    """The document that would be exported of this decision, checked, and the store's own view; and why the allowed
    signers cannot be read, if they cannot.
    """
    view = views.inspect(
        store, door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    )
    document = canonical_json(document_of(store, view)).encode()
    signers, problem = None, None
    if store.allowed_signers is not None:
        try:
            signers = read_regular(store.allowed_signers, MAX_TEXT_BYTES)
            parse_allowed_signers(signers)
        except OSError as error:
            signers, problem = None, f"The allowed signers cannot be read: {error.strerror}."
        except NexusControlError as fault:
            signers, problem = None, f"{fault.message}."
    trust = Trust(allowed_signers=signers, passkey_origins=store.passkey_origins.origins)
    return read_evidence(document, trust=trust), view, problem
