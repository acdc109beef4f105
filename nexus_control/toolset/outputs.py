"""The tools' answers: the data of the use case (`usecases.answers`), and beside it two sentences for the model.

Objects are open: a later version may have more keys. A key that is not always there is NotRequired.
"""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from nexus_control.approvals import AwaitedData
from nexus_control.events import EventData
from nexus_control.import_ import ImportData
from nexus_control.usecases.answers import (
    ApprovalData,
    BlockingReasonData,
    EndingLine,
    ImportLine,
    InspectData,
    JsonObject,
    ReconciledLine,
    RequestData,
    StateData,
    TemplateCreateData,
    TemplateData,
    TemplatesData,
)
from nexus_control.usecases.run_answers import (
    CancelLine,
    ExecutedFields,
    ExecutionFields,
    LinkedRun,
    RehearsalLine,
    StepLine,
)
from nexus_control.values.actors import ActorData
from nexus_control.values.payloads import Dispatch, Mode


class FileData(TypedDict):
    """A file in the artifacts folder. `counts` says how many entries each of its lists has. Where the file could not be
    written, `problem` says why, and there is no `path`.
    """

    path: NotRequired[str]
    problem: NotRequired[str]
    sha256: Annotated[str, Field(description="As sha256sum prints it.")]
    bytes: int
    counts: dict[str, int]


class StepsData(TypedDict):
    """How the steps of a run ended. `first_not_ok` is without its output. `file` holds steps that are too long for an
    answer. `truncated`: the router's answer had more than is known of it.
    """

    count: int
    ok: int
    error: int
    unknown: int
    truncated: bool
    first_not_ok: NotRequired[StepLine]
    file: NotRequired[FileData]


class RunSteps(TypedDict):
    """The steps of an execution; `results` are there where they are short."""

    steps: StepsData
    results: NotRequired[list[StepLine]]


class ToolOutput(TypedDict):
    """The keys of every success. An answer that is too long for a host is in `file`; then other keys are only there."""

    summary: Annotated[str, Field(description="What happened, in a sentence.")]
    next: Annotated[str, Field(description="What to do now.")]
    file: NotRequired[FileData]


class CallData(TypedDict):
    """A call that can be made as it is."""

    tool: str
    arguments: JsonObject


class Details(TypedDict):
    """`call` is the next call to make. `command` is the command to show to a person whose approval is waited for, and
    `page` the web page where they can decide, too. `adapter_ids` are the adapters to choose from.
    """

    call: NotRequired[CallData]
    command: NotRequired[str]
    page: NotRequired[str]
    adapter_ids: NotRequired[list[str]]


class DecisionOutput(ToolOutput):
    details: Details


class ErrorOutput(TypedDict):
    """Every refusal and fault. `details` may hold what `Details` describes."""

    code: Annotated[str, Field(description="Stable: decide by this, never by the message.")]
    message: str
    details: JsonObject
    next: Annotated[str, Field(description="What to do about it.")]


class ApprovalOutput(DecisionOutput, ApprovalData): ...


class RequestOutput(DecisionOutput, RequestData): ...


class ExecuteOutput(DecisionOutput, RunSteps, ExecutedFields):
    """While a long run goes on, the answer is an `ExecutingOutput`."""


class ExecutingOutput(DecisionOutput, StateData): ...


class PlanData(TypedDict):
    """The plan's text is in `inspect`."""

    sha256: str
    bytes: int


class RunData(ExecutionFields):
    """An execution; its steps are not there where nothing is known of them."""

    execution_id: str
    response_digest: str | None
    steps: NotRequired[StepsData]
    results: NotRequired[list[StepLine]]


class StatusOutput(DecisionOutput, StateData):
    """`execution` is the linked execution, else the last one."""

    goal: str | None
    plan: PlanData | None
    requested_mode: Mode | None
    adapter_id: str | None
    requester: ActorData | None
    created_at: str
    expires_at: str | None
    as_of: str
    dispatch: NotRequired[Dispatch]
    idempotency_key: NotRequired[str]
    metadata: NotRequired[dict[str, str]]
    supersedes: NotRequired[str]
    ending: NotRequired[EndingLine]
    rehearsal: NotRequired[RehearsalLine | None]
    imported: NotRequired[ImportLine]
    is_approved: bool
    active_approvals: int
    total_approvals: int
    required_approvals: int
    blocking_reasons: list[BlockingReasonData]
    approved_by: list[str]
    awaited: AwaitedData | None
    basis: str | None
    execution: RunData | None
    execution_count: int
    run: LinkedRun | None
    event_count: int
    reconciled: NotRequired[ReconciledLine]
    late_outcome: NotRequired[JsonObject]
    cancel: NotRequired[CancelLine]
    events: NotRequired[list[EventData]]


class InspectOutput(DecisionOutput, InspectData): ...


class TemplateCreateOutput(ToolOutput, TemplateCreateData): ...


class TemplateGetOutput(ToolOutput, TemplateData): ...


class TemplateListOutput(ToolOutput, TemplatesData): ...


class ImportBundleOutput(ToolOutput, ImportData): ...


class Kept(TypedDict):
    """The place of an artifact: a small one is in the answer itself, a large one in the file `path`."""

    bytes: Annotated[int, Field(description="The size of the artifact's canonical JSON.")]
    path: NotRequired[Annotated[str, Field(description="The file that holds the artifact.")]]
    file_sha256: NotRequired[Annotated[str, Field(description="As sha256sum prints it.")]]
    decision_id: str
    digest: Annotated[str, Field(description="The artifact's own digest, prefixed; not that of the file.")]
    event_count: int


class ExportBundleOutput(ToolOutput, Kept):
    bundle: NotRequired[JsonObject]


class ExportAuditPackageOutput(ToolOutput, Kept):
    run_id: str
    package: NotRequired[JsonObject]
