"""The function behind each tool: it runs a use case, and answers in the agents' shape."""

from collections.abc import Iterator

from nexus_control.canonical_json import canonical_json
from nexus_control.decision import DecisionState
from nexus_control.execution.router import PlanChecker
from nexus_control.import_ import import_checked
from nexus_control.integrity import sha256_hex
from nexus_control.render.decision import verdict_line
from nexus_control.render.text import counted
from nexus_control.toolset import asking
from nexus_control.toolset.artifact_files import file_name, read_artifact, write_artifact
from nexus_control.toolset.guidance import is_final, tool_name, what_now
from nexus_control.toolset.inputs import ImportBundleInput, StatusInput
from nexus_control.toolset.outputs import (
    ApprovalOutput,
    ExecuteOutput,
    ExportAuditPackageOutput,
    ExportBundleOutput,
    ImportBundleOutput,
    InspectOutput,
    Kept,
    RequestOutput,
    StatusOutput,
    TemplateCreateOutput,
    TemplateGetOutput,
    TemplateListOutput,
)
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
    InspectArguments,
    RequestArguments,
    TemplateCreateArguments,
    TemplateGetArguments,
    TemplateListArguments,
    validated,
)

INLINE_BYTES = 8192
POLL_SECONDS = 0.5


def request(context: ToolContext, arguments: RequestArguments) -> RequestOutput:
    router = context.router
    checker = router if isinstance(router, PlanChecker) else None
    data = requesting.request(context.store, arguments, checker)
    return {
        **data,
        "summary": f"Request {data['request_id']} is {_quorum(data)}.",
        **what_now(context, data["request_id"], data["state"]),
    }


def approve(context: ToolContext, arguments: ApproveOptions) -> ApprovalOutput:
    if context.approvals == "declared":
        data = deciding.approve(context.store, validated(ApproveArguments, arguments.model_dump()))
    elif context.answer is not None:
        data = asking.decide(context, arguments, context.answer)
    else:
        raise asking.needs_a_person(context, arguments, context.unanswered)
    given = "approval" if context.answer is None or context.answer.approves else "denial"
    _, reasons = views.current_view(context.store, data["request_id"])
    return {
        **data,
        "summary": f"The {given} is recorded; the decision is {_quorum(data)}.",
        **what_now(context, data["request_id"], data["state"], reasons),
    }


def execute(context: ToolContext, arguments: ExecuteArguments) -> ExecuteOutput:
    data = executing.execute(context.store, arguments, context.router)
    rehearsed = data["mode"] == "dry_run"
    status, audit = tool_name(context, "status"), tool_name(context, "export_audit_package")
    return {
        **data,
        "summary": f"The {'dry run' if rehearsed else 'execution'} completed as run {data['run_id']}: "
        f"{counted(data['steps_executed'], 'step')}.",
        "next": f"Call {status}: an apply request is still to be executed with dry_run false."
        if rehearsed
        else f"Call {audit} for the proof.",
    }


def status(context: ToolContext, arguments: StatusInput) -> StatusOutput:
    _wait(context, arguments)
    data = views.status(context.store, arguments, look_beside=True)
    reasons = data["blocking_reasons"]
    return {
        **data,
        "summary": f"{verdict_line(reasons)}; {data['active_approvals']} of {data['required_approvals']} approvals.",
        **what_now(context, data["request_id"], data["state"], reasons),
    }


def inspect(context: ToolContext, arguments: InspectArguments) -> InspectOutput:
    data = views.inspect(context.store, arguments, context.router)
    lifecycle = data["lifecycle"]
    reasons = lifecycle["blocking_reasons"]
    return {
        **data,
        "summary": f"{verdict_line(reasons)}.",
        **what_now(context, arguments.decision_id, lifecycle["state"], reasons),
    }


def template_create(context: ToolContext, arguments: TemplateCreateArguments) -> TemplateCreateOutput:
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
    if len(content) > INLINE_BYTES:
        kept["path"] = str(write_artifact(context.artifacts, file_name(kind, decision_id), content))
        kept["file_sha256"] = sha256_hex(content)
    return kept


def _wait(context: ToolContext, arguments: StatusInput) -> None:
    """Wait until the decision is no longer pending or executing, for at most the seconds that were asked for."""
    for pause in _pauses(arguments.wait_seconds):
        if not _is_under_way(context, arguments.request_id) or context.wait(pause):
            return


def _pauses(seconds: float) -> Iterator[float]:
    while seconds > 0:
        yield min(POLL_SECONDS, seconds)
        seconds -= POLL_SECONDS


def _is_under_way(context: ToolContext, decision_id: str) -> bool:
    standing, reasons = views.current_view(context.store, decision_id)
    awaited = standing["state"] in (DecisionState.PENDING_APPROVAL, DecisionState.EXECUTING)
    return awaited and not is_final(reasons)


def _quorum(data: ApprovalData) -> str:
    state = data["state"].replace("_", " ")
    return f"{state}: {data['current_approvals']} of {data['required_approvals']} approvals"
