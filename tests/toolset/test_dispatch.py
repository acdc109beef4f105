"""An agent asks for what a worker executes: its server needs no adapters, and it is told to wait."""

from nexus_control.usecases.arguments import ExecuteArguments, validated
from nexus_control.usecases.executing import execute
from tests.toolset.bench import ADAPTER, AGENT, Bench, Waits


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
