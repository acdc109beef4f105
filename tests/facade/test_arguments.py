"""What the door refuses, by name and with the limit, before anything is written."""

import inspect
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools, ToolResult
from tests.facade.flow import CAROL, asked, executed, require_refused
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.contents import contents
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of

BAD_ARGUMENTS: list[tuple[str, str, dict[str, Any]]] = [
    ("goal empty", "request", {"goal": ""}),
    ("goal blank", "request", {"goal": " \n"}),
    ("goal of another type", "request", {"goal": 5}),
    ("goal with a lone surrogate", "request", {"goal": "\ud800"}),
    ("goal with NUL", "request", {"goal": "a\x00b"}),
    ("actor missing its id", "request", {"actor": {"type": "human"}}),
    ("actor with an empty id", "request", {"actor": {"type": "human", "id": ""}}),
    ("actor with an invisible id", "request", {"actor": {"type": "human", "id": "\u3164"}}),
    ("actor with a bidi override", "request", {"actor": {"type": "human", "id": "\u202ebob"}}),
    ("actor of a third type", "request", {"actor": {"type": "robot", "id": "r"}}),
    ("actor as text", "request", {"actor": "human:alice"}),
    ("actor of mixed scripts", "request", {"actor": {"type": "human", "id": "\u0430lice"}}),
    ("mode unknown", "request", {"mode": "yolo"}),
    ("mode not allowed", "request", {"mode": "apply", "allowed_modes": ["dry_run"]}),
    ("no approvals", "request", {"min_approvals": 0}),
    ("negative approvals", "request", {"min_approvals": -1}),
    ("approvals as text", "request", {"min_approvals": "5"}),
    ("approvals as true", "request", {"min_approvals": True}),
    ("approvals as a float", "request", {"min_approvals": 2.0}),
    ("no modes", "request", {"allowed_modes": []}),
    ("modes as text", "request", {"allowed_modes": "apply"}),
    ("no steps", "request", {"max_steps": 0}),
    ("labels as text", "request", {"labels": "prod"}),
    ("an empty label", "request", {"labels": [""]}),
    ("an invisible label", "request", {"labels": ["\u200b"]}),
    ("a number as label", "request", {"labels": [1]}),
    ("an approver with a space", "request", {"approvers": ["bob "]}),
    ("an approver of mixed scripts", "request", {"approvers": ["b\u043eb"]}),
    ("requester approval as a number", "request", {"allow_requester_approval": 1}),
    ("assurance unknown", "request", {"min_assurance": "strong"}),
    ("more approvals than approvers", "request", {"approvers": ["bob", "BOB"], "min_approvals": 2}),
    (
        "more approvals than other approvers",
        "request",
        {"approvers": ["bob", "alice"], "min_approvals": 2, "allow_requester_approval": False},
    ),
    ("naive expiry", "request", {"expires_at": "2099-01-01T00:00:00"}),
    ("expiry yesterday", "request", {"expires_at": "yesterday"}),
    ("expiry in the past", "request", {"expires_at": "2020-01-01T00:00:00Z"}),
    ("expiry now", "request", {"expires_at": "2026-01-02T03:04:05.000006Z"}),
    ("expiry as a number", "request", {"expires_at": 4102444800}),
    ("expiry as a date", "request", {"expires_at": "2099-01-01"}),
    ("a field and its synonym", "request", {"min_approvals": 1, "override_min_approvals": 2}),
    ("plan of a number", "request", {"plan": 5}),
    ("plan with an infinity", "request", {"plan": [{"args": {"x": float("inf")}}]}),
    ("plan with a lone surrogate", "request", {"plan": "\ud800"}),
    ("plan steps with a lone surrogate", "request", {"plan": ["\ud800"]}),
    ("adapter empty", "request", {"adapter_id": ""}),
    ("naive expiry", "approve", {"expires_at": "2099-01-01T00:00:00"}),
    ("expiry in the past", "approve", {"expires_at": "2020-01-01T00:00:00+00:00"}),
    ("actor None", "approve", {"actor": None}),
    ("comment of another type", "approve", {"comment": 5}),
    ("request_id empty", "approve", {"request_id": ""}),
    ("request_id of another type", "approve", {"request_id": 5}),
    ("request_id with a lone surrogate", "approve", {"request_id": "\ud800"}),
    ("a statement too long", "revoke_approval", {"statement": "x" * 65_537, "signature": "x"}),
    ("a statement of another type", "approve", {"statement": 5, "signature": "x"}),
    ("approver empty", "approval_statement", {"approver": ""}),
    ("verdict unknown", "approval_statement", {"verdict": "maybe"}),
    ("expiry in the past", "approval_statement", {"expires_at": "2020-01-01T00:00:00Z"}),
    ("reason empty", "deny", {"reason": ""}),
    ("reason blank", "deny", {"reason": "  "}),
    ("reason None", "deny", {"reason": None}),
    ("reason empty", "withdraw", {"reason": ""}),
    ("reason of another type", "revoke_approval", {"reason": 5}),
    ("dry_run as a number", "execute", {"dry_run": 0}),
    ("adapter empty", "execute", {"adapter_id": ""}),
    ("owner 0", "claim", {"owner_pid": 0}),
    ("owner as text", "claim", {"owner_pid": "1"}),
    ("owner true", "claim", {"owner_pid": True}),
    ("owner beyond any process", "claim", {"owner_pid": 2**31}),
    ("dry_run as text", "claim", {"dry_run": "yes"}),
    ("outcome of a reconciliation", "record", {"outcome": "outcome_unknown"}),
    ("error of what completed", "record", {"error": "why"}),
    ("effect of what completed", "record", {"effect": "done"}),
    ("outcome unknown", "reconcile", {"outcome": "maybe"}),
    ("evidence empty", "reconcile", {"evidence": ""}),
    ("response digest prefixed", "reconcile", {"response_digest": "sha256:" + "0" * 64}),
    ("force without a name", "recover", {"force": True}),
    ("events as text", "status", {"include_events": "yes"}),
    ("render None", "inspect", {"render": None}),
    ("limit 0", "list_requests", {"limit": 0}),
    ("limit true", "list_requests", {"limit": True}),
    ("offset negative", "list_requests", {"offset": -1}),
    ("state unknown", "list_requests", {"state": "open"}),
    ("state with awaiting", "list_requests", {"awaiting": "bob", "state": "approved"}),
    ("cursor made up", "list_requests", {"after": "-1"}),
    ("cursor in other digits", "list_requests", {"after": "\u0661"}),
    ("cursor too long", "list_requests", {"after": "9" * 30}),
    ("name empty", "template_create", {"name": ""}),
    ("name with a newline", "template_create", {"name": "a\nb"}),
    ("name of mixed scripts", "template_create", {"name": "pr\u043ed"}),
    ("overrides unknown", "template_create", {"overrides": "some"}),
    ("no approvals", "template_create", {"min_approvals": 0}),
    ("too few approvers", "template_create", {"approvers": ["bob"], "min_approvals": 2}),
    ("offset as text", "template_list", {"offset": "0"}),
    ("bundle of a number", "import_bundle", {"bundle": 5}),
    ("bundle of nothing", "import_bundle", {"bundle": None}),
    ("conflict mode of another type", "import_bundle", {"conflict_mode": None}),
    ("digest bare", "export_audit_package", {"router_bundle_digest": "0" * 64}),
    ("embed without a bundle", "export_audit_package", {"embed_router_bundle": True}),
    ("embed as text", "export_audit_package", {"embed_router_bundle": "yes"}),
]
GOOD_ARGUMENTS: dict[str, dict[str, Any]] = {
    "request": {"goal": "g", "actor": ALICE},
    "approve": {"actor": BOB},
    "revoke_approval": {"actor": BOB},
    "deny": {"actor": BOB, "reason": "r"},
    "withdraw": {"actor": ALICE, "reason": "r"},
    "execute": {"adapter_id": ADAPTER, "actor": SCHEDULER, "router": FakeRouter()},
    "claim": {"adapter_id": ADAPTER, "actor": SCHEDULER},
    "record": {"outcome": "completed"},
    "reconcile": {"actor": ALICE, "outcome": "failed", "evidence": "e"},
    "cancel": {"actor": ALICE, "reason": "r"},
    "template_create": {"name": "t", "actor": ALICE},
    "import_bundle": {"bundle": "{}"},
    "approval_statement": {"approver": "bob"},
}
SPOKEN_OF_AS = {
    "approvers": "min_approvals",
    "allowed_modes": "mode",
    "embed_router_bundle": "router_bundle",
}
NAMED_BY = {
    "inspect": "decision_id",
    "export_bundle": "decision_id",
    "export_audit_package": "decision_id",
    "record": "execution_id",
    "template_get": "name",
}
METHODS = [
    name
    for name, _ in inspect.getmembers(NexusControlTools, inspect.isfunction)
    if not name.startswith("_") and name not in ("close", "proposal")  # these answer no ToolResult
]
NAMELESS = {
    "request",
    "recover",
    "list_requests",
    "events_since",
    "template_create",
    "template_list",
    "import_bundle",
}


