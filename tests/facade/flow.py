"""Shorthand for the governed flow, through the facade alone."""

import json
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError, next_step
from nexus_control.tool import NexusControlTools, ToolResult
from nexus_control.values.actors import Actor
from tests.facade.routers import FakeRouter
from tests.support.governed import ADAPTER, ALICE, SCHEDULER, approved, data_of

CAROL = Actor(type="human", id="carol")
DAVE = Actor(type="human", id="dave")


def asked(tools: NexusControlTools, **request: Any) -> str:
    """The id of a request for apply by alice that nobody has approved yet."""
    values: dict[str, Any] = {"goal": "Rotate the keys", "actor": ALICE, "mode": "apply"}
    request_id: str = data_of(tools.request(**(values | request)))["request_id"]
    return request_id


def executed(tools: NexusControlTools, router: FakeRouter | None = None, **request: Any) -> str:
    """The id of a decision that had its run."""
    request_id = approved(tools, **request)
    tools.execute(request_id, ADAPTER, SCHEDULER, router or FakeRouter())
    return request_id


def state_of(tools: NexusControlTools, request_id: str) -> str:
    state: str = data_of(tools.status(request_id))["state"]
    return state


def blocked_by(tools: NexusControlTools, request_id: str) -> list[str]:
    return [reason["code"] for reason in data_of(tools.status(request_id))["blocking_reasons"]]


def bundle_of(tools: NexusControlTools, request_id: str) -> dict[str, Any]:
    bundle: dict[str, Any] = data_of(tools.export_bundle(request_id))["bundle"]
    return bundle


def require_refused(result: ToolResult[Any], code: ErrorCode) -> None:
    """A well-formed refusal with this code."""
    assert not result.success
    assert result.error_code == code, result.error
    assert result.error is not None
    assert result.error.startswith(f"{code}: ")
    assert str(result.error).count(str(code)) == 1
    with pytest.raises(NexusControlError) as raised:
        assert result.data is None
    assert raised.value.code is code
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    assert next_step(code)
