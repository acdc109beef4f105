"""A model that does nothing but what `next` and `details.call` say comes to an end, from wherever it begins."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from nexus_control.execution.adapter import Adapters
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.toolset import CallResult
from nexus_control.toolset.tool import Approvals
from nexus_control.values.actors import Actor
from tests.facade.flow import CAROL, asked
from tests.facade.routers import FakeRouter
from tests.support.governed import ADAPTER, BOB, SCHEDULER, approved, data_of
from tests.support.situations import SITUATIONS, Situation, Two, then
from tests.toolset.bench import Bench, Waits

MOST_CALLS = 8
MODES: tuple[Approvals, ...] = ("human", "off", "declared")


def raising(error: Exception) -> Callable[[], object]:
    def answer() -> object:
        raise error

    return answer


def run_by(answer: object) -> Callable[[Two, str], object]:
    def step(two: Two, request_id: str) -> object:
        return two.here.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(answer))

    return step


def bound(two: Two, **request: Any) -> str:
    return approved(two.here, adapter_id=ADAPTER, **request)


def begun_and_lost(two: Two) -> str:
    """A run whose process was interrupted, so that nobody knows its outcome."""
    request_id = bound(two)
    with pytest.raises(KeyboardInterrupt):
        two.here.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(raising_interruption))
    return request_id


def raising_interruption() -> object:
    raise KeyboardInterrupt


MORE: dict[str, Situation] = {
    "asked, and bound to an adapter": Situation(
        build=lambda two: asked(two.here, adapter_id=ADAPTER), state="pending_approval", advice="approve"
    ),
    "asked under a policy that nobody here is in": Situation(
        build=lambda two: asked(two.here, adapter_id=ADAPTER, approvers=["carol"]),
        state="pending_approval",
        advice="approve",
    ),
    "asked with two approvals": Situation(
        build=lambda two: asked(two.here, adapter_id=ADAPTER, min_approvals=2),
        state="pending_approval",
        advice="approve",
    ),
    "approved, and bound to an adapter": Situation(build=bound, state="approved", advice="execute"),
    "approved, with a capability that nothing has": Situation(
        build=lambda two: bound(two, require_adapter_capabilities=["teleport"]),
        state="approved",
        advice="execute",
    ),
    "approved as a dry run": Situation(
        build=lambda two: bound(two, mode="dry_run"), state="approved", advice="execute"
    ),
    "rehearsed": Situation(
        build=then(
            bound,
            lambda two, each: data_of(two.here.execute(each, ADAPTER, SCHEDULER, FakeRouter(), dry_run=True)),
        ),
        state="approved",
        advice="execute",
    ),
    "failed": Situation(build=then(bound, run_by({"run_id": "r", "status": "failed"})), state="failed"),
    "of unknown outcome": Situation(build=begun_and_lost, state="outcome_unknown"),
}
ALL = {**SITUATIONS, **MORE}


CANNOT_PASS = "approved, with a capability that nothing has"


class ListingRouter(FakeRouter):
    """A router of one adapter, which runs any plan."""

    adapters = Adapters([PythonAdapter("keys", {"rotate": lambda: None})])


def is_to_come(situation: Situation) -> bool:
    """Whether it can still be executed."""
    open_ = situation.state in ("pending_approval", "approved")
    return open_ and "Make a new request" not in situation.advice


class Model:
    """It calls what it is told to call. People do what it shows them."""

    def __init__(self, bench: Bench, two: Two, request_id: str) -> None:
        self.bench, self.two, self.request_id = bench, two, request_id
        self.made: list[tuple[str, tuple[tuple[str, object], ...]]] = []
        self.people = [BOB, CAROL, Actor(type="human", id="dave")]

    def follow(self, answer: CallResult) -> CallResult:
        """The last answer: it says no further call."""
        while (call := told(answer.content)) is not None:
            name, arguments = call
            assert name.removeprefix("nexus-control.") in str(answer.content["next"]), answer.content
            step = name, tuple(sorted(arguments.items()))
            assert step not in self.made, f"{step} again: {answer.content['next']}"
            self.made.append(step)
            assert len(self.made) <= MOST_CALLS, self.made
            answer = self.bench.call(name, **arguments)
            if not answer.is_error and answer.content.get("state") == "pending_approval":
                self.show_to_people()
                self.made = [each for each in self.made if each[0] != "nexus-control.status"]
        return answer

    def show_to_people(self) -> None:
        """Somebody who may approve does, as long as there is anybody."""
        while self.people:
            if self.two.here.approve(self.request_id, self.people.pop(0)).success:
                return
        pytest.fail("nobody is left who could approve")


def told(content: Mapping[str, object]) -> tuple[str, dict[str, Any]] | None:
    details: Any = content.get("details", {})
    call = details.get("call")
    return None if call is None else (call["tool"], call["arguments"])


@pytest.fixture
def two(bench: Bench) -> Two:
    return Two(bench.context.store, bench.clock)


@pytest.mark.parametrize("approvals", MODES)
@pytest.mark.parametrize("name", ALL)
def test_a_model_that_only_follows_next_reaches_the_end(
    bench: Bench, two: Two, name: str, approvals: Approvals
) -> None:
    request_id = ALL[name].build(two)
    router = ListingRouter()
    bench.change(approvals=approvals, router=router, wait=Waits())
    for begins_with in ("status", "execute", "approve", "export_audit_package"):
        arguments = {
            "status": {"request_id": request_id},
            "execute": {"request_id": request_id, "adapter_id": ADAPTER},
            "approve": {"request_id": request_id},
            "export_audit_package": {"decision_id": request_id},
        }[begins_with]
        end = Model(bench, two, request_id).follow(bench.call(begins_with, **arguments))
        advice = str(end.content["next"])
        assert advice
        assert "execute again" not in advice or "do not call execute again" in advice
    state = bench.data("status", request_id=request_id)["state"]
    if name != CANNOT_PASS and is_to_come(ALL[name]):
        assert (state, len(router.calls)) == ("completed", 1)
    else:
        assert (state == "completed", router.calls) == (ALL[name].state == "completed", [])


def test_while_it_is_executed_a_model_is_told_to_wait(bench: Bench) -> None:
    heard: list[CallResult] = []
    request_id = bench.approved(adapter_id=None)

    def meanwhile() -> object:
        heard.append(bench.call("execute", request_id=request_id, adapter_id=ADAPTER))
        heard.append(bench.call("status", request_id=request_id))
        return {"run_id": "run-1", "status": "completed", "steps_executed": 1}

    bench.change(router=FakeRouter(meanwhile))
    bench.data("execute", request_id=request_id, adapter_id=ADAPTER)
    waiting = ("nexus-control.status", {"request_id": request_id, "wait_seconds": 50})
    assert [told(each.content) for each in heard] == [waiting, waiting]
    assert heard[0].content["code"] == "EXECUTING"


def test_what_was_executed_is_never_executed_again(bench: Bench) -> None:
    request_id = bench.executed()
    refused = bench.error("execute", request_id=request_id, adapter_id=ADAPTER)
    assert "execute" not in refused["next"]
    assert told(refused) == ("nexus-control.export_audit_package", {"decision_id": request_id})


def test_what_has_expired_is_asked_for_anew(bench: Bench) -> None:
    expired = bench.request(expires_in="1h")
    bench.clock.advance(hours=2)
    for tool, more in (("execute", {"adapter_id": ADAPTER}), ("approve", {})):
        refused = bench.error(tool, request_id=expired, **more)
        assert (told(refused), "new request" in refused["next"]) == (None, True)


def test_a_request_of_another_is_asked_of_those_who_can_approve(bench: Bench) -> None:
    request_id = bench.request(approvers=["carol"])
    answer = bench.data("status", request_id=request_id)
    assert told(answer) == ("nexus-control.status", {"request_id": request_id, "wait_seconds": 50})
    assert answer["awaited"]["eligible"] == ["carol"]


def test_a_server_that_only_reads_names_no_tool_that_it_does_not_offer(bench: Bench) -> None:
    ids = [bench.request(), bench.approved(), bench.executed()]
    bench.change(read_only=True)
    for request_id in ids:
        answer = bench.data("status", request_id=request_id)
        call = told(answer)
        assert call is None or call[0] == "nexus-control.status"
        assert not any(f"nexus-control.{verb}" in answer["next"] for verb in ("approve", "execute", "export"))


def test_who_asks_is_told_the_request(bench: Bench) -> None:
    answer = bench.data("request", goal="Rotate", idempotency_key="k1", expires_in="4h", metadata={"a": "b"})
    again = bench.data("request", goal="Rotate", idempotency_key="k1", expires_in="4h", metadata={"a": "b"})
    assert (answer["created"], again["created"]) == (True, False)
    assert again["request_id"] == answer["request_id"]


def test_a_model_is_told_how_a_person_settled_an_execution(bench: Bench, two: Two) -> None:
    request_id = bound(two)
    lost = FakeRouter(raising(TimeoutError("no answer")))
    assert two.here.execute(request_id, ADAPTER, SCHEDULER, lost).error_code == "OUTCOME_UNKNOWN"
    data_of(two.here.reconcile(request_id, BOB, "failed", "the old key is still there"))
    answer = bench.data("status", request_id=request_id)
    assert answer["reconciled"]["evidence"] == "the old key is still there"
    assert "reconciled" in answer["next"]
    assert "Find out" not in answer["next"]
