"""The function behind each tool: it runs a use case, and answers in the agents' shape."""

from typing import Final, cast

from nexus_control.blocking import BlockingReasonData
from nexus_control.canonical_json import canonical_json
from nexus_control.decision import DecisionState
from nexus_control.execution.catalogue import AdapterLister
from nexus_control.execution.plan import parse_plan
from nexus_control.execution.router import PlanChecker
from nexus_control.execution.spelling import bounded
from nexus_control.import_ import import_checked
from nexus_control.integrity import sha256_hex
from nexus_control.lifecycle import counted
from nexus_control.render.decision import verdict_line
from nexus_control.render.policy import agreed
from nexus_control.toolset import asking
from nexus_control.toolset.artifact_files import file_name, read_artifact, write_artifact
from nexus_control.toolset.fitting import INLINE_BYTES
from nexus_control.toolset.guidance import (
    is_final,
    is_for_a_worker,
    lacks_steps,
    tool_name,
    wait_for_outcome,
    what_now,
)
from nexus_control.toolset.inputs import ImportBundleInput, InspectInput, StatusInput
from nexus_control.toolset.outputs import (
    ApprovalOutput,
    ExecuteOutput,
    ExecutingOutput,
    ExportAuditPackageOutput,
    ExportBundleOutput,
    ImportBundleOutput,
    InspectOutput,
    Kept,
    RequestOutput,
    RunData,
    StatusOutput,
    TemplateCreateOutput,
    TemplateGetOutput,
    TemplateListOutput,
)
from nexus_control.toolset.step_files import run_steps
from nexus_control.toolset.tool import ToolContext
from nexus_control.usecases import deciding, executing, exporting, requesting, templating, views
from nexus_control.usecases.answers import ApprovalData, JsonObject
from nexus_control.usecases.arguments import (
    ApproveArguments,
    ApproveOptions,
    AuditPackageOptions,
    BundleOptions,
    ExecuteArguments,
    ExportAuditPackageArguments,
    ExportBundleArguments,
    RequestArguments,
    TemplateCreateArguments,
    TemplateGetArguments,
    TemplateListArguments,
    validated,
)
from nexus_control.usecases.ruling import require_not_of_the_rules
from nexus_control.usecases.run_answers import ExecutionFields, ExecutionLine
from nexus_control.values.results import looking_after

_SOMETIMES: Final = (
    "dispatch", "idempotency_key", "metadata", "supersedes", "ending", "rehearsal", "imported", "reconciled",
    "late_outcome", "cancel", "events",
)  # fmt: skip
_LONGEST_TEXT: Final = 300
_INLINE_ARTIFACT: Final = INLINE_BYTES - 1024  # the rest is what stands beside it in the answer


def request(context: ToolContext, arguments: RequestArguments) -> RequestOutput:
    router = context.router
    _require_steps(context, arguments)
    checker = router if isinstance(router, PlanChecker) else None
    data = requesting.request(context.store, arguments, checker, context.rules)
    if lacks_steps(context, arguments.plan):
        data["warnings"].append("Without a plan of steps the adapters here cannot execute it.")
    with looking_after(f"Request {data['request_id']} {'was made' if data['created'] else 'is there'}"):
        _, reasons = views.current_view(context.store, data["request_id"])
        is_ruled = "rules_digest" in data and arguments.template_name is None
        said = (
            [f"The rules gave it the template {data['template_name']}."]
            if is_ruled and "template_name" in data
            else []
        )
        return {
            **data,
            "summary": " ".join(
                (f"Request {data['request_id']} is {_quorum(data)}.", *said, *data["warnings"])
            ),
            **what_now(context, data["request_id"], data["state"], reasons),
        }


def _require_steps(context: ToolContext, arguments: RequestArguments) -> None:
    """Raises PLAN_INVALID for a plan that none of the adapters here could ever run."""
    unbound = arguments.adapter_id is None and arguments.plan is not None
    if unbound and isinstance(context.router, AdapterLister) and context.router.adapters.ids():
        parse_plan(arguments.plan)


def approve(context: ToolContext, arguments: ApproveOptions) -> ApprovalOutput:
    if context.approvals == "declared":
        data = deciding.approve(context.store, validated(ApproveArguments, arguments.model_dump()))
    elif context.answer is not None:
        data = asking.decide(context, arguments, context.answer)
    else:
        raise asking.needs_a_person(context, arguments, context.unanswered)
    given = "approval" if context.answer is None or context.answer.approves else "denial"
    with looking_after(f"The {given} is recorded"):
        _, reasons = views.current_view(context.store, data["request_id"])
        return {
            **data,
            "summary": f"The {given} is recorded; the decision is {_quorum(data)}.",
            **what_now(context, data["request_id"], data["state"], reasons, has_asked=True),
        }


