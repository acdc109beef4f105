"""The tools' answers: the data of the use case (`usecases.answers`), and beside it two sentences for the model.

Objects are open: a later version may have more keys. A key that is not always there is NotRequired.
"""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from nexus_control.import_ import ImportData
from nexus_control.usecases.answers import (
    ApprovalData,
    InspectData,
    JsonObject,
    RequestData,
    StatusData,
    TemplateCreateData,
    TemplateData,
    TemplatesData,
)
from nexus_control.usecases.run_answers import ExecuteData


class ToolOutput(TypedDict):
    """The keys of every success."""

    summary: Annotated[str, Field(description="What happened, in a sentence.")]
    next: Annotated[str, Field(description="What to do now.")]


class DecisionOutput(ToolOutput):
    """While a person's approval is waited for, `details.command` is the command to show them."""

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
