"""One request, as a reviewer sees it: all that the review at the terminal shows, and nothing of it is cut.

    the goal and where it stands   the request   what runs   rehearsal   policy   approvals   decide
    executions   timeline   integrity

Sections that have nothing to say are left out, except those that a reviewer would miss. `deciding.decide_form` makes
what stands under "Decide".
"""

from collections.abc import Iterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from nexus_control.lifecycle import effect_words
from nexus_control.render.agreed import group_lines, standing_lines
from nexus_control.render.decision import approval_words, imported_text
from nexus_control.render.guarded import is_guarded_call
from nexus_control.render.html import Html, facts, table
from nexus_control.render.policy import agreed, changes, policy_words, template_name, who_can_still
from nexus_control.render.rehearsed import covered_words
from nexus_control.render.steps import step_list
from nexus_control.render.text import View, listed
from nexus_control.render.times import in_utc
from nexus_control.usecases import arguments as door
from nexus_control.usecases import views
from nexus_control.web.deciding import Typed, decide_form, what_was_done
from nexus_control.web.inbox import Inbox, Visit
from nexus_control.web.pages import badge, el, moment, respond
from nexus_control.web.planning import what_runs

_OPEN: Final = ("pending_approval", "approved")
_LONG_GOAL: Final = 140
_TITLE: Final = 60
_NOTHING_TYPED: Final[Typed] = {}


def routes(inbox: Inbox) -> list[Route]:
    """The page of one request."""

    async def review(request: Request) -> Response:
        visit, request_id = Visit.of(request), request.path_params["request_id"]
        return await review_page(inbox, visit, request_id, done=request.query_params.get("done"))

    return [Route("/requests/{request_id}", review)]


async def review_page(
    inbox: Inbox,
    visit: Visit,
    request_id: str,
    *notices: Html,
    done: str | None = None,
    typed: Typed = _NOTHING_TYPED,
    status: int = 200,
) -> Response:
    """The request as it is now. `done` is the verdict that was just given. Raises DECISION_NOT_FOUND."""
    view = await inspected(inbox, request_id)
    goal: str = view["decision"]["goal"] or "A request without a goal"
    is_open = view["lifecycle"]["state"] in _OPEN
    decide = await decide_form(inbox, visit, view, typed) if is_open else Html("")
    said = [*notices, *what_was_done(visit, view, done)]
    return respond(
        inbox, visit, goal[:_TITLE], *said, *_page(visit, view, goal, decide), is_live=True, status=status
    )


async def inspected(inbox: Inbox, request_id: str) -> View:
    """What `inspect` answers. Raises DECISION_NOT_FOUND."""
    arguments = door.validated(door.InspectArguments, {"decision_id": request_id, "render": False})
    return await inbox.call(lambda: views.inspect(inbox.store, arguments, inbox.router))


def _page(visit: Visit, view: View, goal: str, decide: Html) -> Iterator[Html]:
    decision, state = view["decision"], view["lifecycle"]["state"]
    is_guarded = is_guarded_call(decision, view["will_run"])
    yield _standing(visit, view, goal)
    yield part("Request", facts(_request(decision)))
    yield part("What runs", *what_runs(decision, view["will_run"], is_guarded=is_guarded))
    if not is_guarded and (rehearsal := list(_rehearsal(view))):
        yield part("Rehearsal", *rehearsal)
    yield part("Policy", *_policy(view, for_a_router=not is_guarded))
    yield part("Approvals", *_approvals(view))
    if state in _OPEN:
        yield part("Decide", decide)
    runs = [each for each in view["execution"] if not each["rehearsal"]]
    if runs or view.get("cancel"):
        yield part("Execution", *_executions(runs, view.get("cancel")))
    yield part("Timeline", _timeline(view))
    yield part("Integrity", facts(_integrity(view), kind="digests"), _report_link(visit, decision))


def part(heading: str, *children: object) -> Html:
    """A section, which its heading names."""
    name = heading.lower().replace(" ", "-")
    return el("section", el("h2", heading, id=name), *children, aria_labelledby=name)


def _standing(visit: Visit, view: View, goal: str) -> Html:
    """The goal, and what keeps it from being executed."""
    state, approval = view["lifecycle"]["state"], view["approval"]
    first, *others = standing_lines(view["lifecycle"]["blocking_reasons"])
    decide = el("a", "Go to the decision", href="#decide", class_="button quiet")
    return el(
        "header",
        el("p", badge(state), f" {_count(approval)}"),
        el("h1", goal, class_="long" if len(goal) > _LONG_GOAL else None),
        el("p", first),
        el("ul", *(el("li", each) for each in others)) if others else Html(""),
        el("p", decide) if state in _OPEN else Html(""),
        class_=_KINDS.get(state, "short"),
    )


def _count(approval: View) -> str:
    return agreed(approval["current"], approval["required"], approval.get("groups_missing"))


_KINDS: Final = {"approved": "pass", "completed": "pass", "failed": "fail", "denied": "fail"}


