"""After a crash or a fault: an outcome is honestly unknown, a person settles it, and nothing is run again."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import pytest

from nexus_control import DecisionStore, NexusControlTools, verify_audit_package
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.stopping import Stop, heeding
from nexus_control.integrity import sha256_hex
from nexus_control.storage import open_storage
from nexus_control.system.processes import Owner, Standing, owning
from nexus_control.usecases import executing as executing_module
from nexus_control.usecases.settling import give_up_own
from nexus_control.values.payloads import ExecutionRequestedPayload, ExecutionStartedPayload
from tests.support.executor import executing
from tests.support.governed import (
    ADAPTER,
    ALICE,
    SCHEDULER,
    approved,
    data_of,
    last_event,
    reasons,
    require_whole,
)
from tests.support.interrupting import AtLine, has_ended
from tests.support.routers import ScriptedRouter, good_answer
from tests.support.watched_storage import Moment, WatchedStorage

DIGEST = sha256_hex("the router's answer")


def state(tools: NexusControlTools, request_id: str) -> str:
    return data_of(tools.status(request_id))["state"]


def claimed(tools: NexusControlTools, owner: Owner) -> str:
    """The id of a decision that `owner` is executing."""
    return claimed_by(tools, owner.to_text())


def claimed_by(tools: NexusControlTools, owner: str) -> str:
    """The id of a decision that is executing, for the owner that this text names."""
    request_id = approved(tools)
    with tools.store.writing() as session:
        decision = session.decision(request_id)
        requested = ExecutionRequestedPayload(adapter_id=ADAPTER, dry_run=False)
        started = ExecutionStartedPayload(router_request_digest=sha256_hex("request"))
        stored = session.append(decision, SCHEDULER, requested, started)
        session.claim(stored, decision.facts.event_count, owner)
    return request_id


def this_process() -> Owner:
    """This process as the owner of an execution that is over."""
    with owning("over") as owner:
        return owner


def process(pid: int) -> Owner:
    """The owner that process would be."""
    started = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19]
    return replace(this_process(), pid=pid, started=started.decode())


def idle_child(name: bytes = b"idle") -> "subprocess.Popen[bytes]":
    """A process of this name that waits until it is killed."""
    script = f"open('/proc/self/comm', 'wb').write({name!r}); print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-S", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"\n"
    return child


def unseen(_owner: Owner) -> Standing:
    return "unseen"


def give_up_from_elsewhere(
    tools: NexusControlTools, request_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recover an execution of this very process, as somebody on another host does by force."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(Owner, "standing", unseen)
        data_of(tools.recover(request_id, force=True))


# --- whose execution is it ----------------------------------------------------------------------------------------


def test_a_claim_is_held_while_its_execution_is_under_way() -> None:
    tools = NexusControlTools()

    def look() -> object:
        assert tools.recover(request_id).error_code == "CLAIM_HELD"
        assert tools.recover(request_id, force=True).error_code == "CLAIM_HELD"
        assert data_of(tools.recover()) == {"recovered": [], "still_held": 1, "runs": []}
        assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["EXECUTING"]
        return good_answer()

    router = ScriptedRouter(look)
    request_id = approved(tools)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    assert router.runs == 1


@pytest.mark.parametrize(
    "owner",
    [
        pytest.param(this_process, id="its own execution is over"),
        pytest.param(lambda: replace(this_process(), started="1"), id="its pid belongs to a later process"),
        pytest.param(
            lambda: replace(this_process(), boot_id="an earlier boot", machine=None),
            id="the host was restarted",
        ),
    ],
)
def test_an_execution_whose_owner_is_gone_is_recovered(owner: Callable[[], Owner]) -> None:
    tools = NexusControlTools()
    request_id = claimed(tools, owner())
    recovered = data_of(tools.recover())
    assert (recovered["recovered"], recovered["still_held"]) == ([request_id], 0)
    event = last_event(tools.store, request_id)
    assert (event.event_type, event.payload["reason"]) == ("EXECUTION_OUTCOME_UNKNOWN", "OWNER_GONE")
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer))) == [
        "OUTCOME_UNKNOWN"
    ]
    assert tools.recover(request_id).error_code == "INVALID_STATE"
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    require_whole(tools.store, request_id)


@pytest.mark.parametrize("name", [b"idle", b"a) Z 1 \xff"], ids=["plain", "confusing"])
def test_a_living_process_holds_its_claim_and_a_dead_one_does_not_even_before_it_is_reaped(
    name: bytes,
) -> None:
    tools = NexusControlTools()
    with idle_child(name) as child:
        request_id = claimed(tools, process(child.pid))
        assert tools.recover(request_id).error_code == "CLAIM_HELD"
        assert tools.recover(request_id, force=True).error_code == "CLAIM_HELD"
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert data_of(tools.recover(request_id))["recovered"] == [request_id]


def test_a_dead_process_does_not_hold_its_claim() -> None:
    tools = NexusControlTools()
    with idle_child() as child:
        owner = process(child.pid)
        child.kill()
    request_id = claimed(tools, owner)
    assert data_of(tools.recover(request_id))["recovered"] == [request_id]


@pytest.mark.parametrize(
    "where",
    [{"host": "elsewhere"}, {"namespace": "pid:[1]", "pid": 2**22}],
    ids=["another host", "another container of this host"],
)
def test_a_claim_from_elsewhere_is_given_up_only_when_named_and_forced(where: dict[str, Any]) -> None:
    tools = NexusControlTools()
    owner = replace(this_process(), **where)
    request_id = claimed(tools, owner)
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 1, "runs": []}
    held = tools.recover(request_id)
    assert (held.error_code, held.details["host"]) == ("CLAIM_HELD", owner.host)
    assert tools.recover(force=True).error_code == "INVALID_ARGUMENT"
    assert state(tools, request_id) == "executing"
    recovered = data_of(tools.recover(request_id, force=True))
    assert (recovered["recovered"], recovered["still_held"]) == ([request_id], 0)
    assert state(tools, request_id) == "outcome_unknown"


def test_only_an_executing_decision_can_be_recovered_and_only_an_unknown_outcome_reconciled() -> None:
    tools = NexusControlTools()
    request_id = approved(tools)
    assert tools.recover(request_id).error_code == "INVALID_STATE"
    assert tools.reconcile(request_id, ALICE, "completed", "Looked").error_code == "INVALID_STATE"
    assert tools.recover("nobody").error_code == "DECISION_NOT_FOUND"
    assert str(last_event(tools.store, request_id).event_type) == "APPROVAL_GRANTED"


# --- a process that dies in the middle ----------------------------------------------------------------------------


def test_an_owner_killed_in_mid_run_leaves_an_unknown_outcome_that_a_person_settles(tmp_path: Path) -> None:
    tools = NexusControlTools(db_path=tmp_path / "decisions.db")
    request_id = approved(tools)
    with executing(tmp_path / "decisions.db", request_id) as child:
        assert tools.recover(request_id).error_code == "CLAIM_HELD"
        router = ScriptedRouter(good_answer)
        assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["EXECUTING"]
        child.kill()
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["EXECUTING"]
    assert data_of(tools.recover(request_id))["recovered"] == [request_id]
    assert state(tools, request_id) == "outcome_unknown"
    assert tools.export_audit_package(request_id).error_code == "NO_ROUTER_LINK"
    found = {"run_id": "run-1", "response_digest": DIGEST}
    data_of(tools.reconcile(request_id, ALICE, "completed", "The key is new; log line 7", **found))
    assert state(tools, request_id) == "completed"
    package = data_of(tools.export_audit_package(request_id))["package"]
    assert package["router"]["ref"] == {"run_id": "run-1", "digest": f"sha256:{DIGEST}"}
    assert verify_audit_package(package).ok
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["ALREADY_EXECUTED"]
    assert router.runs == 0
    require_whole(tools.store, request_id)


def test_a_reconciliation_without_a_run_settles_the_decision_and_its_package_says_so() -> None:
    tools = NexusControlTools()
    request_id = claimed(tools, this_process())
    data_of(tools.recover(request_id))
    data_of(tools.reconcile(request_id, ALICE, "failed", "Nothing had happened"))
    assert state(tools, request_id) == "failed"
    link = data_of(tools.export_audit_package(request_id))["package"]["router"]["ref"]
    assert link["run_id"].startswith(f"reconciled:{request_id}:")
    assert tools.reconcile(request_id, ALICE, "completed", "Or had it?").error_code == "INVALID_STATE"
    router = ScriptedRouter(good_answer)
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["EXECUTION_FAILED"]
    assert router.runs == 0


# --- an outcome that comes too late -------------------------------------------------------------------------------


def test_an_outcome_after_recover_is_refused_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = NexusControlTools()

    def be_given_up() -> object:
        give_up_from_elsewhere(tools, request_id, monkeypatch)
        return good_answer()

    request_id = approved(tools)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(be_given_up))
    assert (refused.error_code, refused.details["run_id"]) == ("OUTCOME_REFUSED", "run-1")
    status = data_of(tools.status(request_id))
    assert status["state"] == "outcome_unknown"
    late = status["late_outcome"]
    assert (late["event_type"], late["payload"]["run_id"]) == ("EXECUTION_COMPLETED", "run-1")
    assert str(last_event(tools.store, request_id).event_type) == "EXECUTION_OUTCOME_UNKNOWN"
    found = {key: late["payload"][key] for key in ("run_id", "response_digest")}
    data_of(tools.reconcile(request_id, ALICE, "completed", "The late outcome", **found))
    assert verify_audit_package(data_of(tools.export_audit_package(request_id))["package"]).ok
    require_whole(tools.store, request_id)


def test_an_outcome_that_comes_when_the_decision_has_gone_on_disturbs_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tools = NexusControlTools()
    request_id = approved(tools)
    rehearsing, given_up = threading.Event(), threading.Event()

    def rehearse_slowly() -> object:
        rehearsing.set()
        assert given_up.wait(240)
        return good_answer("run-of-rehearsal")

    def let_the_rehearsal_end() -> object:
        given_up.set()
        rehearsal.join()
        assert tools.recover(request_id).error_code == "CLAIM_HELD"
        return good_answer("run-of-record")

    codes: list[str | None] = []
    rehearsal = threading.Thread(
        target=lambda: codes.append(
            tools.execute(
                request_id, ADAPTER, SCHEDULER, ScriptedRouter(rehearse_slowly), dry_run=True
            ).error_code
        )
    )
    rehearsal.start()
    assert rehearsing.wait(240)
    give_up_from_elsewhere(tools, request_id, monkeypatch)
    data_of(tools.reconcile(request_id, ALICE, "failed", "The rehearsal hangs"))
    run = data_of(tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(let_the_rehearsal_end)))
    assert codes == ["OUTCOME_REFUSED"]
    assert run["run_id"] == "run-of-record"
    assert state(tools, request_id) == "completed"
    require_whole(tools.store, request_id)


# --- faults while recording ---------------------------------------------------------------------------------------


class Trouble:
    """Raises `error` at a moment of writing an event of this type, as often as it is told."""

    def __init__(self, moment: Moment, event_type: str, error: BaseException, times: int = 1) -> None:
        self.moment, self.event_type, self.error, self.times = moment, event_type, error, times

    def __call__(self, moment: Moment, types: frozenset[str]) -> None:
        if self.times and moment == self.moment and self.event_type in types:
            self.times -= 1
            raise self.error


DISK_FULL = NexusControlError(ErrorCode.STORE_UNAVAILABLE, "the disk is full")
OUTCOME = "EXECUTION_COMPLETED"
DOUBT = "EXECUTION_OUTCOME_UNKNOWN"


def tools_with(*troubles: Trouble) -> NexusControlTools:
    def watch(moment: Moment, types: frozenset[str]) -> None:
        for trouble in troubles:
            trouble(moment, types)

    return NexusControlTools(DecisionStore(storage=WatchedStorage(open_storage(":memory:"), watch)))


@pytest.mark.parametrize("moment", ["append", "commit"])
def test_an_outcome_that_cannot_be_recorded_is_recorded_as_unknown(moment: Moment) -> None:
    tools = tools_with(Trouble(moment, OUTCOME, DISK_FULL))
    request_id = approved(tools)
    result = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer))
    assert (result.error_code, result.details["reason"]) == ("OUTCOME_UNKNOWN", "RECORDING_FAILED")
    event = last_event(tools.store, request_id)
    assert str(event.event_type) == DOUBT
    assert {key: event.payload[key] for key in ("reason", "run_id", "response_digest")} == {
        "reason": "RECORDING_FAILED",
        "run_id": "run-1",
        "response_digest": result.details["response_digest"],
    }
    assert verify_audit_package(data_of(tools.export_audit_package(request_id))["package"]).ok
    require_whole(tools.store, request_id)


def test_when_nothing_can_be_recorded_the_same_process_can_recover_later() -> None:
    tools = tools_with(Trouble("commit", OUTCOME, DISK_FULL), Trouble("commit", DOUBT, DISK_FULL))
    request_id = approved(tools)
    router = ScriptedRouter(good_answer)
    result = tools.execute(request_id, ADAPTER, SCHEDULER, router)
    assert (result.error_code, result.details["run_id"]) == ("OUTCOME_UNKNOWN", "run-1")
    assert state(tools, request_id) == "executing"
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["EXECUTING"]
    too_early = tools.reconcile(request_id, ALICE, "completed", "The caller was told")
    assert too_early.error_code == "INVALID_STATE"
    assert "recover" in str(result.next)
    assert "recover" in str(too_early.next)
    assert data_of(tools.recover())["recovered"] == [request_id]
    found = {key: result.details[key] for key in ("run_id", "response_digest")}
    data_of(tools.reconcile(request_id, ALICE, "completed", "The caller was told", **found))
    assert verify_audit_package(data_of(tools.export_audit_package(request_id))["package"]).ok
    assert router.runs == 1
    require_whole(tools.store, request_id)


@pytest.mark.parametrize("moment", ["append", "commit"])
def test_an_interruption_while_recording_keeps_the_known_outcome_and_goes_on_up(moment: Moment) -> None:
    tools = tools_with(Trouble(moment, OUTCOME, KeyboardInterrupt()))
    request_id = approved(tools)
    with pytest.raises(KeyboardInterrupt):
        tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer))
    event = last_event(tools.store, request_id)
    assert (str(event.event_type), event.payload["run_id"]) == (OUTCOME, "run-1")
    require_whole(tools.store, request_id)


def test_an_interruption_just_after_recording_changes_nothing() -> None:
    tools = tools_with(Trouble("committed", OUTCOME, KeyboardInterrupt()))
    request_id = approved(tools)
    with pytest.raises(KeyboardInterrupt):
        tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(good_answer))
    status = data_of(tools.status(request_id))
    assert status["state"] == "completed"
    assert "late_outcome" not in status
    require_whole(tools.store, request_id)


@pytest.mark.parametrize("moment", ["append", "commit"])
@pytest.mark.parametrize("error", [DISK_FULL, KeyboardInterrupt()], ids=["fault", "interruption"])
def test_without_a_claim_the_router_is_not_run(moment: Moment, error: BaseException) -> None:
    tools = tools_with(Trouble(moment, "EXECUTION_STARTED", error))
    request_id = approved(tools)
    router = ScriptedRouter(good_answer)
    if error is DISK_FULL:
        failed = tools.execute(request_id, ADAPTER, SCHEDULER, router)
        assert failed.error_code == "STORE_UNAVAILABLE"
    else:
        with pytest.raises(KeyboardInterrupt):
            tools.execute(request_id, ADAPTER, SCHEDULER, router)
    assert (state(tools, request_id), router.runs) == ("approved", 0)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    require_whole(tools.store, request_id)


def test_an_interruption_between_claim_and_run_is_recorded_and_says_that_nothing_was_dispatched() -> None:
    tools = tools_with(Trouble("committed", "EXECUTION_STARTED", KeyboardInterrupt()))
    request_id = approved(tools)
    router = ScriptedRouter(good_answer)
    with pytest.raises(KeyboardInterrupt):
        tools.execute(request_id, ADAPTER, SCHEDULER, router)
    event = last_event(tools.store, request_id)
    assert (str(event.event_type), router.runs) == (DOUBT, 0)
    assert event.payload["detail"] == "KeyboardInterrupt, before the router was called"
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}
    require_whole(tools.store, request_id)


def executes(frame: FrameType) -> bool:
    return frame.f_code.co_filename == executing_module.__file__


def test_an_interruption_at_whatever_line_leaves_no_execution_that_seems_to_go_on() -> None:
    states: list[str] = []
    tools = NexusControlTools()
    while True:
        request_id, router = approved(tools), ScriptedRouter(good_answer)
        trace = AtLine(len(states) + 1, executes)
        has_ended(trace, partial(tools.execute, request_id, ADAPTER, SCHEDULER, router))
        if trace.remaining > 0:  # it came to its end before
            break
        states.append(state(tools, request_id))
        assert states[-1] != "approved" or router.runs == 0
        require_whole(tools.store, request_id)
    assert len(states) > 50
    assert "executing" not in states
    assert list(dict.fromkeys(states)) == ["approved", "outcome_unknown", "completed"]


# --- a process that ends before its runs do -------------------------------------------------------------------------


def test_an_execution_that_its_process_leaves_behind_is_unknown_and_what_it_says_later_is_kept() -> None:
    tools = NexusControlTools()

    def be_left() -> object:
        give_up_own(tools.store, "the server ended")
        return good_answer()

    request_id = approved(tools)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(be_left))
    assert (refused.error_code, refused.details["run_id"]) == ("OUTCOME_REFUSED", "run-1")
    event = last_event(tools.store, request_id)
    assert (str(event.event_type), event.payload["reason"]) == (DOUBT, "STOPPED")
    assert data_of(tools.status(request_id))["late_outcome"]["payload"]["run_id"] == "run-1"
    require_whole(tools.store, request_id)


def test_a_process_leaves_alone_what_others_execute(tmp_path: Path) -> None:
    tools = NexusControlTools(db_path=tmp_path / "decisions.db")
    request_id = approved(tools)
    with executing(tmp_path / "decisions.db", request_id):
        give_up_own(tools.store, "the server ended")
        assert state(tools, request_id) == "executing"


def test_nothing_is_claimed_once_the_order_to_stop_has_come() -> None:
    tools, stop, router = NexusControlTools(), Stop(), ScriptedRouter(good_answer)
    request_id = approved(tools)
    with heeding(stop):
        stop.order("the server ended")
        assert tools.execute(request_id, ADAPTER, SCHEDULER, router).error_code == "SHUTTING_DOWN"
    assert (state(tools, request_id), router.runs) == ("approved", 0)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))


# --- rehearsals ---------------------------------------------------------------------------------------------------


def _time_out() -> object:
    raise TimeoutError


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_a_rehearsal_of_unknown_outcome_must_be_reconciled_and_then_the_decision_is_open_again(
    outcome: Literal["completed", "failed"],
) -> None:
    tools = NexusControlTools()
    request_id = approved(tools)
    unknown = tools.execute(request_id, ADAPTER, SCHEDULER, ScriptedRouter(_time_out), dry_run=True)
    assert unknown.error_code == "OUTCOME_UNKNOWN"
    router = ScriptedRouter(good_answer)
    assert reasons(tools.execute(request_id, ADAPTER, SCHEDULER, router)) == ["OUTCOME_UNKNOWN"]
    data_of(tools.reconcile(request_id, ALICE, outcome, "It was only a rehearsal"))
    assert state(tools, request_id) == "approved"
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    assert router.runs == 1
    assert verify_audit_package(data_of(tools.export_audit_package(request_id))["package"]).ok
    require_whole(tools.store, request_id)