@pytest.mark.parametrize(
    ("method", "bad"),
    [row[1:] for row in BAD_ARGUMENTS],
    ids=[f"{row[1]}: {row[0]}" for row in BAD_ARGUMENTS],
)
def test_a_bad_argument_is_named_and_nothing_is_written(
    tools: NexusControlTools, method: str, bad: dict[str, Any]
) -> None:
    request_id = executed(tools) if method in ("export_audit_package", "reconcile") else asked(tools)
    arguments = GOOD_ARGUMENTS.get(method, {})
    if method not in NAMELESS:
        arguments = {NAMED_BY.get(method, "request_id"): request_id, **arguments}
    before = contents(tools.store)
    result: ToolResult[Any] = getattr(tools, method)(**(arguments | bad))
    require_refused(result, ErrorCode.INVALID_ARGUMENT)
    named = {problem["field"].partition(".")[0] for problem in result.details["fields"]}
    assert named & {*bad, *(SPOKEN_OF_AS.get(argument, argument) for argument in bad)}
    assert contents(tools.store) == before


@pytest.mark.parametrize("keyword", ["prioity", "override_goal", "override_quorum"])
def test_a_misspelt_keyword_is_an_error_of_the_call_and_nothing_is_written(
    tools: NexusControlTools, keyword: str
) -> None:
    before = contents(tools.store)
    request: Any = tools.request
    with pytest.raises(TypeError, match=keyword):
        request(**{**GOOD_ARGUMENTS["request"], keyword: None})
    assert contents(tools.store) == before


