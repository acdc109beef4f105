"""Calls a router once, and reads what happened. Each answer or exception of the router is recorded as a fact, not
raised.

What an exception means: `execution.router.leaves_outcome_unknown` says which ones leave the outcome unknown. A refusal
of the router (`execution.router.REFUSALS`) is a failure that did nothing. Any other exception is a failure with unknown
effect; so is SystemExit, which does not end the process. KeyboardInterrupt, and an exception of a signal handler, are
raised.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from nexus_control.audit_package import router_bundle_digest
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.response import RunReport, read_response
from nexus_control.execution.router import (
    REFUSALS,
    RouterOutcomeUnknown,
    RouterProtocol,
    RunExporter,
    RunStopped,
    leaves_outcome_unknown,
)
from nexus_control.execution.signs import RUN_FAILED
from nexus_control.execution.spelling import bounded, described
from nexus_control.storage.contract import KeptAnswer
from nexus_control.usecases.resulting import kept_answer, note_of, rehearsal_digest_of
from nexus_control.values.payloads import (
    ExecutionCompletedPayload,
    ExecutionFailedPayload,
    ExecutionOutcomeUnknownPayload,
)

MAX_MESSAGE = 4096

OutcomePayload: TypeAlias = (
    ExecutionCompletedPayload | ExecutionFailedPayload | ExecutionOutcomeUnknownPayload
)


@dataclass(frozen=True, slots=True)
class Dispatched:
    """What happened, and the router's answer, which is kept beside the log; None where none came. `rehearsal_digest` is
    of what the steps of a dry run gave back; None where nobody could look at any. `adapter_digest` is of the adapter as
    it was declared right before the claim; None where the router cannot tell.
    """

    outcome: OutcomePayload
    answer: KeptAnswer | None = None
    rehearsal_digest: str | None = None
    adapter_digest: str | None = None


@contextmanager
def router_asked(adapter_id: str) -> Generator[None]:
    """The block asks a router about an adapter; nothing is executed. Its refusals pass. Any other exception, SystemExit
    too, becomes ROUTER_ERROR.
    """
    try:
        yield
    except NexusControlError as fault:
        raise fault if fault.code in REFUSALS else _cannot_be_asked(adapter_id, fault) from fault
    except (Exception, SystemExit) as error:
        raise _cannot_be_asked(adapter_id, error) from error


def _cannot_be_asked(adapter_id: str, error: BaseException) -> NexusControlError:
    return NexusControlError(
        ErrorCode.ROUTER_ERROR,
        f"Router execution failed: it cannot describe adapter {adapter_id!r:.80}: {describe(error)}",
        advice="Mend the router, then call again; nothing was written or executed.",
    )


def dispatch(
    router: RouterProtocol, request: dict[str, Any], adapter_digest: str | None = None
) -> Dispatched:
    """Call the router once, and read what happened. `adapter_digest` is of the adapter as it is declared now."""
    pid = os.getpid()
    try:
        response: object = router.run(**request)
    except SystemExit as exit_:
        if os.getpid() != pid:
            raise  # a child that the router forked ends itself, not the run
        return Dispatched(unknown("ROUTER_OUTCOME_UNKNOWN", describe(exit_)))
    except Exception as error:
        try:
            return Dispatched(_of_exception(error))
        except Exception:  # what it is cannot be found out
            return Dispatched(unknown("ROUTER_OUTCOME_UNKNOWN", describe(error)))
    try:
        read = _read(router, response, dry_run=request["dry_run"])
    except (Exception, SystemExit) as error:
        return Dispatched(unknown("ANSWER_UNREADABLE", describe(error)))
    return replace(read, adapter_digest=adapter_digest)


def _of_exception(error: Exception) -> OutcomePayload:
    match error:
        case RouterOutcomeUnknown():
            run_id = read_response({"run_id": error.run_id}).run_id
            reason = "STOPPED" if isinstance(error, RunStopped) else "ROUTER_OUTCOME_UNKNOWN"
            return replace(unknown(reason, bounded(str(error), MAX_MESSAGE)), run_id=run_id)
        case TimeoutError():
            return unknown("TIMEOUT", describe(error))
        case NexusControlError(code=code) if code in REFUSALS:
            return ExecutionFailedPayload(
                error_code=code.value, error_message=bounded(error.message, MAX_MESSAGE), effect="none"
            )
        case _ if leaves_outcome_unknown(error):
            return unknown("ROUTER_OUTCOME_UNKNOWN", describe(error))
        case _:
            return ExecutionFailedPayload(
                error_code=ErrorCode.ROUTER_ERROR.value, error_message=describe(error), effect="unknown"
            )


def _read(router: RouterProtocol, response: object, *, dry_run: bool) -> Dispatched:
    """The outcome, from the router's answer, and from the run's bundle where the router keeps one."""
    report = read_response(response, dry_run=dry_run)
    exported = _export(router, report.run_id) if report.run_id is not None else None
    if exported is not None:
        report = read_response(response, exported, dry_run=dry_run)
    bundle_digest = _digest_of(exported, report.run_id)
    answer = kept_answer(report.text, report.response_digest)
    if answer.truncated:
        report = replace(report, notes=(note_of(answer), *report.notes))
    # Nobody can be shown what is not kept whole, so nobody can approve it.
    rehearsed = rehearsal_digest_of(report.text) if dry_run and not answer.truncated else None
    return Dispatched(_outcome(report, bundle_digest), answer, rehearsed)


def _outcome(report: RunReport, bundle_digest: str | None) -> OutcomePayload:
    if report.run_id is None or report.outcome == "unknown":
        return ExecutionOutcomeUnknownPayload(
            reason="NO_RUN_ID" if report.run_id is None else "RUN_UNFINISHED",
            detail=bounded("; ".join(filter(None, (report.error_message, *report.notes))), MAX_MESSAGE)
            or "The router's answer names no run",
            run_id=report.run_id,
            response_digest=report.response_digest,
            router_bundle_digest=bundle_digest,
        )
    if report.outcome == "failed":
        return ExecutionFailedPayload(
            error_code=report.error_code or RUN_FAILED,
            error_message=report.error_message or "The run failed",
            run_id=report.run_id,
            response_digest=report.response_digest,
            router_bundle_digest=bundle_digest,
            steps_executed=report.steps_executed,
            effect=report.effect,
            notes=report.notes,
        )
    return ExecutionCompletedPayload(
        run_id=report.run_id,
        response_digest=report.response_digest,
        steps_executed=report.steps_executed,
        router_bundle_digest=bundle_digest,
        notes=report.notes,
    )


def _export(router: RouterProtocol, run_id: str) -> dict[str, Any] | None:
    """The run's bundle, where the router has one. It is only a second witness: its absence fails nothing."""
    if not isinstance(router, RunExporter):
        return None
    try:
        return router.export_run(run_id)
    except (Exception, SystemExit):
        return None


def _digest_of(exported: dict[str, Any] | None, run_id: str | None) -> str | None:
    """The digest that a run's bundle declares; None for one that names another run."""
    match exported:
        case None:
            return None
        case {"run": {"run_id": named}} if named != run_id:
            return None
        case _:
            return router_bundle_digest(exported)


def unknown(reason: str, detail: str) -> ExecutionOutcomeUnknownPayload:
    """The outcome unknown, with its reason."""
    return ExecutionOutcomeUnknownPayload(reason=reason, detail=detail)


def describe(error: BaseException) -> str:
    """An exception as one text, of bounded length and without lone surrogates."""
    return described(error, MAX_MESSAGE)
