"""What was shown is what is decided: every view carries the basis, and a decision for another one is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from nexus_control import DecisionStore, NexusControlTools
from nexus_control.errors import ErrorCode
from nexus_control.evidence.statement import Verdict
from nexus_control.values.results import ToolResult
from tests.evidence.ssh import ed25519, public_line, signed
from tests.facade.flow import asked, require_refused, state_of
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import BOB, data_of
from tests.support.swapping import OTHER_GOAL, Swap

Decide: TypeAlias = Callable[..., ToolResult[Any]]
VERDICTS = ["approve", "deny"]


@pytest.fixture
def tools(tmp_path: Path) -> NexusControlTools:
    signers = tmp_path / "allowed_signers"
    signers.write_text(f"bob {public_line(ed25519(1)[0])}\n")
    return NexusControlTools(DecisionStore(":memory:", clock=FakeClock(), allowed_signers=signers))


def decided(tools: NexusControlTools, verdict: str, request_id: str, **given: Any) -> ToolResult[Any]:
    if verdict == "approve":
        return tools.approve(request_id, BOB, **given)
    return tools.deny(request_id, BOB, "no", **given)


def shown(tools: NexusControlTools, request_id: str) -> str:
    basis: str = data_of(tools.inspect(request_id))["basis"]
    return basis


def stated(tools: NexusControlTools, verdict: Verdict, request_id: str) -> dict[str, str]:
    """A statement and its signature."""
    text = data_of(tools.approval_statement(request_id, "bob", verdict))["statement"]
    return {"statement": text, "signature": signed(1, text.encode())}


def test_every_view_that_a_person_decides_from_carries_the_basis_and_it_never_changes(
    tools: NexusControlTools,
) -> None:
    requested = data_of(tools.request("g", BOB, min_approvals=2))
    request_id, basis = requested["request_id"], requested["basis"]
    assert basis.startswith("sha256:")
    data_of(tools.approve(request_id, BOB))
    inspected = data_of(tools.inspect(request_id))
    assert f"- Basis: {basis}" in inspected["rendered"]
    views = [
        data_of(tools.status(request_id)),
        inspected,
        data_of(tools.approval_statement(request_id, "bob")),
    ]
    assert [view["basis"] for view in views] == [basis] * 3


def test_a_basis_is_of_one_request_alone(tools: NexusControlTools) -> None:
    assert shown(tools, asked(tools)) != shown(tools, asked(tools))


def test_a_draft_has_no_basis(tools: NexusControlTools) -> None:
    draft = tools.store.create_decision()
    assert data_of(tools.status(draft))["basis"] is None


@pytest.mark.parametrize("verdict", VERDICTS)
def test_what_was_put_in_the_place_of_what_was_shown_is_not_decided(
    tools: NexusControlTools, verdict: Verdict
) -> None:
    request_id = asked(tools)
    basis, swap = shown(tools, request_id), Swap.of(tools, request_id)
    swap.to_other()
    before = contents(tools.store)
    refused = decided(tools, verdict, request_id, basis=basis)
    require_refused(refused, ErrorCode.BASIS_CHANGED)
    assert refused.details == {"request_id": request_id, "shown": basis, "now": shown(tools, request_id)}
    assert contents(tools.store) == before
    assert data_of(tools.status(request_id))["goal"] == OTHER_GOAL


@pytest.mark.parametrize("verdict", VERDICTS)
def test_what_was_shown_can_be_decided_once_it_is_back(tools: NexusControlTools, verdict: Verdict) -> None:
    request_id = asked(tools)
    swap = Swap.of(tools, request_id).made_by_imports()
    basis = shown(tools, request_id)
    swap.to_other()
    swap.back()
    data_of(decided(tools, verdict, request_id, basis=basis))
    assert state_of(tools, request_id) == ("approved" if verdict == "approve" else "denied")


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_statement_of_what_was_there_before_and_after_does_not_decide_what_was_shown_between(
    tools: NexusControlTools, verdict: Verdict
) -> None:
    request_id = asked(tools)
    swap = Swap.of(tools, request_id).made_by_imports()
    given = stated(tools, verdict, request_id)
    swap.to_other()
    seen = shown(tools, request_id)
    swap.back()
    require_refused(decided(tools, verdict, request_id, basis=seen, **given), ErrorCode.BASIS_CHANGED)
    data_of(decided(tools, verdict, request_id, basis=shown(tools, request_id), **given))


@pytest.mark.parametrize("verdict", VERDICTS)
def test_a_statement_of_something_else_than_was_shown_is_refused(
    tools: NexusControlTools, verdict: Verdict
) -> None:
    request_id = asked(tools)
    basis, swap = shown(tools, request_id), Swap.of(tools, request_id)
    swap.to_other()
    given = stated(tools, verdict, request_id)
    swap.back()
    require_refused(decided(tools, verdict, request_id, basis=basis, **given), ErrorCode.BASIS_CHANGED)
    require_refused(decided(tools, verdict, request_id, **given), ErrorCode.SIGNATURE_INVALID)


@pytest.mark.parametrize("basis", ["", "0" * 64, f"sha256:{'A' * 64}", 1])
def test_what_is_no_basis_is_a_bad_argument(tools: NexusControlTools, basis: Any) -> None:
    require_refused(tools.approve(asked(tools), BOB, basis=basis), ErrorCode.INVALID_ARGUMENT)
