"""A router gets ready before an execution is claimed, and stays so until its outcome is recorded."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from nexus_control import NexusControlTools
from nexus_control.errors import ErrorCode, NexusControlError
from tests.execution.honest_router import ADAPTER, HonestRouter, Shop
from tests.support.governed import SCHEDULER, approved, data_of


class Watched(HonestRouter):
    """Notes the state of the only decision when it gets ready, when it runs, and when it lets go."""

    def __init__(self, tools: NexusControlTools) -> None:
        super().__init__(Shop())
        self.tools = tools
        self.states: list[str] = []

    def note(self) -> None:
        self.states.append(data_of(self.tools.list_requests())["requests"][0]["state"])

    @contextmanager
    def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
        self.note()
        try:
            yield
        finally:
            self.note()

    def require_ready(self, adapter_id: str, dry_run: bool, plan: str | None) -> None:
        raise AssertionError("it is asked in place of `prepared`")

    def apply(self, run_id: str, steps: list[str]) -> None:
        self.note()


def test_it_is_ready_from_before_the_claim_until_the_outcome_is_recorded() -> None:
    tools = NexusControlTools()
    router = Watched(tools)
    request_id = approved(tools, plan="look pay", adapter_id=ADAPTER)
    data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    assert router.states == ["approved", "executing", "completed"]


@pytest.mark.parametrize("dry_run", [None, True])
def test_what_is_blocked_prepares_nothing(dry_run: bool | None) -> None:
    tools = NexusControlTools()
    router = Watched(tools)
    request_id = approved(tools, plan="look pay", adapter_id=ADAPTER, min_approvals=2)
    assert tools.execute(request_id, ADAPTER, SCHEDULER, router, dry_run=dry_run).error_code is not None
    assert router.states == []


def test_what_cannot_get_ready_uses_no_approval_up() -> None:
    class Unready(HonestRouter):
        @contextmanager
        def prepared(self, adapter_id: str, dry_run: bool, plan: str | None) -> Generator[None]:
            raise NexusControlError(ErrorCode.ROUTER_NOT_READY, "the server does not start")
            yield

    tools = NexusControlTools()
    request_id = approved(tools, plan="look pay", adapter_id=ADAPTER)
    refused = tools.execute(request_id, ADAPTER, SCHEDULER, Unready(Shop()))
    status = data_of(tools.status(request_id))
    assert (refused.error_code, status["state"], status["event_count"]) == ("ROUTER_NOT_READY", "approved", 3)