def _request(decision: View) -> Iterator[tuple[str, object]]:
    yield "Asked for by", who(decision["requester"])
    yield "Asked for at", moment(decision["created_at"])
    yield "Mode", _MODES.get(decision["requested_mode"], decision["requested_mode"])
    yield "Ends", moment(decision["expires_at"]) if decision["expires_at"] else "does not expire"
    yield "Labels", listed(decision["labels"]) if decision["labels"] else None
    if metadata := decision.get("metadata"):
        yield "Metadata", listed(f"{name}={text}" for name, text in metadata.items())
    yield "Takes the place of", decision.get("supersedes")
    if imported := decision.get("imported"):
        yield "Imported", f"NOT asked for here: {imported_text(imported)}"
    if ending := decision.get("ending"):
        yield "Ended by", f"{who(ending['actor'])}: {ending['reason']}"
    yield "Request", el("code", decision["decision_id"])


_MODES: Final = {"apply": "apply: it changes things", "dry_run": "dry_run: it only tries"}


def _rehearsal(view: View) -> Iterator[Html]:
    rehearsals = [each for each in view["execution"] if each["rehearsal"]]
    required: View | None = view["decision"].get("rehearsal")
    if not rehearsals:
        if view["decision"]["requested_mode"] == "apply":
            yield el("p", "It was not rehearsed.")
        return
    last = rehearsals[-1]
    yield el(
        "p",
        f"The last rehearsal {last['outcome'].replace('_', ' ')}, by {last['adapter_id']}, ",
        moment(last["completed_at"] or last["requested_at"]),
        ".",
    )
    if required is not None:
        yield el("p", covered_words(required))
    yield from _outcome(last)


def _outcome(execution: View) -> Iterator[Html]:
    """How an execution ended, and what its steps gave back."""
    if execution["error_code"]:
        effect = f" ({effect_words(execution['effect'])})" if execution["effect"] else ""
        yield el("p", f"{execution['error_code']}: {execution['error_message']}{effect}", class_="fail")
    if execution["results"] is None:
        yield el("p", "What its steps gave back is not known here.", class_="note")
    else:
        yield step_list(execution["results"], whole=True)
    if execution["truncated"]:
        yield el("p", "The router's answer was longer: this is a part of it.", class_="note")


def _policy(view: View, *, for_a_router: bool) -> Iterator[Html]:
    if view["policy"] is None:
        yield el("p", "There is no policy.")
        return
    yield el("p", policy_words(view["policy"], for_a_router=for_a_router), ".")
    if template := view["template"]:
        changed = list(changes(template))
        yield facts(
            [("Template", template_name(template)), ("Changed", "" if changed else "nothing changed")]
        )
        if changed:
            yield el("p", "Overridden for this request:", class_="odd")
            yield el("ul", *(el("li", each) for each in changed), class_="odd")
    else:
        yield el("p", "It was made for this request, without a template.", class_="note")
    yield facts([("Rules", view["decision"].get("rules_digest"))], kind="digests")


def _approvals(view: View) -> Iterator[Html]:
    approval = view["approval"]
    rows = [
        el(
            "li",
            el("span", "✓ " if each["active"] else "✗ ", class_="pass" if each["active"] else "fail"),
            el("span", who(each["actor"]), class_="name"),
            f": {approval_words(_in_utc(each))}",
        )
        for each in approval["approvals"]
    ]
    yield el("p", f"{_count(approval)}.")
    if rows:
        yield el("ul", *rows, class_="people")
    if view["lifecycle"]["state"] == "pending_approval" and view["policy"] is not None:
        yield el("p", f"Can still approve: {who_can_still(view)}.")
    if groups := list(group_lines(view)):
        yield el("ul", *(el("li", each) for each in groups), class_="groups")


def _in_utc(approval: View) -> View:
    """The approval with its instants to the second, as elsewhere on the page."""
    named = ("granted_at", "expires_at", "revoked_at")
    return {**approval, **{name: f"{in_utc(approval[name])} UTC" for name in named if approval[name]}}


def _executions(runs: list[View], cancel: View | None) -> Iterator[Html]:
    for each in runs:
        kind = "Dry run" if each["dry_run"] else "Apply"
        run = f", run {each['run_id']}" if each["run_id"] else ""
        yield el(
            "p",
            f"{kind} {each['outcome'].replace('_', ' ')}, by {each['adapter_id']}{run}, ",
            moment(each["completed_at"] or each["requested_at"]),
            ".",
        )
        yield from _outcome(each)
    if cancel:
        yield el(
            "p", f"Cancel asked for by {who(cancel['actor'])}: {cancel['reason']} ", moment(cancel["ts"])
        )


def _timeline(view: View) -> Html:
    rows = [(moment(each["ts"]), each["summary"]) for each in view["timeline"]]
    events = table(["Time (UTC)", "What happened"], rows, whole=["Time (UTC)"])
    if not view["lifecycle"]["timeline_truncated"]:
        return events
    total = view["lifecycle"]["timeline_total"]
    return el("div", el("p", f"The last {len(rows)} of {total} entries.", class_="note"), events)


def _integrity(view: View) -> Iterator[tuple[str, object]]:
    decision = view["decision"]
    yield "Basis", view["basis"]
    yield "Chain head", view["head"]
    yield "Template", f"sha256:{view['template']['digest']}" if view["template"] else None
    yield "Adapter", decision["adapter_digest"]


def _report_link(visit: Visit, decision: View) -> Html:
    path = f"/requests/{decision['decision_id']}/report"
    return el("p", el("a", "The report, with all checks", href=visit.link(path)))


def who(actor: View | None) -> str:
    """An actor by name; systems with their type."""
    if actor is None:
        return "nobody"
    return actor["id"] if actor["type"] == "human" else f"{actor['type']}:{actor['id']}"
