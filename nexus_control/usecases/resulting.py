"""Results: what the steps of a run gave back, for every view, also to another process and after a crash.

A router's answer is kept in the store under its response digest, which the log holds. At most 1 MiB is kept: of a
longer answer a part, whose digest is a note of the event. An answer or a part that no longer has its digest is not
shown. Where no answer came, because the router or its process was cut off, LocalRouter's run log knows the steps. It is
found by the request's id: by the router at hand, or in the run log beside the store, which is only read.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from nexus_control.canonical_json import canonical_json
from nexus_control.decision import effect_of
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.run_steps import StepOutcome, number_of_steps, steps_in
from nexus_control.execution.context import CurrentExecution
from nexus_control.execution.router import KnownRun, RunFinder
from nexus_control.execution.run_log import RunLog
from nexus_control.execution.spelling import spell
from nexus_control.facts import Execution
from nexus_control.integrity import prefixed, sha256_hex
from nexus_control.log.projection import Projection
from nexus_control.log.session import ReadSession
from nexus_control.storage.contract import KeptAnswer
from nexus_control.store import DecisionStore
from nexus_control.system.whole_files import is_regular
from nexus_control.usecases.arguments import ResultArguments
from nexus_control.usecases.run_answers import ExecutionFields, ExecutionLine, ResultData, StepLine

MAX_ANSWER_BYTES = 1024 * 1024
_MOST_STEPS = 1000


def kept_answer(text: str, digest: str) -> KeptAnswer:
    """The answer as it is kept. Of one that is too long only the steps stay, their texts cut to fit."""
    if len(text.encode()) <= MAX_ANSWER_BYTES:
        return KeptAnswer(digest, text, truncated=False)
    steps = (steps_in(_parsed(text)) or ())[:_MOST_STEPS]
    room = MAX_ANSWER_BYTES
    while True:
        room //= 2
        content = canonical_json({"results": [_shortened(step, room) for step in steps]})
        if len(content.encode()) <= MAX_ANSWER_BYTES:
            return KeptAnswer(digest, content, truncated=True)


def note_of(answer: KeptAnswer) -> str:
    """The note in the event of an answer that was cut. It binds the kept part to the log."""
    return f"a part of the answer is kept, of SHA-256 {sha256_hex(answer.content)}"


def rehearsal_digest_of(text: str) -> str | None:
    """The digest of what the steps of a rehearsal gave back, by the text of its whole answer: of the list of step_id,
    status, output and error. Run ids, times and what was done are no part of it. None where it lists no step, or one
    that cannot be read.
    """
    answer = _parsed(text)
    lines = [step.to_dict() for step in steps_in(answer) or ()]
    if len(lines) != number_of_steps(answer):
        return None
    shown = [{name: line[name] for name in ("step_id", "status", "output", "error")} for line in lines]
    return prefixed(sha256_hex(spell(shown).text)) if shown else None


def _shortened(step: StepOutcome, room: int) -> dict[str, object]:
    """The step with each text in at most `room` characters."""
    output = step.output
    spelled = output if isinstance(output, str) else canonical_json(output)
    cut = len(spelled) > room
    return {
        "step_id": step.step_id[:room],
        "status": step.status,
        "effect": step.effect,
        "output": {
            "result": spelled[:room] if cut else output,
            "exit_code": step.exit_code,
            "truncated": cut or step.truncated,
        },
        "error": step.error and {"code": step.error[0][:room], "message": step.error[1][:room]},
    }


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # the spelling of an answer outside JSON
        return None


def result(store: DecisionStore, arguments: ResultArguments, router: object = None) -> ResultData:
    """What the steps of one execution gave back: of the linked one, else of the last rehearsal, or of the one that is
    named. Raises INVALID_STATE where nothing was executed, INVALID_ARGUMENT for an execution that is not there.
    """
    with store.reading() as session:
        decision = session.decision(arguments.request_id)
        execution = _chosen(decision, arguments.execution)
        answer = _answer(session, decision, execution)
    runs = runs_by_execution(store, decision.decision_id, router) if answer is None else {}
    line = execution_line(decision, execution, answer, runs)
    data: ResultData = {
        "request_id": decision.decision_id,
        "execution_id": line["execution_id"],
        "execution": execution.seq,
        "rehearsal": execution.rehearsal,
        "outcome": execution.outcome,
        "run_id": line["run_id"],
        "response_digest": execution.response_digest,
        "effect": line["effect"],
        "results": line["results"] or [],
        "truncated": line["truncated"],
    }
    if answer is not None and line["results"] is None:
        data["answer"] = _parsed(answer.content)
    return data


def _chosen(decision: Projection, seq: int | None) -> Execution:
    executions = decision.facts.progress.executions
    if not executions:
        raise NexusControlError(
            ErrorCode.INVALID_STATE,
            "Nothing was executed for this request yet",
            {"request_id": decision.decision_id},
            "Wait until it is executed, then ask again.",
        )
    if seq is None:
        return decision.facts.linked_execution or executions[-1]
    for execution in executions:
        if execution.seq == seq:
            return execution
    known = ", ".join(str(each.seq) for each in executions)
    raise invalid_argument("execution", f"is not one of this request's executions ({known})")


def executions_view(
    session: ReadSession, decision: Projection, *, last: int | None = None
) -> list[ExecutionLine]:
    """All executions of the decision, and what the answers that were kept say of the steps; with `last` only of so many
    executions, the last ones, because an answer may be long.
    """
    executions = decision.facts.progress.executions
    first = 0 if last is None else len(executions) - last
    return [
        execution_line(decision, each, _answer(session, decision, each) if number >= first else None, {})
        for number, each in enumerate(executions)
    ]


def cut_off_line(store: DecisionStore, decision: Projection, router: object = None) -> ExecutionLine:
    """The last execution, which gave no answer, with what its run log knows. It is read outside any transaction."""
    last = decision.facts.progress.executions[-1]
    return execution_line(decision, last, None, runs_by_execution(store, decision.decision_id, router))


def execution_line(
    decision: Projection, execution: Execution, answer: KeptAnswer | None, runs: Mapping[str, KnownRun]
) -> ExecutionLine:
    """One execution as JSON values. `runs` are those that a run log knows, by execution."""
    execution_id = id_of(decision, execution)
    known = runs.get(execution_id) if answer is None else None
    steps = known.steps if known else steps_in_answer(answer) if answer else None
    line: ExecutionLine = {
        **execution_fields(execution),
        "execution_id": execution_id,
        "seq": execution.seq,
        "response_digest": execution.response_digest,
        "results": None if steps is None else step_lines(steps),
        "truncated": answer is not None and answer.truncated,
    }
    if known is not None and line["run_id"] is None:
        line["run_id"] = known.run_id
    return line


def id_of(decision: Projection, execution: Execution) -> str:
    """The id of an execution: `<request_id>:<generation>:<seq>`."""
    return f"{decision.decision_id}:{decision.generation}:{execution.seq}"


def execution_fields(execution: Execution) -> ExecutionFields:
    """One execution, as its events tell it."""
    return {
        "adapter_id": execution.adapter_id,
        "dry_run": execution.dry_run,
        "rehearsal": execution.rehearsal,
        "outcome": execution.outcome,
        "requested_at": execution.requested_at,
        "started_at": execution.started_at,
        "completed_at": execution.completed_at,
        "run_id": execution.run_id,
        "steps_executed": execution.steps_executed,
        "error_code": execution.error_code,
        "error_message": execution.error_message,
        "effect": effect_of(execution),
    }


def steps_in_answer(answer: KeptAnswer) -> tuple[StepOutcome, ...] | None:
    """The steps that a kept answer lists."""
    return steps_in(_parsed(answer.content))


def steps_known(
    store: DecisionStore, execution: CurrentExecution, router: object
) -> tuple[StepOutcome, ...] | None:
    """The steps of an execution as the router's own log knows them."""
    known = runs_by_execution(store, execution.request_id, router).get(execution.execution_id)
    return known and known.steps


