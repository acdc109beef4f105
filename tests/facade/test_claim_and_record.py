"""`claim` and `record`: a caller that runs the tool itself has the same once as `execute`."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from nexus_control import NexusControlTools
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import sha256_hex
from nexus_control.log import head
from nexus_control.system.processes import Owner, owner_named, owning
from nexus_control.usecases import claiming
from nexus_control.values.actors import Actor
from tests.support.governed import ALICE, BOB, approved, data_of, last_event, require_whole
from tests.support.places import REPOSITORY
from tests.support.routers import ScriptedRouter, good_answer

TOOL = "tool:vault.rotate"
AGENT = Actor("system", "agent")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "decisions.db"


@pytest.fixture
def tools(path: Path) -> NexusControlTools:
    return NexusControlTools(path)


def router() -> ScriptedRouter:
    return ScriptedRouter(good_answer)


def claimed(tools: NexusControlTools, request_id: str, **given: Any) -> str:
    return data_of(tools.claim(request_id, TOOL, AGENT, **given))["execution_id"]


def code_of(result: Any) -> str | None:
    assert not result.success
    return result.error_code


def test_a_claimed_and_recorded_execution_is_completed_and_gives_its_output_back(
    tools: NexusControlTools,
) -> None:
    request_id = approved(tools)
    claim = data_of(tools.claim(request_id, TOOL, AGENT))
    assert claim["run_id"] == claim["execution_id"]
    assert data_of(tools.status(request_id))["state"] == "executing"
    output = {"key": "k-2", "rotated": True}
    record = data_of(tools.record(claim["execution_id"], "completed", output=output))
    assert (record["recorded"], record["effect"], record["steps_executed"]) == (True, "done", 1)
    assert record["response_digest"] == sha256_hex(canonical_json({"output": output}))
    assert record["request_digest"] == claim["request_digest"]
    assert data_of(tools.status(request_id))["run"] == {"run_id": claim["run_id"], "status": "completed"}
    assert data_of(tools.result(request_id))["answer"] == {"output": output}
    assert data_of(tools.export_audit_package(request_id))["digest"]
    require_whole(tools.store, request_id)


def test_a_claim_digests_the_request_that_execute_would_have_given_to_its_router(
    tools: NexusControlTools,
) -> None:
    first, second = approved(tools), approved(tools)
    executed = data_of(tools.execute(first, TOOL, AGENT, router()))
    assert data_of(tools.claim(second, TOOL, AGENT))["request_digest"] == executed["request_digest"]


def test_a_second_claim_is_refused_before_and_after_the_record(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    execution = claimed(tools, request_id)
    assert code_of(tools.claim(request_id, TOOL, AGENT)) == ErrorCode.EXECUTING
    assert code_of(tools.execute(request_id, TOOL, AGENT, router())) == ErrorCode.EXECUTING
    data_of(tools.record(execution, "completed"))
    refusal = tools.claim(request_id, TOOL, AGENT)
    assert refusal.details["reasons"][0]["code"] == "ALREADY_EXECUTED"


def test_of_many_threads_and_stores_one_claims(tools: NexusControlTools, path: Path) -> None:
    request_id = approved(tools)
    stores = [tools, *(NexusControlTools(path) for _ in range(3))]
    barrier = threading.Barrier(8)

    def race(n: int) -> bool:
        barrier.wait()
        return tools_of(n).claim(request_id, TOOL, AGENT).success

    def tools_of(n: int) -> NexusControlTools:
        return stores[n % len(stores)]

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(8))) == 1


@pytest.mark.parametrize(
    ("outcome", "given", "state", "effect"),
    [
        ("completed", {"output": [1, 2]}, "completed", "done"),
        ("failed", {"error": "the vault was locked", "effect": "none"}, "failed", "none"),
        ("failed", {"error": "half of it", "effect": "done", "output": "half"}, "failed", "done"),
        ("failed", {}, "failed", "unknown"),
        ("unknown", {"error": "the connection broke"}, "outcome_unknown", "unknown"),
        ("unknown", {}, "outcome_unknown", "unknown"),
    ],
)
def test_the_first_record_wins(
    outcome: Literal["completed", "failed", "unknown"],
    given: dict[str, Any],
    state: str,
    effect: str,
    tools: NexusControlTools,
) -> None:
    request_id = approved(tools)
    execution = claimed(tools, request_id)
    first = data_of(tools.record(execution, outcome, **given))
    assert (first["recorded"], first["effect"]) == (True, effect)
    assert data_of(tools.status(request_id))["state"] == state
    before = tools.store.get_events(request_id)
    again = data_of(tools.record(execution, outcome, **given))
    assert again == first | {"recorded": False}
    changed: dict[str, Any] = {**given, "output": "something else"}
    other = tools.record(execution, outcome, **changed)
    assert code_of(other) == ErrorCode.OUTCOME_REFUSED
    assert tools.store.get_events(request_id) == before
    assert data_of(tools.status(request_id)).get("late_outcome") is None


@pytest.mark.parametrize("output", [1.5, {"at": {1, 2}}, float("nan"), "\ud800", 2**70, {"deep": [[[[1]]]]}])
def test_any_output_can_be_recorded(output: object, tools: NexusControlTools) -> None:
    request_id = approved(tools)
    data_of(tools.record(claimed(tools, request_id), "completed", output=output))
    assert "output" in data_of(tools.result(request_id))["answer"]


def test_an_output_that_is_too_long_is_cut_and_the_answer_says_so(tools: NexusControlTools) -> None:
    execution = claimed(tools, approved(tools))
    assert data_of(tools.record(execution, "completed", output="x" * 2_000_000))["truncated"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"outcome": "done"}, "outcome"),
        ({"outcome": "completed", "error": "why"}, "error"),
        ({"outcome": "completed", "effect": "done"}, "effect"),
        ({"outcome": "unknown", "effect": "none"}, "effect"),
        ({"outcome": "failed", "effect": "much"}, "effect"),
        ({"outcome": "completed", "execution_id": "nobody:0:3"}, "execution_id"),
        ({"outcome": "completed", "execution_id": "x"}, "execution_id"),
        ({"outcome": "completed", "execution_id": ""}, "execution_id"),
    ],
)
def test_a_record_of_something_else_is_refused_and_names_the_field(
    given: dict[str, Any], field: str, tools: NexusControlTools
) -> None:
    request_id = approved(tools)
    execution = claimed(tools, request_id)
    arguments: dict[str, Any] = {"execution_id": execution, **given}
    refusal = tools.record(**arguments)
    assert code_of(refusal) == ErrorCode.INVALID_ARGUMENT
    assert field in str(refusal.details)
    assert data_of(tools.status(request_id))["state"] == "executing"


def test_nobody_records_for_a_router(tools: NexusControlTools) -> None:
    request_id = approved(tools)

    def runs() -> dict[str, Any]:
        execution = data_of(tools.status(request_id))["executions"][-1]["execution_id"]
        assert code_of(tools.record(execution, "completed")) == ErrorCode.CLAIM_HELD
        return good_answer("r1")

    router = ScriptedRouter(runs)
    data_of(tools.execute(request_id, TOOL, AGENT, router))
    assert data_of(tools.status(request_id))["run"]["run_id"] == "r1"


# --- owners ------------------------------------------------------------------------------------------------------


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


CLAIMS = """
import sys
from nexus_control import Actor, NexusControlTools
_, path, request_id, owner = sys.argv
tools = NexusControlTools(path)
print(tools.claim(request_id, "tool:vault.rotate", Actor("system", "agent"), owner_pid=int(owner)).data["execution_id"])
"""


def claimed_elsewhere(path: Path, request_id: str, owner: int) -> str:
    command = [sys.executable, "-c", CLAIMS, str(path), request_id, str(owner)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_claim_for_a_process_outlives_the_one_that_claimed_and_ends_with_its_owner(
    tools: NexusControlTools, path: Path
) -> None:
    request_id = approved(tools)
    with sleeper() as host:
        claimed_elsewhere(path, request_id, host.pid)
        assert data_of(tools.recover())["still_held"] == 1
        assert code_of(tools.recover(request_id)) == ErrorCode.CLAIM_HELD
        assert code_of(tools.recover(request_id, force=True)) == ErrorCode.CLAIM_HELD
        host.kill()
        host.wait()
        assert data_of(tools.recover())["recovered"] == [request_id]
    assert data_of(tools.status(request_id))["state"] == "outcome_unknown"


def test_a_third_process_records_what_another_has_claimed(tools: NexusControlTools, path: Path) -> None:
    request_id = approved(tools)
    execution = claimed_elsewhere(path, request_id, os.getpid())
    assert data_of(tools.recover())["still_held"] == 1
    assert data_of(tools.record(execution, "completed", output="ok"))["recorded"]
    assert data_of(tools.status(request_id))["state"] == "completed"


def test_a_claim_without_a_named_owner_ends_with_the_process_that_made_it(
    tools: NexusControlTools, path: Path
) -> None:
    request_id = approved(tools)
    code = CLAIMS.replace(", owner_pid=int(owner)", "")
    command = [sys.executable, "-c", code, str(path), request_id, "0"]
    subprocess.run(command, check=True, capture_output=True)
    assert data_of(tools.recover())["recovered"] == [request_id]


def test_the_own_process_holds_its_claim_after_the_call(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    claimed(tools, request_id)
    assert code_of(tools.recover(request_id)) == ErrorCode.CLAIM_HELD


def test_a_process_that_is_not_there_owns_nothing(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    with sleeper() as gone:
        gone.kill()
        gone.wait()
        refusal = tools.claim(request_id, TOOL, AGENT, owner_pid=gone.pid)
    assert code_of(refusal) == ErrorCode.INVALID_ARGUMENT
    assert "owner_pid" in (refusal.error or "")
    assert data_of(tools.status(request_id))["state"] == "approved"


def test_a_record_after_the_owner_has_gone_is_refused_and_kept_as_evidence(
    tools: NexusControlTools, path: Path
) -> None:
    request_id = approved(tools)
    with sleeper() as host:
        execution = claimed_elsewhere(path, request_id, host.pid)
        host.kill()
    data_of(tools.recover())
    assert code_of(tools.record(execution, "completed", output=1)) == ErrorCode.OUTCOME_REFUSED
    late = data_of(tools.status(request_id))["late_outcome"]
    assert late["event_type"] == "EXECUTION_COMPLETED"
    assert code_of(tools.record(execution, "failed", error="no")) == ErrorCode.OUTCOME_REFUSED
    assert data_of(tools.status(request_id))["late_outcome"] == late
    data_of(tools.reconcile(request_id, BOB, "completed", "seen in the vault"))
    assert code_of(tools.record(execution, "failed", error="no")) == ErrorCode.OUTCOME_REFUSED


def test_an_ended_call_of_execute_does_not_live_on_as_its_process() -> None:
    with owning("token") as owner:
        assert owner.standing() == "alive"
    assert owner.standing() == "gone"
    found = Owner.find(owner.to_text())
    assert found is not None
    assert not found.is_a_process


# --- the rules of execute ----------------------------------------------------------------------------------------


def test_a_claim_is_refused_for_every_reason_that_execute_has(tools: NexusControlTools) -> None:
    pending = data_of(tools.request("Rotate the keys", ALICE, mode="apply"))["request_id"]
    refusal = tools.claim(pending, TOOL, AGENT)
    assert [each["code"] for each in refusal.details["reasons"]] == ["MISSING_APPROVALS"]
    bound = approved(tools, adapter_id="tool:other")
    refusal = tools.claim(bound, TOOL, AGENT)
    assert [each["code"] for each in refusal.details["reasons"]] == ["ADAPTER_MISMATCH"]
    demanding = approved(tools, require_adapter_capabilities=["apply"])
    refusal = tools.claim(demanding, TOOL, AGENT)
    assert [each["code"] for each in refusal.details["reasons"]] == ["CAPABILITIES_UNKNOWN"]
    assert code_of(tools.claim("nobody", TOOL, AGENT)) == ErrorCode.DECISION_NOT_FOUND


def test_a_claimed_rehearsal_leaves_the_request_approved(tools: NexusControlTools) -> None:
    request_id = approved(tools)
    execution = claimed(tools, request_id, dry_run=True)
    assert data_of(tools.record(execution, "completed", output="would rotate"))["mode"] == "dry_run"
    assert data_of(tools.status(request_id))["state"] == "approved"
    assert claimed(tools, request_id)


def test_a_claim_whose_head_cannot_be_brought_forward_fails_without_an_effect(
    tools: NexusControlTools, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = approved(tools)

    def cannot(*_: object) -> None:
        raise NexusControlError(ErrorCode.STORE_UNAVAILABLE, "the head cannot be written")

    monkeypatch.setattr(head, "advance", cannot)
    assert code_of(tools.claim(request_id, TOOL, AGENT)) == ErrorCode.STORE_UNAVAILABLE
    event = last_event(tools.store, request_id)
    assert (event.event_type, event.payload["effect"]) == ("EXECUTION_FAILED", "none")


def test_a_store_that_was_put_back_claims_nothing(tools: NexusControlTools, path: Path) -> None:
    request_id = approved(tools)
    tools.close()
    copy = path.read_bytes()
    with NexusControlTools(path) as again:
        data_of(again.record(claimed(again, request_id), "completed"))
    path.write_bytes(copy)
    for name in ("-wal", "-shm"):
        path.with_name(path.name + name).unlink(missing_ok=True)
    with NexusControlTools(path) as older:
        assert code_of(older.claim(request_id, TOOL, AGENT)) == ErrorCode.STORE_ROLLED_BACK


# --- what must not be lost, and what must not be forged ----------------------------------------------------------


@pytest.mark.parametrize("raised", [KeyboardInterrupt(), OSError("the disk is gone"), MemoryError()])
def test_a_claim_that_is_interrupted_before_its_caller_has_it_fails_without_an_effect(
    raised: BaseException, tools: NexusControlTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = approved(tools)

    def interrupts(*_: object) -> None:
        raise raised

    monkeypatch.setattr(head, "advance", interrupts)
    with suppress(KeyboardInterrupt):
        tools.claim(request_id, TOOL, AGENT)
    event = last_event(tools.store, request_id)
    assert (event.event_type, event.payload["effect"]) == ("EXECUTION_FAILED", "none")


def test_a_claim_that_an_interrupted_one_meets_is_left_alone(
    tools: NexusControlTools, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_id = approved(tools)
    execution = claimed(tools, request_id)

    def interrupts(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(claiming, "require_allowed", interrupts)
    with pytest.raises(KeyboardInterrupt):
        tools.claim(request_id, TOOL, AGENT)
    assert data_of(tools.record(execution, "completed"))["recorded"]


RUNS = """
import os, signal, sys
from nexus_control import Actor, NexusControlTools
from tests.support.places import REPOSITORY
from tests.support.routers import ScriptedRouter
_, path, request_id = sys.argv
router = ScriptedRouter(lambda: os.kill(os.getpid(), signal.SIGKILL))
NexusControlTools(path).execute(request_id, "tool:vault.rotate", Actor("system", "agent"), router)
"""


def test_nobody_writes_the_late_evidence_of_a_router(tools: NexusControlTools, path: Path) -> None:
    request_id = approved(tools)
    subprocess.run([sys.executable, "-c", RUNS, str(path), request_id], check=False, cwd=REPOSITORY)
    data_of(tools.recover())
    execution = data_of(tools.status(request_id))["executions"][-1]["execution_id"]
    assert code_of(tools.record(execution, "completed", output="forged")) == ErrorCode.CLAIM_HELD
    assert "late_outcome" not in data_of(tools.status(request_id))


def test_what_is_not_kept_is_not_called_kept(tools: NexusControlTools) -> None:
    execution = claimed(tools, approved(tools))
    data_of(tools.record(execution, "unknown"))
    refusal = tools.record(execution, "completed")
    assert code_of(refusal) == ErrorCode.OUTCOME_REFUSED
    assert "was not kept" in (refusal.next or "")


def test_an_owner_that_another_clock_has_seen_start_is_not_taken_for_gone() -> None:
    with sleeper() as host:
        owner = owner_named(host.pid)
        assert owner is not None
        elsewhere = replace(owner, clock="time:[1]", started="1")
        assert (owner.standing(), elsewhere.standing()) == ("alive", "unseen")
        assert replace(owner, started="1").standing() == "gone"
        host.kill()
