"""The commands that carry out requests: execute, recover, reconcile."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, cast

import typer

from nexus_control.advice import ADVICE
from nexus_control.cli.adapters import (
    adapter_of,
    config_or_default,
    config_to_execute,
    is_bound,
    no_adapters,
    refuse_shadowing,
    require_for_a_router,
    takers,
)
from nexus_control.cli.completing import adapter_ids
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.interrupting import Terminated, interruptible
from nexus_control.cli.naming import chosen, executable, short, short_run, unsettled, whole
from nexus_control.cli.options import FittingId, Router, UsualConfig
from nexus_control.cli.screen import DONE, Mark, Screen
from nexus_control.cli.steps import show_steps, tell_step
from nexus_control.cli.streams import output_is_ours
from nexus_control.configuration import Source
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.execution.config import adapters_of
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import PlanChecker, RouterProtocol
from nexus_control.lifecycle import counted
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import executing, settling
from nexus_control.usecases.allowing import require_open
from nexus_control.usecases.run_answers import ExecuteData, RecoveredRun
from nexus_control.values.results import looking_after

Outcome: TypeAlias = Literal["completed", "failed"]
_TO_APPROVE = "People approve what it gave back. To look at it and approve it:"
_A_WORKER_EXECUTES = (
    "A worker rehearses it where that is required, and executes it once it is approved. Wait for that with wait, and"
    " read what it gave back with run show."
)
_FIND_OUT = "Find out what it did, then record that, completed or failed:"


@shared_options("acting_as", "allowed_signers", "db")
def execute(
    frame: Frame,
    request_id: FittingId = None,
    adapter: Annotated[
        str | None,
        typer.Option(
            metavar="KIND:NAME",
            autocompletion=adapter_ids,
            help="The adapter that carries it out. Default: the one that the request names, else the only one that"
            " takes the plan.",
        ),
    ] = None,
    config: UsualConfig = None,
    router: Router = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Rehearse: change nothing.")] = False,
) -> Answer:
    """Carry out an approved request, once.

    Example: nexus-control execute 0d1c0d39 --dry-run
    """
    with frame.store() as store:
        chosen_id = chosen(store, request_id, executable(dry_run=dry_run))
        require_for_a_router(chosen_id, adapter_of(store, chosen_id))
        require_for_a_router(chosen_id, adapter)
        values = {"request_id": chosen_id, "actor": frame.actor, "dry_run": dry_run or None}
        find = config_or_default if is_bound(store, chosen_id) else config_to_execute
        found = config if router else find(config, frame)
        with (
            output_is_ours(),
            opened_router(
                database=frame.path,
                log_folder=frame.log_folder,
                config=found,
                factory=router,
                on_step=tell_step,
            ) as opened,
            interruptible(),
        ):
            try:
                adapter_id = adapter or _adapter_for(store, values, found, opened)
                refuse_shadowing(store, chosen_id, adapter_id, found)
                checked = door.validated(door.ExecuteArguments, {**values, "adapter_id": adapter_id})
                data = executing.execute(store, checked, opened, rules=frame.rules)
            except NexusControlError as fault:
                if fault.code is ErrorCode.ROUTER_NOT_CONFIGURED and found is None and router is None:
                    raise no_adapters() from None
                if fault.code is ErrorCode.OUTCOME_UNKNOWN:
                    fault.details["command"] = _settling(frame, chosen_id)
                if fault.next == ADVICE["DISPATCH_BY_WORKER"]:
                    fault.next = _A_WORKER_EXECUTES
                    fault.details["command"] = frame.command("wait", argument=chosen_id)
                if not frame.as_json:
                    _show_steps_of(fault)
                raise
            except (KeyboardInterrupt, Terminated):
                _say_what_is_unknown(frame, store, chosen_id)
                raise
        return _executed(frame, store, data, adapter_id, found)


def _executed(
    frame: Frame, store: DecisionStore, data: ExecuteData, adapter_id: str, config: Source | Path | None
) -> Answer:
    whole_id, run_id = data["request_id"], data["run_id"]
    done = f"Request {whole_id} was executed in mode {data['mode']}: run {run_id} completed"
    with looking_after(done):
        short_id, facts = short(store, whole_id), store.load(whole_id).facts
    is_open = facts.phase == "open"
    how = "rehearsed" if is_open else f"executed in mode {data['mode']}"
    steps = counted(data["steps_executed"], "step")

    def show(screen: Screen) -> None:
        request, run = (short_id, short_run(run_id)) if screen.is_terminal else (whole_id, run_id)
        screen.prose(f"Request {request} was {how} by {adapter_id}: run {run}, {steps}.", DONE)
        show_steps(screen, data["results"], truncated=data["truncated"])
        if facts.needs_rehearsal and is_open:
            lack = facts.rehearsal_lack(store.clock.now())
            screen.prose("Nobody can approve by it: it gave back no steps." if lack else _TO_APPROVE)
            if lack is None:
                signed = facts.policy is not None and facts.policy.min_assurance == "signed"
                adapters = config.path if isinstance(config, Source) else config
                screen.verbatim(frame.approving(request, config=adapters, signed=signed))
        if not is_open:
            screen.prose("Its proof:")
            screen.verbatim(frame.command("audit", argument=request))

    return Answer(data, show, done)


def _show_steps_of(fault: NexusControlError) -> None:
    """How far a failed run came, on standard error, before the refusal."""
    results = fault.details.get("results")
    if isinstance(results, list):
        show_steps(Screen(sys.stderr), cast("list[dict[str, object]]", results))


def _adapter_for(
    store: DecisionStore,
    values: Mapping[str, object],
    config: Source | Path | None,
    router: RouterProtocol | None,
) -> str:
    """The adapter that the request is bound to, else the only one of `config` that takes its plan. Raises what keeps
    the decision from being executed by any adapter, ROUTER_NOT_CONFIGURED, PLAN_INVALID, INVALID_ARGUMENT.
    """
    facts = store.load(str(values["request_id"])).facts
    if facts.attached is not None and facts.attached.adapter_id is not None:
        return facts.attached.adapter_id
    checked = door.validated(door.ExecuteArguments, {**values, "adapter_id": "any"})
    require_open(store, checked.request_id, dry_run=checked.dry_run is True)
    if not isinstance(config, Source) or not isinstance(router, PlanChecker):
        raise (
            no_adapters()
            if router is None
            else invalid_argument("--adapter", "is needed: the request names none")
        )
    plan = facts.created.plan if facts.created else None
    return _only_taker(router, config, plan, facts.policy.max_steps if facts.policy else None)


def _only_taker(router: PlanChecker, config: Source, plan: str | None, max_steps: int | None) -> str:
    found, refusals = takers(router, config, plan, max_steps)
    if len(found) == 1:
        return found[0]
    if len(refusals) == 1 and not found:
        raise refusals[0]
    why = f"more than one adapter takes the plan: {', '.join(found)}"
    if not found:
        declared = adapters_of(config).ids()
        why = f"none that is declared takes the plan: {', '.join(declared) or 'the file declares none'}"
    raise invalid_argument("--adapter", f"is needed: the request names none, and {why}")


def _say_what_is_unknown(frame: Frame, store: DecisionStore, request_id: str) -> None:
    """Tell the person who interrupted a run what to do, on standard error, also with `--json`."""
    with suppress(NexusControlError):  # the interruption is raised again in any case
        if store.load(request_id).facts.phase != "outcome_unknown":
            return
        screen = Screen(sys.stderr)
        screen.prose(
            f"The run was interrupted, and its outcome is unknown. {_FIND_OUT}", Mark("Interrupted.", "bad")
        )
        screen.verbatim(_settling(frame, request_id))


def _settling(frame: Frame, request_id: str, run_id: str | None = None) -> str:
    options = {"--outcome": "completed", "--evidence": "HOW YOU KNOW", "--run-id": run_id}
    return frame.command("reconcile", argument=request_id, options=options)


@shared_options("db")
def recover(
    frame: Frame,
    request_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this request.")] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Also if its process cannot be seen, as on another host; needs ID."),
    ] = False,
) -> Answer:
    """Give up executions whose process is gone: their outcome is unknown.

    Example: nexus-control recover
    """
    with frame.store() as store:
        named = None if request_id is None else whole(store, request_id)
        values = {"request_id": named, "force": force}
        data = settling.recover(store, door.validated(door.RecoverArguments, values))
    recovered, runs = data["recovered"], {run["request_id"]: run for run in data["runs"]}

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(recovered), 'execution')} given up, {data['still_held']} still held.")
        for each in recovered:
            screen.blank()
            run = runs.get(each)
            _show_what_is_known(screen, each, run)
            screen.prose(_FIND_OUT)
            screen.verbatim(_settling(frame, each, run["run_id"] if run else None))

    return Answer(data, show, f"Given up: {', '.join(recovered)}" if recovered else None)


def _show_what_is_known(screen: Screen, request_id: str, run: RecoveredRun | None) -> None:
    if run is None or run["run_id"] is None:
        screen.prose(f"Request {request_id}: no run of it is recorded here. What it did is not known.")
        return
    finished = sum(step["status"] != "unknown" for step in run["results"])
    steps = f"{counted(finished, 'step')} of it ended before it was cut off"
    screen.prose(f"Request {request_id} ran as {run['run_id']}; {steps}.")
    show_steps(screen, run["results"])


@shared_options("acting_as", "db")
def reconcile(
    frame: Frame,
    outcome: Annotated[Outcome, typer.Option(help="What really happened.")],
    evidence: Annotated[str, typer.Option(help="How you know; it is recorded.")],
    request_id: FittingId = None,
    run_id: Annotated[str | None, typer.Option(help="The run, if it is known.")] = None,
) -> Answer:
    """Settle an execution whose outcome was unknown.

    Example: nexus-control reconcile 0d1c0d39 --outcome failed --evidence "keys unchanged"
    """
    with frame.store() as store:
        settled = {"outcome": outcome, "evidence": evidence, "run_id": run_id}
        settled_id = chosen(store, request_id, unsettled())
        values = {"request_id": settled_id, "actor": frame.actor, **settled}
        data = settling.reconcile(store, door.validated(door.ReconcileArguments, values))
        done = f"It is recorded that {settled_id} is {data['state']}"
        with looking_after(done):
            named = short(store, settled_id)

    def show(screen: Screen) -> None:
        request = named if screen.is_terminal else settled_id
        screen.prose(f"Request {request} is {data['state']}.", DONE)

    return Answer(data, show, done)
