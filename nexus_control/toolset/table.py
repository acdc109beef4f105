"""The agents' tool table: the single source of the MCP server's tools and of `schemas/`."""

from nexus_control.toolset import asking, inputs, outputs, runs
from nexus_control.toolset.tool import Annotations, Tool, spelled
from nexus_control.usecases import arguments

READING = Annotations(read_only=True, idempotent=True)
WRITING = Annotations()
REPEATABLE = Annotations(idempotent=True)

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="nexus-control.request",
        title="Request a decision",
        description="Ask that something be executed, under a policy. The request is fixed for ever. It answers the "
        "request_id at once; nothing is executed.",
        input_model=arguments.RequestArguments,
        annotations=WRITING,
        output=outputs.RequestOutput,
        run=runs.request,
    ),
    Tool(
        name="nexus-control.approve",
        title="Approve a decision",
        description="Get a pending decision approved by a person, where your host can ask one. Otherwise you get "
        "APPROVAL_NEEDS_A_PERSON: show them details.page or .command; do not run it yourself.",
        input_model=arguments.ApproveOptions,
        annotations=WRITING,
        output=outputs.ApprovalOutput,
        run=runs.approve,
        question=asking.question,
    ),
    Tool(
        name="nexus-control.execute",
        title="Execute an approved decision",
        description="Carry out an approved decision through its adapter, once. A refusal names every reason and "
        "changes nothing. A long run answers `executing` and goes on: wait with status.",
        input_model=arguments.ExecuteArguments,
        annotations=Annotations(destructive=True, open_world=True),
        output=outputs.ExecuteOutput,
        run=runs.execute,
        meanwhile=runs.executing_still,
    ),
    Tool(
        name="nexus-control.status",
        title="Status of a decision",
        description="Where a decision stands: state, approvals, the last run and its steps, what keeps it from being "
        "executed. With wait_seconds it waits for approvals, or for a run to end.",
        input_model=inputs.StatusInput,
        annotations=READING,
        output=outputs.StatusOutput,
        run=runs.status,
        awaited=runs.awaited,
    ),
    Tool(
        name="nexus-control.inspect",
        title="Inspect a decision",
        description="Everything about a decision: plan, policy, approvals, executions, timeline; if long, in a file.",
        input_model=inputs.InspectInput,
        annotations=READING,
        output=outputs.InspectOutput,
        run=runs.inspect,
    ),
    Tool(
        name="nexus-control.template.create",
        title="Create a policy template",
        description="Give a policy a name, so that requests can be made under it. A template can never be changed.",
        input_model=arguments.TemplateCreateArguments,
        annotations=REPEATABLE,
        output=outputs.TemplateCreateOutput,
        run=runs.template_create,
    ),
    Tool(
        name="nexus-control.template.get",
        title="Show a policy template",
        description="One template: its policy, who made it and when, and its digest.",
        input_model=arguments.TemplateGetArguments,
        annotations=READING,
        output=outputs.TemplateGetOutput,
        run=runs.template_get,
    ),
    Tool(
        name="nexus-control.template.list",
        title="List policy templates",
        description="A page of the templates, oldest first.",
        input_model=arguments.TemplateListArguments,
        annotations=READING,
        output=outputs.TemplateListOutput,
        run=runs.template_list,
    ),
    Tool(
        name="nexus-control.export_bundle",
        title="Export a decision bundle",
        description="The decision and its events as one portable document with its digest; a large one in a file.",
        input_model=arguments.BundleOptions,
        annotations=REPEATABLE,
        output=outputs.ExportBundleOutput,
        run=runs.export_bundle,
    ),
    Tool(
        name="nexus-control.import_bundle",
        title="Import a decision bundle",
        description="Take in the bundle of a decision that is not here. It is checked, and is evidence: approvals in "
        "it authorise nothing here.",
        input_model=inputs.ImportBundleInput,
        annotations=WRITING,
        output=outputs.ImportBundleOutput,
        run=runs.import_bundle,
    ),
    Tool(
        name="nexus-control.export_audit_package",
        title="Export an audit package",
        description="The proof of an executed decision: what was allowed, what ran, and the digest that binds both. A "
        "large one is in a file.",
        input_model=arguments.AuditPackageOptions,
        annotations=REPEATABLE,
        output=outputs.ExportAuditPackageOutput,
        run=runs.export_audit_package,
    ),
)

_BY_NAME = {spelled(tool.name, style): tool for tool in TOOLS for style in ("dotted", "underscore")}


def tool_named(name: str) -> Tool | None:
    """The tool of this name, in either style."""
    return _BY_NAME.get(name)