def execute(context: ToolContext, arguments: ExecuteArguments) -> ExecuteOutput:
    data = executing.execute(context.store, arguments, context.router, rules=context.rules)
    request_id, steps = data["request_id"], counted(data["steps_executed"], "step")
    with looking_after(f"Run {data['run_id']} completed"):
        standing, reasons = views.current_view(context.store, request_id)
        is_rehearsal = standing["state"] != DecisionState.COMPLETED
        return {
            "request_id": request_id,
            "execution_id": data["execution_id"],
            "run_id": data["run_id"],
            "mode": data["mode"],
            "steps_executed": data["steps_executed"],
            "request_digest": data["request_digest"],
            "response_digest": data["response_digest"],
            "effect": data["effect"],
            **run_steps(context, data["execution_id"], data["results"], truncated=data["truncated"]),
            "summary": f"The {'dry run' if is_rehearsal else 'execution'} completed as run {data['run_id']}: {steps}.",
            **what_now(context, request_id, standing["state"], reasons),
        }


def executing_still(context: ToolContext, arguments: ExecuteArguments) -> ExecutingOutput:
    """The answer of an `execute` that goes on while the client no longer waits for it."""
    return {
        "request_id": arguments.request_id,
        "state": DecisionState.EXECUTING.value,
        "summary": "The run is under way, and goes on without this call.",
        **wait_for_outcome(context, arguments.request_id),
    }


def status(context: ToolContext, arguments: StatusInput) -> StatusOutput:
    data = views.status(context.store, arguments, look_beside=True, router=context.router)
    reasons, executions, plan = data["blocking_reasons"], data["executions"], data["plan"]
    count = agreed(data["active_approvals"], data["required_approvals"], data.get("groups_missing"))
    output: StatusOutput = {
        "request_id": data["request_id"],
        "state": data["state"],
        "goal": data["goal"],
        "plan": None if plan is None else {"sha256": sha256_hex(plan), "bytes": len(plan.encode())},
        "requested_mode": data["requested_mode"],
        "adapter_id": data["adapter_id"],
        "requester": data["requester"],
        "created_at": data["created_at"],
        "expires_at": data["expires_at"],
        "as_of": data["as_of"],
        "is_approved": data["is_approved"],
        "active_approvals": data["active_approvals"],
        "total_approvals": data["total_approvals"],
        "required_approvals": data["required_approvals"],
        "approved_by": [each["actor"]["id"] for each in data["approvals"] if each["active"]],
        "awaited": data["awaited"],
        "basis": data["basis"],
        "blocking_reasons": [_brief(each) for each in reasons],
        "execution": _run(context, executions[-1]) if executions else None,
        "execution_count": len(executions),
        "run": data["run"],
        "event_count": data["event_count"],
        "summary": f"{verdict_line(reasons)}; {count}.",
        **what_now(context, data["request_id"], data["state"], reasons, has_asked=arguments.wait_seconds > 0),
    }
    if "reconciled" in data and data["state"] == "failed":
        output["next"] = "A person settled it: read `reconciled`. Make a new request, if it is still wanted."
    kept = {key: value for key, value in data.items() if key in _SOMETIMES}
    return cast("StatusOutput", {**output, **kept})


def _run(context: ToolContext, line: ExecutionLine) -> RunData:
    results = line["results"]
    fields = cast("ExecutionFields", {key: line[key] for key in ExecutionFields.__annotations__})
    run: RunData = {
        **fields,
        "execution_id": line["execution_id"],
        "response_digest": line["response_digest"],
        "error_message": _bounded(fields["error_message"]),
    }
    if results is not None:
        known = run_steps(context, line["execution_id"], results, truncated=line["truncated"])
        run = {**run, **known}
    return run


def _brief(reason: BlockingReasonData) -> BlockingReasonData:
    """The reason without the ends of long texts, which `inspect` shows whole."""
    details = {
        key: _bounded(text) if isinstance(text, str) else text for key, text in reason["details"].items()
    }
    return {"code": reason["code"], "message": bounded(reason["message"], _LONGEST_TEXT), "details": details}


def _bounded(text: str | None) -> str | None:
    return text and bounded(text, _LONGEST_TEXT)


def awaited(context: ToolContext, arguments: StatusInput) -> float:
    """The seconds to wait while the decision is pending or executing, or a worker is to execute it; 0 when nothing is
    awaited.
    """
    if not arguments.wait_seconds:
        return 0
    standing, reasons = views.current_view(context.store, arguments.request_id)
    is_under_way = standing["state"] in (DecisionState.PENDING_APPROVAL, DecisionState.EXECUTING) or (
        standing["state"] == DecisionState.APPROVED and is_for_a_worker(context, arguments.request_id)
    )
    return arguments.wait_seconds if is_under_way and not is_final(reasons) else 0