LIMITS: list[tuple[str, str, Callable[[int], Any], int]] = [
    ("request", "goal", lambda n: "é" * n, 4096),
    ("request", "plan", lambda n: "p" * n, 256 * 1024),
    ("request", "plan", lambda n: "\x01" * n, 256 * 1024),
    ("request", "plan", lambda n: ["p" * (n - 4)], 256 * 1024),
    ("request", "labels", lambda n: [f"label {k}" for k in range(n)], 32),
    ("request", "labels", lambda n: ["é" * n], 64),
    ("request", "approvers", lambda n: [f"person {k}" for k in range(n)], 64),
    ("request", "actor", lambda n: {"type": "human", "id": "é" * n}, 256),
    ("request", "adapter_id", lambda n: "a" * n, 256),
    ("approve", "actor", lambda n: {"type": "human", "id": "a" * n}, 256),
    ("approve", "comment", lambda n: "é" * n, 4096),
    ("revoke_approval", "reason", lambda n: "é" * n, 4096),
    ("deny", "reason", lambda n: "é" * n, 4096),
    ("withdraw", "reason", lambda n: "é" * n, 4096),
    ("template_create", "name", lambda n: "é" * n, 256),
    ("template_create", "description", lambda n: "é" * n, 4096),
    ("template_create", "labels", lambda n: [f"label {k}" for k in range(n)], 32),
    ("list_requests", "limit", lambda n: n, 10_000),
    ("list_requests", "label", lambda n: "a" * n, 64),
    ("template_list", "label_filter", lambda n: "a" * n, 64),
]


@pytest.mark.parametrize(
    ("method", "argument", "make", "limit"),
    LIMITS,
    ids=[f"{method} {argument} {n}" for n, (method, argument, _, _) in enumerate(LIMITS)],
)
def test_at_the_limit_is_accepted_and_one_more_is_refused_with_the_limit(
    tools: NexusControlTools, method: str, argument: str, make: Callable[[int], Any], limit: int
) -> None:
    arguments = GOOD_ARGUMENTS.get(method, {})
    if method not in NAMELESS:
        arguments = {"request_id": approved(tools), **arguments}
    if method == "approve":
        arguments["actor"] = CAROL
    before = contents(tools.store)
    call: Callable[..., ToolResult[Any]] = getattr(tools, method)
    refused = call(**(arguments | {argument: make(limit + 1)}))
    require_refused(refused, ErrorCode.INVALID_ARGUMENT)
    assert argument in (refused.error or "")
    assert str(limit) in (refused.error or "")
    assert contents(tools.store) == before
    data_of(call(**(arguments | {argument: make(limit)})))


JUNK: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(), max_size=12),
    st.binary(max_size=4),
    st.lists(st.text(st.characters(), max_size=4) | st.integers(), max_size=3),
    st.dictionaries(
        st.text(st.characters(), max_size=4) | st.integers(), st.none() | st.text(max_size=4), max_size=3
    ),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.builds(object),
    st.sampled_from(
        [(), frozenset[str](), {"type": "human", "id": "bob"}, Decimal(1), float("nan"), 10**400, "\ud800"]
    ),
)
ARGUMENTS = [
    (method, name)
    for method in METHODS
    for name in inspect.signature(getattr(NexusControlTools, method)).parameters
    if name not in ("self", "router")
]


@settings(max_examples=300)
@given(st.sampled_from(ARGUMENTS), JUNK)
def test_whatever_is_given_for_an_argument_nothing_breaks_and_a_refusal_writes_nothing(
    argument: tuple[str, str], value: Any
) -> None:
    method, name = argument
    with DecisionStore(":memory:", clock=FakeClock()) as store:
        tools = NexusControlTools(store)
        arguments = GOOD_ARGUMENTS.get(method, {})
        if method not in NAMELESS:
            arguments = {NAMED_BY.get(method, "request_id"): approved(tools), **arguments}
        before = contents(store)
        result: ToolResult[Any] = getattr(tools, method)(**(arguments | {name: value}))
        assert result.error_code != ErrorCode.INTERNAL, result.error
        json.dumps(result.to_dict()).encode()
        if not result.success:
            assert contents(store) == before