def step_lines(steps: Sequence[StepOutcome] | None) -> list[StepLine]:
    """The steps as JSON values."""
    return [StepLine(**step.to_dict()) for step in steps or ()]


def _answer(session: ReadSession, decision: Projection, execution: Execution) -> KeptAnswer | None:
    """The answer that was kept, if it still is the one that the log has the digest of, or the part that the event's
    note has the digest of.
    """
    if execution.response_digest is None:
        return None
    answer = session.rows.answer(execution.response_digest)
    if answer is None or sha256_hex(answer.content) == answer.digest:
        return answer
    if not answer.truncated:
        return None
    entries = session.rows.entries("decision", decision.decision_id, decision.generation, execution.seq)
    return answer if any(note_of(answer) in entry.payload for entry in entries) else None


def needs_run_log(decision: Projection) -> bool:
    """Whether the last execution gave no answer: it goes on, or was cut off."""
    last = decision.facts.last_execution
    return last is not None and last.response_digest is None


def runs_by_execution(store: DecisionStore, decision_id: str, router: object = None) -> dict[str, KnownRun]:
    """What run logs know of this decision's executions. A run log that cannot be read knows nothing."""
    runs: Sequence[KnownRun] = ()
    if isinstance(router, RunFinder):
        try:
            runs = router.runs_of(decision_id)
        except (Exception, SystemExit):  # an embedder's router may raise anything
            runs = ()
    return {run.execution_id: run for run in runs or _runs_beside(store, decision_id)}


def _runs_beside(store: DecisionStore, decision_id: str) -> tuple[KnownRun, ...]:
    path: Path | None = store.sidecar.file("runs")
    if path is None or not is_regular(path):
        return ()
    # Copied files may have a -wal without its -shm, which only a writer can make again.
    is_copied = is_regular(Path(f"{path}-wal")) and not is_regular(Path(f"{path}-shm"))
    try:
        log = RunLog(path, store.clock, reads_only=not is_copied)
        try:
            return log.runs_of(decision_id)
        finally:
            log.close()
    except NexusControlError:
        return ()
