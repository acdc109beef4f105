"""The command `request`. It also says what surprises people later, and prints the command that approves.

What it says: a dry run changes nothing, the requester may be an approver, nobody here can act as some approver, and
nothing has checked the plan.
"""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.approvals import awaited
from nexus_control.cli.adapters import config_or_default, readable, takers
from nexus_control.cli.completing import request_ids
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.naming import short, whole
from nexus_control.cli.options import (
    Approvers,
    BoundAdapter,
    Capabilities,
    Labels,
    MaxSteps,
    MinApprovals,
    MinAssurance,
    RequesterMayApprove,
    RequiredFrom,
    RequireRehearsal,
    Template,
    UsualConfig,
    rehearsal_of,
    slots_of,
)
from nexus_control.cli.plan_files import read_plan
from nexus_control.cli.screen import DONE, NOTE, Screen
from nexus_control.cli.times import Times
from nexus_control.configuration import Source
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.statement import NAMESPACE
from nexus_control.execution.opening import opened_router
from nexus_control.execution.plan import parse_plan
from nexus_control.execution.router import PlanChecker
from nexus_control.policy import Policy
from nexus_control.render.policy import agreed, slot_lines
from nexus_control.render.text import listed
from nexus_control.storage import IN_MEMORY
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import requesting
from nexus_control.usecases.agreement import approver_groups
from nexus_control.usecases.answers import RequestData
from nexus_control.usecases.signing import allowed_signers_of
from nexus_control.values.actors import Actor, fold_id
from nexus_control.values.instants import format_instant
from nexus_control.values.payloads import Dispatch, Mode
from nexus_control.values.results import looking_after

Goal = Annotated[str, typer.Argument(metavar="GOAL", help="What is to be achieved.")]
ChosenMode = Annotated[
    Mode | None, typer.Option(help="apply changes things, dry_run changes nothing. Default: dry_run.")
]
PlanText = Annotated[str | None, typer.Option(metavar="TEXT", help="The plan: a text, or steps in JSON.")]
PlanFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The plan from a file, or - for standard input: steps in YAML (.yaml, .yml) or JSON (.json). Another"
        " file is steps if it begins with `[` or `- step_id:`, and otherwise a text.",
    ),
]
ExpiresIn = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Until when it can be executed: 4h, 90m, 2d or 1h30m from now."),
]
ExpiresAt = Annotated[
    str | None, typer.Option(metavar="INSTANT", help="The same as an instant: 2026-12-24T18:00:00Z.")
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        "--idempotency-key",
        metavar="KEY",
        help="Asked again with the same key, it is the same request.",
    ),
]
References = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="A reference of yours; may be repeated.")
]
ByWorker = Annotated[
    Dispatch | None,
    typer.Option(help="worker: a worker executes it, and nobody else; needs --adapter. Default: anybody."),
]
Superseded = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="An older request of yours, which is withdrawn for this one.",
        autocompletion=request_ids,
    ),
]


@shared_options("acting_as", "allowed_signers", "db")
def request(
    frame: Frame,
    goal: Goal,
    mode: ChosenMode = None,
    plan: PlanText = None,
    plan_file: PlanFile = None,
    adapter: BoundAdapter = None,
    template: Template = None,
    min_approvals: MinApprovals = None,
    approver: Approvers = None,
    required_from: RequiredFrom = None,
    requester_may_approve: RequesterMayApprove = None,
    min_assurance: MinAssurance = None,
    require_rehearsal: RequireRehearsal = None,
    require_capability: Capabilities = None,
    max_steps: MaxSteps = None,
    label: Labels = None,
    expires_in: ExpiresIn = None,
    expires_at: ExpiresAt = None,
    idempotency_key: Key = None,
    metadata: References = None,
    supersedes: Superseded = None,
    dispatch: ByWorker = None,
    config: UsualConfig = None,
) -> Answer:
    """Ask for an execution.

    Example: nexus-control request "New keys" --mode apply --plan-file plan.yaml
    """
    values: dict[str, object] = {
        "goal": goal,
        "actor": frame.actor,
        "mode": mode,
        "plan": _plan(plan, plan_file),
        "template_name": template,
        "min_approvals": min_approvals,
        "approvers": approver or None,
        "required_from": slots_of(required_from),
        "allow_requester_approval": requester_may_approve,
        "labels": label or None,
        "max_steps": max_steps,
        "min_assurance": min_assurance,
        "require_rehearsal": rehearsal_of(require_rehearsal),
        "require_adapter_capabilities": require_capability or None,
        "expires_at": expires_at,
        "expires_in": expires_in,
        "adapter_id": adapter,
        "idempotency_key": idempotency_key,
        "metadata": _pairs(metadata),
        "supersedes": supersedes,
        "dispatch": dispatch,
    }
    given = {name: value for name, value in values.items() if value is not None}
    arguments = door.validated(door.RequestArguments, given)  # before a store is made
    with frame.store(makes=True) as store:
        if supersedes:
            arguments = arguments.model_copy(update={"supersedes": whole(store, supersedes)})
        return _requested(frame, store, arguments, config_or_default(config, frame))


