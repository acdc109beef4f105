"""What each tool runs: a use case, in the agents' shape."""

from collections.abc import Iterator
from typing import Any

from nexus_control.canonical_json import canonical_json
from nexus_control.decision import DecisionState
from nexus_control.execution.router import PlanChecker
from nexus_control.import_ import import_checked
from nexus_control.integrity import sha256_hex
from nexus_control.render.decision import verdict_line
from nexus_control.render.text import counted
from nexus_control.toolset import asking
from nexus_control.toolset.artifact_files import file_name, read_artifact, write_artifact
from nexus_control.toolset.guidance import after_state, for_a_person, is_final, tool_name
from nexus_control.toolset.inputs import ImportBundleInput, StatusInput
from nexus_control.toolset.tool import Data, ToolContext
from nexus_control.usecases import deciding, executing, exporting, requesting, templating, views
from nexus_control.usecases.arguments import (
    ApproveArguments,
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


def request(context: ToolContext, arguments: RequestArguments) -> Data:
    router = context.router
    checker = router if isinstance(router, PlanChecker) else None
    data = requesting.request(context.store, arguments, checker)
    return data | {
        "summary": f"Request {data['request_id']} is {_quorum(data)}.",
        "next_action": after_state(context, data["state"]),
        **for_a_person(context, data["request_id"], data["state"]),
    }


def approve(context: ToolContext, arguments: ApproveArguments) -> Data:
    if context.approvals == "declared":
        data = deciding.approve(context.store, arguments, assurance="declared")
    elif context.answer is not None:
        data = asking.decide(context, arguments, context.answer)
    else:
        raise asking.needs_a_person(context, arguments, context.unanswered)
    given = "approval" if context.answer is None or context.answer.approves else "denial"
    _, reasons = views.current_view(context.store, data["request_id"])
    return data | {
        "summary": f"The {given} is recorded; the decision is {_quorum(data)}.",
        "next_action": after_state(context, data["state"], reasons),
        **for_a_person(context, data["request_id"], data["state"], reasons),
    }


def execute(context: ToolContext, arguments: ExecuteArguments) -> Data:
    data = executing.execute(context.store, arguments, context.router)
    rehearsed = data["mode"] == "dry_run"
    status, audit = tool_name(context, "status"), tool_name(context, "export_audit_package")
    return data | {
        "summary": f"The {'dry run' if rehearsed else 'execution'} completed as run {data['run_id']}: "
        f"{counted(data['steps_executed'], 'step')}.",
        "next_action": f"Call {status}: an apply request is still to be executed with dry_run false."
        if rehearsed
        else f"Call {audit} for the proof.",
    }


def status(context: ToolContext, arguments: StatusInput) -> Data:
    _wait(context, arguments)
    data = views.status(context.store, arguments, look_beside=True)
    reasons = data["blocking_reasons"]
    return data | {
        "summary": f"{verdict_line(reasons)}; {data['active_approvals']} of {data['required_approvals']} approvals.",
        "next_action": after_state(context, data["state"], reasons),
        **for_a_person(context, data["request_id"], data["state"], reasons),
    }


def inspect(context: ToolContext, arguments: InspectArguments) -> Data:
    data = views.inspect(context.store, arguments, context.router)
    lifecycle = data["lifecycle"]
    reasons = lifecycle["blocking_reasons"]
    return data | {
        "summary": f"{verdict_line(reasons)}.",
        "next_action": after_state(context, lifecycle["state"], reasons),
        **for_a_person(context, arguments.decision_id, lifecycle["state"], reasons),
    }


def template_create(context: ToolContext, arguments: TemplateCreateArguments) -> Data:
    data = templating.template_create(context.store, arguments)
    return data | {
        "summary": f"Template {data['template_name']} is created; it can never be changed.",
        "next_action": f"Name it as template_name in {tool_name(context, 'request')}.",
    }


def template_get(context: ToolContext, arguments: TemplateGetArguments) -> Data:
    data = templating.template_get(context.store, arguments)
    return data | {
        "summary": f"Template {arguments.name} needs {counted(data['template']['min_approvals'], 'approval')}.",
        "next_action": f"Name it as template_name in {tool_name(context, 'request')}.",
    }


def template_list(context: ToolContext, arguments: TemplateListArguments) -> Data:
    data = templating.template_list(context.store, arguments)
    is_full = data["count"] == data["limit"]
    return data | {
        "summary": f"{counted(data['count'], 'template')} from offset {data['offset']}.",
        "next_action": f"Call again with offset {data['offset'] + data['count']} for more."
        if is_full
        else f"Call {tool_name(context, 'template.get')} for one of them, or name one in a request.",
    }


def export_bundle(context: ToolContext, arguments: BundleOptions) -> Data:
    options = validated(ExportBundleArguments, {**arguments.model_dump(), "render": False})
    exported = exporting.export_bundle(context.store, options)
    bundle = exported["bundle"]
    data: Data = {
        **_artifact(context, "bundle", arguments.decision_id, bundle),
        "decision_id": arguments.decision_id,
        "digest": exported["digest"],
        "event_count": len(bundle["events"]),
    }
    return data | {
        "summary": f"Bundle of decision {arguments.decision_id}: {counted(data['event_count'], 'event')}, "
        f"{counted(data['bytes'], 'byte')}.",
        "next_action": f"Keep it, or bring it into another store with {tool_name(context, 'import_bundle')}.",
    }


def import_bundle(context: ToolContext, arguments: ImportBundleInput) -> Data:
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
    return data | {
        "summary": f"{counted(imported['events_imported'], 'event')} are imported as decision "
        f"{imported['decision_id']}, as evidence: they authorise nothing here.",
        "next_action": f"Call {tool_name(context, 'inspect')} to look at it.",
    }


def export_audit_package(context: ToolContext, arguments: AuditPackageOptions) -> Data:
    options = validated(ExportAuditPackageArguments, {**arguments.model_dump(), "render": False})
    exported = exporting.export_audit_package(context.store, options)
    package = exported["package"]
    bundle = package["control_bundle"]
    data: Data = {
        **_artifact(context, "package", arguments.decision_id, package),
        "decision_id": arguments.decision_id,
        "digest": exported["digest"],
        "event_count": len(bundle["events"]),
        "run_id": bundle["router_link"]["run_id"],
    }
    return data | {
        "summary": f"Audit package of decision {arguments.decision_id}: it binds "
        f"{counted(data['event_count'], 'event')} to run {data['run_id']}.",
        "next_action": "Keep it; anybody can check it with `nexus-control verify FILE`.",
    }


def _artifact(context: ToolContext, kind: str, decision_id: str, artifact: Data) -> Data:
    """A small artifact itself; a large one as a file, for hosts cut long answers short."""
    content = canonical_json(artifact).encode()
    if len(content) <= INLINE_BYTES:
        return {kind: artifact, "bytes": len(content)}
    path = write_artifact(context.artifacts, file_name(kind, decision_id), content)
    return {"path": str(path), "file_sha256": sha256_hex(content), "bytes": len(content)}


def _wait(context: ToolContext, arguments: StatusInput) -> None:
    """Return when nothing is under way any more, or as many seconds have been waited as were asked for."""
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


def _quorum(data: dict[str, Any]) -> str:
    state = data["state"].replace("_", " ")
    return f"{state}: {data['current_approvals']} of {data['required_approvals']} approvals"
