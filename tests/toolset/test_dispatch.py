"""An agent asks for what a worker executes: its server needs no adapters, and it is told to wait."""

from contextlib import suppress

from nexus_control import NexusControlTools
from nexus_control.errors import NexusControlError
from nexus_control.usecases.arguments import ExecuteArguments, validated
from nexus_control.usecases.executing import execute
from tests.toolset.bench import ADAPTER, AGENT, PLAN, Bench, Waits


def executed_by_a_worker(bench: Bench, request_id: str) -> None:
    values = {"request_id": request_id, "adapter_id": ADAPTER, "actor": AGENT}
    execute(bench.context.store, validated(ExecuteArguments, values), bench.context.router, by_worker=True)


def test_a_server_without_adapters_takes_it_and_says_to_wait_for_the_worker(bench: Bench) -> None:
    bench.change(router=None)
    request_id = bench.approved(dispatch="worker")
    status = bench.data("status", request_id=request_id)
    wait = {"request_id": request_id, "wait_seconds": 50}
    assert (status["dispatch"], status["adapter_id"]) == ("worker", ADAPTER)
    assert status["details"] == {"call": {"tool": "nexus-control.status", "arguments": wait}}
    assert "worker" in status["next"]


def test_execute_is_refused_with_the_same_advice_and_no_command(bench: Bench) -> None:
    for router in (bench.context.router, None):
        bench.change(router=router)
        request_id = bench.approved(dispatch="worker")
        refused = bench.error("execute", request_id=request_id, adapter_id=ADAPTER)
        assert [each["code"] for each in refused["details"]["reasons"]] == ["DISPATCH_BY_WORKER"]
        assert refused["next"] == bench.data("status", request_id=request_id)["next"]
        assert "command" not in refused["details"]
    assert bench.runs == []


def test_a_status_that_waits_waits_for_the_worker(bench: Bench) -> None:
    request_id = bench.approved(dispatch="worker")
    waits = Waits(lambda: executed_by_a_worker(bench, request_id))
    bench.change(wait=waits)
    status = bench.data("status", request_id=request_id, wait_seconds=50)
    assert (status["state"], len(waits.seconds), bench.runs) == ("completed", 1, ["rotate"])


def test_a_status_does_not_wait_for_a_request_that_the_agent_executes(bench: Bench) -> None:
    request_id = bench.approved()
    assert bench.data("status", request_id=request_id, wait_seconds=50)["state"] == "approved"
    assert isinstance(bench.context.wait, Waits)
    assert bench.context.wait.seconds == []


def rehearsed_by_a_worker(bench: Bench, request_id: str) -> None:
    """What a worker does of its own accord: a failure is recorded and told elsewhere."""
    values = {"request_id": request_id, "adapter_id": ADAPTER, "actor": AGENT, "dry_run": True}
    with suppress(NexusControlError):
        execute(
            bench.context.store, validated(ExecuteArguments, values), bench.context.router, by_worker=True
        )


def test_the_whole_conversation_of_a_rehearsed_request_follows_from_the_answers(bench: Bench) -> None:
    bench.change(approvals="human")
    asked = {"goal": "Rotate", "mode": "apply", "plan": PLAN, "adapter_id": ADAPTER}
    answer = bench.data("request", **asked, dispatch="worker", require_rehearsal={"max_age_seconds": 600})
    request_id = answer["request_id"]
    for act, state in (
        (lambda: rehearsed_by_a_worker(bench, request_id), "pending_approval"),
        (lambda: approved_at_a_terminal(bench, request_id), "approved"),
        (lambda: executed_by_a_worker(bench, request_id), "completed"),
    ):
        bench.change(wait=Waits(act))
        call = answer["details"]["call"]
        if call["tool"] == "nexus-control.approve":  # nobody can be asked here
            refused = bench.error("approve", **call["arguments"])
            assert refused["code"] == "APPROVAL_NEEDS_A_PERSON"
            call = refused["details"]["call"]
        assert call["tool"] == "nexus-control.status"
        answer = bench.data("status", **call["arguments"])
        assert answer["state"] == state
    assert answer["execution"]["results"][0]["output"] == {"rotated": True}
    assert bench.runs == ["rotate"]


def approved_at_a_terminal(bench: Bench, request_id: str) -> None:
    tools = NexusControlTools(bench.context.store)
    assert tools.approve(request_id, {"type": "human", "id": "bob"}).success


def test_an_agent_is_not_told_to_wait_for_a_rehearsal_that_failed(bench: Bench) -> None:
    request_id = bench.request(dispatch="worker", require_rehearsal={"max_age_seconds": 600})

    def fail(*_: object, **__: object) -> object:
        raise ValueError("there is no such key")

    vars(bench.context.router)["run"] = fail
    rehearsed_by_a_worker(bench, request_id)
    status = bench.data("status", request_id=request_id)
    assert (status["state"], status["execution"]["outcome"]) == ("pending_approval", "failed")
    assert "new request" in status["next"]
    assert "call" not in status["details"]


def test_an_approval_before_the_rehearsal_is_refused_with_the_call_that_waits_for_it(bench: Bench) -> None:
    request_id = bench.request(dispatch="worker", require_rehearsal={"max_age_seconds": 600})
    refused = bench.error("approve", request_id=request_id, actor={"type": "human", "id": "bob"})
    assert refused["code"] == "REHEARSAL_REQUIRED"
    assert refused["details"]["call"]["tool"] == "nexus-control.status"
