"""Shows where a request stands: who asked, who agreed, who still can, what its run gave back, and what to type next."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nexus_control.advice import advice_for, after_failure
from nexus_control.approvals import AwaitedData
from nexus_control.cli.frame import Frame
from nexus_control.cli.naming import short
from nexus_control.cli.screen import Mark, Screen, mark_of_state, one_line
from nexus_control.cli.steps import show_steps, show_text
from nexus_control.cli.times import Times
from nexus_control.lifecycle import counted, display_name, effect_words
from nexus_control.render.guarded import how_to_go_on, output_of, who_runs
from nexus_control.render.policy import are_all_of_groups, slot_lines
from nexus_control.render.results import pretty
from nexus_control.render.text import listed
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import resulting, settling
from nexus_control.usecases.answers import (
    ApprovalLine,
    BlockingReasonData,
    ExecutionLine,
    ImportLine,
    StatusData,
)
from nexus_control.usecases.run_answers import RehearsalLine
from nexus_control.values.actors import Actor, ActorData
from nexus_control.values.groups import of_each_group
from nexus_control.values.guarded import is_guarded
from nexus_control.values.instants import parse_instant
from nexus_control.values.payloads import Assurance

_TOLD: Final = {
    "ALREADY_EXECUTED", "EXECUTION_FAILED", "DENIED", "WITHDRAWN", "EXPIRED", "EXECUTING", "OUTCOME_UNKNOWN",
    "MISSING_APPROVALS",
}  # fmt: skip
"""The reasons that other lines tell of: the state, the approvals, the run."""
_INACTIVE: Final = {
    "expired": "it has run out",
    "not_accepted": "the policy does not accept it",
    "stale": "it is of another rehearsal than the last",
    "imported": "it was imported, as evidence",
    "not_trusted": "nobody trusted here signed it, or a passkey did on a page that is not allowed here",
    "request_expired": "the request has expired",
}
_KNOWN_BY: Final[dict[Assurance, str]] = {
    "declared": "only declared",
    "elicited": "asked by the agent's host",
    "local": "by login, at a terminal",
    "signed": "signed",
}
"""How it is known who approved."""
_OUTCOMES: Final = {
    "running": "under way since",
    "completed": "completed",
    "failed": "failed",
    "outcome_unknown": "outcome unknown",
}


def standing(
    frame: Frame, store: DecisionStore, data: StatusData, adapters: Path | None
) -> Callable[[Screen], None]:
    """Shows the answer of `status` to people. `adapters` is the file whose adapters the next command names."""
    times = Times(parse_instant(data["as_of"]), utc=frame.utc)
    named = short(store, data["request_id"])
    fields = list(_fields(data, times))
    goes_on = data["state"] == "executing" and settling.is_seen_at_work(store, data["request_id"])
    words, commands = _next(frame, named, data, adapters, goes_on=goes_on)
    given_back = _given_back(store, data)

    def show(screen: Screen) -> None:
        screen.prose(one_line(data["goal"] or ""), _mark(data))
        screen.fields(fields)
        _show_results(screen, data["executions"], goes_on=goes_on)
        if given_back is not None:
            screen.heading("What the run gave back")
            show_text(screen, given_back, whole=False)
        screen.blank()
        screen.prose(words)
        for each in commands:
            screen.verbatim(each)

    return show


def _mark(data: StatusData) -> Mark:
    state = data["state"]
    if state == "approved" and data["blocking_reasons"]:
        return Mark("approved, not executable", "stopped")
    return mark_of_state(state)


def _fields(data: StatusData, times: Times) -> Iterator[tuple[str, str]]:
    yield "request", data["request_id"]
    by = f"by {_who(data['requester'])}, " if data["requester"] else ""
    yield "asked", f"{by}{times.moment(data['created_at'])}"
    adapter = f", by {data['adapter_id']}" if data["adapter_id"] else ""
    if data["requested_mode"]:
        yield "mode", f"{data['requested_mode']}{adapter}"
    if data["expires_at"]:
        yield "expired" if data["state"] == "expired" else "until", times.moment(data["expires_at"])
    yield from _extras(data, times)
    yield from _agreement(data, times)
    if ending := data.get("ending"):
        yield data["state"], f"by {_who(ending['actor'])}, {times.moment(ending['ts'])}: {ending['reason']}"
    for reason in data["blocking_reasons"]:
        if reason["code"] not in _TOLD:
            yield "blocked", reason["message"]
    for execution in data["executions"]:
        yield _kind(execution), ", ".join(_ran(execution, times))
        is_settled = "reconciled" in data and execution is data["executions"][-1]
        if execution["error_code"]:
            yield "", "; ".join(_error(execution, is_settled=is_settled))
    if cancel := data.get("cancel"):
        yield "cancel", f"asked by {_who(cancel['actor'])}, {times.moment(cancel['ts'])}: {cancel['reason']}"
    if reconciled := data.get("reconciled"):
        yield (
            "",
            f"as {_who(reconciled['actor'])} settled it, {times.moment(reconciled['ts'])}: {reconciled['evidence']}",
        )


def _extras(data: StatusData, times: Times) -> Iterator[tuple[str, str]]:
    """What few requests have."""
    if data["labels"]:
        yield "labels", listed(data["labels"])
    if "template_name" in data:
        yield "template", data["template_name"]
    if "rules_digest" in data:
        yield "rules", data["rules_digest"]
    if "dispatch" in data:
        yield "dispatch", f"by a {data['dispatch']}, and nobody else"
    if "idempotency_key" in data:
        yield "key", data["idempotency_key"]
    for name, value in data.get("metadata", {}).items():
        yield "metadata", f"{name} = {value}"
    if "supersedes" in data:
        yield "supersedes", data["supersedes"]
    if imported := data.get("imported"):
        yield "imported", ", ".join(_import(imported, times))
    if "late_outcome" in data:
        yield "came late", pretty(data["late_outcome"])


def _import(imported: ImportLine, times: Times) -> Iterator[str]:
    by = f" by {_who(imported['by'])}" if imported["by"] else ""
    yield f"{counted(imported['events'], 'event')}{by}"
    yield times.moment(imported["at"])
    if imported["copied_from"]:
        yield f"a copy of {imported['copied_from']}"
    if imported["rolled_back"]:
        yield "over a history that it does not extend"
    if imported["final_rehearsal"]:
        yield "ended by a dry run as 1.0 let it"


def _agreement(data: StatusData, times: Times) -> Iterator[tuple[str, str]]:
    """The approvals: how many count, each of them, and how many are missing from whom."""
    if data["policy"] is None:
        return
    if "rehearsal" in data:
        yield "rehearsal", _rehearsal(data["rehearsal"], times)
    of_groups = of_each_group(data.get("groups_missing"))
    yield "approvals", f"{data['active_approvals']} of {data['required_approvals']}{of_groups}"
    for approval in data["approvals"]:
        yield "", _approval(approval, times)
    if awaited := data["awaited"]:
        yield "missing", _missing(awaited)
        yield from (("", line) for line in slot_lines(awaited))


def _rehearsal(rehearsal: RehearsalLine | None, times: Times) -> str:
    """The rehearsal that the policy requires."""
    if rehearsal is None:
        return "none yet; nobody can approve before it"
    said = f"{rehearsal['status'].replace('_', ' ')} {times.moment(rehearsal['at'])}"
    return said if rehearsal["is_fresh"] else f"{said}; nobody can approve by it"


def _missing(awaited: AwaitedData) -> str:
    said, eligible = counted(awaited["missing"], "approval"), awaited["eligible"]
    if are_all_of_groups(awaited):
        return said
    if eligible is not None and len(eligible) < awaited["missing"]:
        return f"{said}, but too few of the approvers can still approve: {listed(eligible)}"
    anyone = "anyone" if awaited["requester_may_approve"] else "anyone but the requester"
    signed = ", with a signature" if awaited["min_assurance"] == "signed" else ""
    return f"{said}, from {anyone if eligible is None else ' or '.join(eligible)}{signed}"


def _approval(approval: ApprovalLine, times: Times) -> str:
    known = _KNOWN_BY[approval["assurance"]]
    said = f"{_who(approval['actor'])} ({known}), {times.moment(approval['granted_at'])}"
    if approval["comment"]:
        said += f": {approval['comment']}"
    if approval["revoked_at"]:
        reason = f": {approval['revoke_reason']}" if approval["revoke_reason"] else ""
        return f"✗ {said}; revoked {times.moment(approval['revoked_at'])}{reason}"
    if approval["inactive_because"]:
        return f"✗ {said}; does not count: {_INACTIVE.get(approval['inactive_because'], '')}"
    if approval["expires_at"]:
        said += f"; until {times.moment(approval['expires_at'])}"
    return f"✓ {said}"


def _kind(execution: ExecutionLine) -> str:
    return "rehearsal" if execution["rehearsal"] else "dry run" if execution["dry_run"] else "run"


def _ran(execution: ExecutionLine, times: Times) -> Iterator[str]:
    at = execution["completed_at"] or execution["started_at"] or execution["requested_at"]
    yield f"{_OUTCOMES[execution['outcome']]} {times.moment(at)}"
    yield f"by {'its caller' if is_guarded(execution['adapter_id']) else execution['adapter_id']}"
    if is_guarded(execution["adapter_id"]):
        return
    if execution["steps_executed"] is not None:
        yield counted(execution["steps_executed"], "step")
    if execution["run_id"]:
        yield f"as {execution['run_id']}"


def _error(execution: ExecutionLine, *, is_settled: bool) -> Iterator[str]:
    yield f"{execution['error_code']}: {execution['error_message']}"
    is_known = not is_settled or execution["effect"] != "unknown"
    if execution["outcome"] == "failed" and execution["effect"] and is_known:
        yield effect_words(execution["effect"])


def _show_results(screen: Screen, executions: list[ExecutionLine], *, goes_on: bool) -> None:
    if not executions or not executions[-1]["results"]:
        return
    last = executions[-1]
    screen.heading(f"Steps of the {_kind(last)}")
    show_steps(screen, last["results"] or [], truncated=last["truncated"], goes_on=goes_on)


def _given_back(store: DecisionStore, data: StatusData) -> str | None:
    """What the caller of a guarded call recorded as its output."""
    last = data["executions"][-1] if data["executions"] else None
    if last is None or not is_guarded(last["adapter_id"]) or last["outcome"] not in ("completed", "failed"):
        return None
    values = {"request_id": data["request_id"], "execution": last["seq"]}
    return output_of(resulting.result(store, door.validated(door.ResultArguments, values)))


def _next(
    frame: Frame, named: str, data: StatusData, adapters: Path | None, *, goes_on: bool
) -> tuple[str, list[str]]:
    """What to do next, in words, and the commands for it. `goes_on`: the process that executes is there."""
    codes = [reason["code"] for reason in data["blocking_reasons"]]
    match data["state"]:
        case "pending_approval" if "REHEARSAL_REQUIRED" in codes and "dispatch" in data:
            return (
                "A worker rehearses it before anybody can approve; one that failed needs a new request.",
                [],
            )
        case "pending_approval" if "REHEARSAL_REQUIRED" in codes:
            rehearsing = frame.executing(named, config=adapters, rehearses=True)
            return "It has to be rehearsed before anybody can approve:", [rehearsing]
        case "pending_approval" if data["awaited"]:
            return "An approver types:", [_approving(frame, named, data, adapters)]
        case "approved" if not codes and is_guarded(data["adapter_id"]):
            return f"{who_runs(data['adapter_id'])} {how_to_go_on(data['adapter_id'])}", []
        case "approved" if not codes and "dispatch" in data:
            return "A worker executes it, and nobody else: wait.", []
        case "approved" if not codes:
            return "It can be executed:", [frame.executing(named, config=adapters)]
        case "executing":
            return _while_executing(frame, named, can_stop="cancel" not in data, goes_on=goes_on)
        case "completed":
            return "Its proof:", [frame.command("audit", argument=named)]
        case "failed":
            effect = data["executions"][-1]["effect"] if data["executions"] else None
            if "reconciled" in data and effect != "none":
                return "It is never executed again; make a new request if it is still wanted.", []
            return after_failure(effect or "unknown"), [frame.command("run", "show", argument=named)]
        case "outcome_unknown":
            options = {"--outcome": "completed", "--evidence": "HOW YOU KNOW"}
            settle = frame.command("reconcile", argument=named, options=options)
            return "Find out what it did, then record that, completed or failed:", [settle]
        case _:
            return _advice(data["blocking_reasons"]), []


def _while_executing(frame: Frame, named: str, *, can_stop: bool, goes_on: bool) -> tuple[str, list[str]]:
    words, commands = ["wait for the outcome"], [frame.command("wait", argument=named)]
    if can_stop:
        words.append("stop the run")
        commands.append(frame.command("cancel", argument=named, options={"--reason": "WHY"}))
    if not goes_on:
        words.append("give it up if the process that executes it is gone")
        commands.append(frame.command("recover", argument=named))
    before = ", ".join(words[:-1])
    said = f"{before}{',' if len(words) > 2 else ''} or {words[-1]}" if before else words[-1]
    return f"{said[0].upper()}{said[1:]}:", commands


def _approving(frame: Frame, named: str, data: StatusData, adapters: Path | None) -> str:
    awaited = data["awaited"]
    signed = awaited is not None and awaited["min_assurance"] == "signed"
    return frame.approving(named, config=adapters, signed=signed)


def _advice(reasons: list[BlockingReasonData]) -> str:
    return next(filter(None, (advice_for(each["code"], each["details"]) for each in reasons)), "")


def _who(actor: ActorData | None) -> str:
    return display_name(Actor.of(actor)) if actor else "somebody"
