"""What the tools answer: what the use case answers (`usecases.answers`), and beside it what a model is told.

Objects are open: a later version may say more. A key that need not be there is NotRequired.
"""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from nexus_control.import_ import ImportData
from nexus_control.usecases.answers import (
    ApprovalData,
    ExecuteData,
    InspectData,
    JsonObject,
    RequestData,
    StatusData,
    TemplateCreateData,
    TemplateData,
    TemplatesData,
)


class ToolOutput(TypedDict):
    """What every success holds."""

    summary: Annotated[str, Field(description="What happened, in a sentence.")]
    next: Annotated[str, Field(description="What to do now.")]


class DecisionOutput(ToolOutput):
    """Where a person's approval is waited for, `details.command` is what to show them."""

    details: NotRequired[JsonObject]


class ErrorOutput(TypedDict):
    """Every refusal and fault."""

    code: Annotated[str, Field(description="Stable: decide by this, never by the message.")]
    message: str
    details: JsonObject
    next: Annotated[str, Field(description="What to do about it.")]


class ApprovalOutput(DecisionOutput, ApprovalData): ...


class RequestOutput(DecisionOutput, RequestData): ...


class ExecuteOutput(ToolOutput, ExecuteData): ...


class StatusOutput(DecisionOutput, StatusData): ...


class InspectOutput(DecisionOutput, InspectData): ...


class TemplateCreateOutput(ToolOutput, TemplateCreateData): ...


class TemplateGetOutput(ToolOutput, TemplateData): ...


class TemplateListOutput(ToolOutput, TemplatesData): ...


class ImportBundleOutput(ToolOutput, ImportData): ...


class Kept(TypedDict):
    """An exported artifact, and where it is: a small one in the answer itself, a large one in the file `path`."""

    bytes: Annotated[int, Field(description="The size of the artifact's canonical JSON.")]
    path: NotRequired[Annotated[str, Field(description="The file that holds the artifact.")]]
    file_sha256: NotRequired[Annotated[str, Field(description="As sha256sum prints it.")]]
    decision_id: str
    digest: Annotated[str, Field(description="The artifact's own, prefixed; not that of the file.")]
    event_count: int


class ExportBundleOutput(ToolOutput, Kept):
    bundle: NotRequired[JsonObject]


class ExportAuditPackageOutput(ToolOutput, Kept):
    run_id: str
    package: NotRequired[JsonObject]