def _requested(
    frame: Frame, store: DecisionStore, arguments: door.RequestArguments, found: Source | None
) -> Answer:
    """Make the request. `found` is the adapters' file, if there is one."""
    # A broken file stands in the way of a request that names an adapter of it, and of no other.
    config = found if arguments.adapter_id else readable(found)
    with opened_router(database=IN_MEMORY, config=config, factory=None) as router:
        checker = router if isinstance(router, PlanChecker) else None
        arguments, note = _bound(arguments, checker, config)
        data = requesting.request(store, arguments, checker, frame.rules)
    done = f"Request {data['request_id']} was made" if data["created"] else None
    with looking_after(done or f"Request {data['request_id']} was made before"):
        named = short(store, data["request_id"])
        decision = store.load(data["request_id"])
    policy, ends = decision.facts.policy or Policy(), decision.facts.expires()
    until = Times(store.clock.now()).moment(format_instant(ends)) if ends else None
    notes = [
        *_notes_on_mode(arguments),
        *_notes_on_approvers(store, policy, arguments.actor),
        *_notes_on_rules(arguments, data),
        *([] if note is None else [note]),
        *(f"{warning}." for warning in data["warnings"]),
    ]

    def show(screen: Screen) -> None:
        request_id = named if screen.is_terminal else data["request_id"]
        members = slot_lines(awaited(policy, approver_groups(decision.facts), arguments.actor))
        _show(screen, data, request_id, policy, arguments.actor, until, list(members))
        for note in notes:
            screen.prose(note, NOTE)
        if decision.facts.rehearsal_lack(store.clock.now()):
            screen.prose("It has to be rehearsed before anybody can approve; that needs no approval:")
            screen.verbatim(frame.executing(request_id, config=config and config.path, rehearses=True))
        screen.prose("To look at it and approve it:")
        signed = policy.min_assurance == "signed"
        screen.verbatim(frame.approving(request_id, config=config and config.path, signed=signed))

    return Answer(data, show, done)


def _show(
    screen: Screen,
    data: RequestData,
    request_id: str,
    policy: Policy,
    requester: Actor,
    until: str | None,
    members: list[str],
) -> None:
    count = agreed(data["current_approvals"], data["required_approvals"], data.get("groups_missing"))
    before = "" if data["created"] else " It was asked for before, with this key."
    screen.prose(f"{request_id} is {data['state']}: {count}.{before}", DONE)
    who = listed(policy.approvers) if policy.approvers else "anyone"
    among = f", among them {'; '.join(members)}" if members else ""
    screen.prose(f"May approve: {who}{among}.{f' It ends {until}.' if until else ''}")
    if policy.allow_requester_approval and policy.is_eligible(requester):
        screen.prose("You may approve it yourself: --no-requester-may-approve forbids that.")


def _notes_on_mode(arguments: door.RequestArguments) -> Iterator[str]:
    if "mode" not in arguments.model_fields_set:
        yield (
            "This is a dry run. Executing it changes nothing, and then the request has ended. For the real thing, ask"
            " with --mode apply: such a request can be rehearsed too."
        )


def _notes_on_rules(arguments: door.RequestArguments, data: RequestData) -> Iterator[str]:
    if "rules_digest" in data and "template_name" in data and arguments.template_name is None:
        yield f"The rules gave it the template {data['template_name']}."


def _notes_on_approvers(store: DecisionStore, policy: Policy, requester: Actor) -> Iterator[str]:
    """The approvers that are neither a login of this machine nor a trusted signer."""
    signers, now = allowed_signers_of(store), store.clock.now()
    strange = [
        each
        for each in policy.approvers
        if fold_id(each) != requester.key
        and not _is_login(each)
        and (signers is None or signers.refusal_of_every_key(each, NAMESPACE, now))
    ]
    if not strange:
        return
    logins = f"LOGIN@{os.uname().nodename}"
    who = f"{listed(strange)}: not a login of this machine ({logins}), and not in the allowed signers"
    if policy.accepts_assurance("declared"):
        yield f"{who}. Approving as such an id takes --as, and nothing verifies it."
    else:
        yield f"{who}. So nobody here can approve as such an id under this policy."


def _is_login(approver: str) -> bool:
    name, _, host = approver.rpartition("@")
    if fold_id(host) != fold_id(os.uname().nodename):
        return False
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _bound(
    arguments: door.RequestArguments, checker: PlanChecker | None, config: Source | None
) -> tuple[door.RequestArguments, str | None]:
    """The request, bound to the only adapter of `config` that takes its plan if it names none; and what to say about
    that. A request with an idempotency key stays as it is: it must be the same from every folder.
    """
    if arguments.plan is None:
        return arguments, None
    if checker is None or config is None:
        why = "no adapter is named (--adapter)"
        if arguments.adapter_id is not None:
            why = "no adapters file was found (--config)"
        return arguments, _unchecked(why)
    if arguments.adapter_id is not None:
        return arguments, None
    if arguments.idempotency_key is None and _is_steps(arguments.plan):
        found, refusals = takers(checker, config, arguments.plan, None)
        if len(found) == 1:
            bound = arguments.model_copy(update={"adapter_id": found[0]})
            return bound, f"It is bound to {found[0]}, the only adapter that takes the plan."
        if not found:
            why = f": {refusals[0].message}" if len(refusals) == 1 else ""
            return arguments, f"No adapter of {config.path} takes the plan{why}."
    return arguments, _unchecked("no adapter is named (--adapter)")


def _unchecked(why: str) -> str:
    return f"Nothing has checked the plan: {why}. Whether it can run shows only when it is executed."


def _is_steps(plan: str) -> bool:
    try:
        parse_plan(plan)
    except NexusControlError:
        return False
    return True


def _plan(text: str | None, file: Path | None) -> str | None:
    if text is not None and file is not None:
        raise invalid_argument("--plan", "and --plan-file exclude each other")
    return text if file is None else read_plan(file)


def _pairs(given: list[str] | None) -> dict[str, str] | None:
    pairs = dict[str, str]()
    for each in given or ():
        name, equals, value = each.partition("=")
        if not equals or not name:
            raise invalid_argument("--metadata", "must be NAME=VALUE")
        if name in pairs:
            raise invalid_argument("--metadata", f"names {name} twice")
        pairs[name] = value
    return pairs or None