def inspect(context: ToolContext, arguments: InspectInput) -> InspectOutput:
    data = views.inspect(context.store, arguments, context.router)
    lifecycle = data["lifecycle"]
    reasons = lifecycle["blocking_reasons"]
    return {
        **data,
        "summary": f"{verdict_line(reasons)}.",
        **what_now(context, arguments.decision_id, lifecycle["state"], reasons),
    }


def template_create(context: ToolContext, arguments: TemplateCreateArguments) -> TemplateCreateOutput:
    require_not_of_the_rules(context.rules, arguments)
    data = templating.template_create(context.store, arguments)
    return {
        **data,
        "summary": f"Template {data['template_name']} is created; it can never be changed.",
        "next": f"Name it as template_name in {tool_name(context, 'request')}.",
    }


def template_get(context: ToolContext, arguments: TemplateGetArguments) -> TemplateGetOutput:
    data = templating.template_get(context.store, arguments)
    return {
        **data,
        "summary": f"Template {arguments.name} needs {counted(data['template']['min_approvals'], 'approval')}.",
        "next": f"Name it as template_name in {tool_name(context, 'request')}.",
    }


def template_list(context: ToolContext, arguments: TemplateListArguments) -> TemplateListOutput:
    data = templating.template_list(context.store, arguments)
    is_full = data["count"] == data["limit"]
    return {
        **data,
        "summary": f"{counted(data['count'], 'template')} from offset {data['offset']}.",
        "next": f"Call again with offset {data['offset'] + data['count']} for more."
        if is_full
        else f"Call {tool_name(context, 'template.get')} for one of them, or name one in a request.",
    }


def export_bundle(context: ToolContext, arguments: BundleOptions) -> ExportBundleOutput:
    options = validated(ExportBundleArguments, {**arguments.model_dump(), "render": False})
    exported = exporting.export_bundle(context.store, options)
    bundle = exported["bundle"]
    kept = _kept(context, "bundle", bundle, exported["digest"], of=bundle)
    output: ExportBundleOutput = {
        **kept,
        "summary": f"Bundle of decision {arguments.decision_id}: {counted(kept['event_count'], 'event')}, "
        f"{counted(kept['bytes'], 'byte')}.",
        "next": f"Keep it, or bring it into another store with {tool_name(context, 'import_bundle')}.",
    }
    if "path" not in kept:
        output["bundle"] = bundle
    return output


def import_bundle(context: ToolContext, arguments: ImportBundleInput) -> ImportBundleOutput:
    source = arguments.bundle
    if source is None:
        source = read_artifact(context.artifacts, arguments.path or "")
    data = import_checked(
        context.store,
        source,
        verify_digest=arguments.verify_digest,
        conflict_mode=arguments.conflict_mode,
        replay_after_import=arguments.replay_after_import,
        allow_rollback=arguments.allow_rollback,
        actor=context.actor,
        for_owner=False,
    )
    imported = data["imported"]
    return {
        **data,
        "summary": f"{counted(imported['events_imported'], 'event')} are imported as decision "
        f"{imported['decision_id']}, as evidence: they authorise nothing here.",
        "next": f"Call {tool_name(context, 'inspect')} to look at it.",
    }


def export_audit_package(context: ToolContext, arguments: AuditPackageOptions) -> ExportAuditPackageOutput:
    options = validated(ExportAuditPackageArguments, {**arguments.model_dump(), "render": False})
    exported = exporting.export_audit_package(context.store, options, context.router)
    package = exported["package"]
    bundle = package["control_bundle"]
    run_id = bundle["router_link"]["run_id"]
    kept = _kept(context, "package", package, exported["digest"], of=bundle)
    output: ExportAuditPackageOutput = {
        **kept,
        "run_id": run_id,
        "summary": f"Audit package of decision {arguments.decision_id}: it binds "
        f"{counted(kept['event_count'], 'event')} to run {run_id}.",
        "next": "Keep it; anybody can check it with `nexus-control verify FILE`.",
    }
    if "path" not in kept:
        output["package"] = package
    return output


def _kept(context: ToolContext, kind: str, artifact: JsonObject, digest: str, *, of: JsonObject) -> Kept:
    """Put the artifact `of` a bundle into the answer if it is small, else into a file: hosts cut long answers."""
    content, decision_id = canonical_json(artifact).encode(), of["decision"]["decision_id"]
    kept: Kept = {
        "bytes": len(content),
        "decision_id": decision_id,
        "digest": digest,
        "event_count": len(of["events"]),
    }
    if len(content) > _INLINE_ARTIFACT:
        kept["path"] = str(write_artifact(context.artifacts, file_name(kind, decision_id), content))
        kept["file_sha256"] = sha256_hex(content)
    return kept


def _quorum(data: ApprovalData) -> str:
    state = data["state"].replace("_", " ")
    count = agreed(data["current_approvals"], data["required_approvals"], data.get("groups_missing"))
    return f"{state}: {count}"
