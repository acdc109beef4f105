"""What the methods of the facade answer about runs; the other answers are in `usecases.answers`, by the same rules."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired

from typing_extensions import TypedDict

from nexus_control.values.actors import ActorData
from nexus_control.values.payloads import Effect, Mode, StateName


@dataclass(frozen=True, slots=True)
class Says:
    """What a key means, for the output schemas of the agents' tools. It is pydantic's `Field(description=...)` for a
    module that is loaded where pydantic is not.
    """

    description: str

    def __get_pydantic_json_schema__(
        self, schema: object, spelled: Callable[[object], dict[str, Any]]
    ) -> dict[str, Any]:
        return spelled(schema) | {"description": self.description}


class StepErrorData(TypedDict):
    code: str
    message: str


class StepLine(TypedDict):
    """What one step of a run gave back. `output` is a JSON value: what a function returned, or what a program printed
    on standard output, parsed where that is JSON. `exit_code` is that of a program. The last four keys are there where
    the router says so: `note` tells of a cut output or of processes that were ended with the step.
    """

    step_id: str
    status: Literal["ok", "error", "unknown"]
    output: Any
    error: StepErrorData | None
    exit_code: int | None
    effect: Effect
    simulated: NotRequired[bool]
    stderr: NotRequired[str]
    truncated: NotRequired[bool]
    note: NotRequired[str]


class ExecutedFields(TypedDict):
    """An execution that completed; both digests are bare."""

    request_id: str
    execution_id: str
    run_id: str
    mode: Mode
    steps_executed: int
    request_digest: str
    response_digest: str
    effect: Effect


class ExecuteData(ExecutedFields):
    """The answer of `execute`. `truncated`: the results are only a part of the answer."""

    results: list[StepLine]
    truncated: bool


class ClaimData(TypedDict):
    """The answer of `claim`. `run_id` is the execution's id, because the caller runs the tool itself."""

    request_id: str
    execution_id: str
    run_id: str
    mode: Mode
    request_digest: str


class RecordOutcomeData(ExecuteData):
    """The answer of `record`, as that of `execute`. `recorded` is false where exactly this had been recorded before."""

    outcome: Literal["completed", "failed", "unknown"]
    recorded: bool


class CancelLine(TypedDict):
    """Who asked to cancel an execution that is under way, when and why."""

    actor: ActorData
    ts: str
    reason: str


class CancelData(TypedDict):
    """The answer of `cancel`. `cancel` is the one that counts; `asked` is false where somebody had asked before.
    `run_by` is "caller" where a caller runs the tool itself: then nothing here can stop it.
    """

    request_id: str
    state: StateName
    execution_id: str
    cancel: CancelLine
    asked: bool
    run_by: Literal["router", "caller"]


class RecoveredRun(TypedDict):
    """What the router's log knows of a run that was given up: its finished steps, and the one that was cut off."""

    request_id: str
    execution_id: str
    run_id: str | None
    results: list[StepLine]


class RecoverData(TypedDict):
    """The answer of `recover`: the ids whose outcome is now unknown, and how many executions a process still owns."""

    recovered: list[str]
    still_held: int
    runs: list[RecoveredRun]


class ExecutionFields(TypedDict):
    """One execution, as its events tell it."""

    adapter_id: str
    dry_run: bool
    rehearsal: bool
    outcome: Literal["running", "completed", "failed", "outcome_unknown"]
    requested_at: str
    started_at: str | None
    completed_at: str | None
    run_id: str | None
    steps_executed: int | None
    error_code: str | None
    error_message: str | None
    effect: Annotated[
        Effect | None,
        Says("What the run is known to have done. Only after none is it safe to request the same again."),
    ]


class ExecutionLine(ExecutionFields):
    """One execution, and what its steps gave back; `results` is None where nothing is known of them, and in `status`
    for all executions but the last. `seq` names it for `result`.
    """

    execution_id: str
    seq: int
    response_digest: str | None
    results: list[StepLine] | None
    truncated: bool


class RequiredRehearsalData(TypedDict):
    """People approve what a rehearsal gave back, which is at most so old when they do."""

    max_age_seconds: int


class RehearsalLine(TypedDict):
    """The last rehearsal, where the policy requires one; it is None before the first. `seq` is that of its execution,
    `digest` of what its steps gave back, `at` when it ended, or was begun. An approval covers it while it `is_fresh`.
    """

    seq: int
    run_id: str | None
    digest: str | None
    at: str
    status: Literal["running", "completed", "failed", "outcome_unknown"]
    is_fresh: bool


class LinkedRun(TypedDict):
    run_id: str | None
    status: str


class ResultData(TypedDict):
    """The answer of `result`: what the steps of one execution gave back. `answer` is the router's whole answer where it
    lists no steps.
    """

    request_id: str
    execution_id: str
    execution: int
    rehearsal: bool
    outcome: Literal["running", "completed", "failed", "outcome_unknown"]
    run_id: str | None
    response_digest: str | None
    effect: Effect | None
    results: list[StepLine]
    truncated: bool
    answer: NotRequired[Any]
