"""What each method answers when all is well."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest

from nexus_control.audit_package import verify_audit_package
from nexus_control.bundle import DecisionBundle
from nexus_control.decision import DecisionState
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import sha256_hex
from nexus_control.policy import Policy
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools, ToolResult
from nexus_control.values.payloads import PolicyAttachedPayload
from tests.facade.flow import CAROL, asked, executed
from tests.facade.routers import FakeRouter
from tests.support.clock import FakeClock
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of

STATUS_KEYS = {
    "request_id",
    "decision_id",
    "state",
    "goal",
    "plan",
    "requested_mode",
    "labels",
    "requester",
    "created_at",
    "policy",
    "active_approvals",
    "total_approvals",
    "is_approved",
    "executions",
    "run",
    "event_count",
}
EXECUTION_KEYS = {
    "adapter_id",
    "dry_run",
    "requested_at",
    "started_at",
    "completed_at",
    "run_id",
    "steps_executed",
    "error_code",
    "error_message",
}


def test_a_request_answers_its_id_and_where_the_quorum_stands(tools: NexusControlTools) -> None:
    data = data_of(tools.request("g", {"type": "human", "id": "alice"}, min_approvals=2))
    assert data == {
        "request_id": "00000000-0000-4000-8000-000000000001",
        "created": True,
        "warnings": [],
        "state": "pending_approval",
        "min_approvals": 2,
        "current_approvals": 0,
        "required_approvals": 2,
        "is_approved": False,
        "basis": data_of(tools.status(data["request_id"]))["basis"],
    }


@pytest.mark.parametrize(("asked", "weaker"), [(1, ["min_approvals"]), (2, []), (3, [])])
def test_a_request_that_demands_less_than_its_template_says_so(
    asked: int, weaker: list[str], tools: NexusControlTools
) -> None:
    data_of(tools.template_create("prod", ALICE, min_approvals=2))
    made = data_of(tools.request("g", ALICE, template_name="prod", min_approvals=asked))
    assert [each.partition(": ")[2].split(", ") for each in made["warnings"]] == [weaker] * bool(weaker)


def test_an_approval_answers_where_the_quorum_stands_and_keeps_its_comment(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    assert data_of(tools.approve(request_id, BOB, comment="looks safe")) == {
        "request_id": request_id,
        "state": "approved",
        "current_approvals": 1,
        "required_approvals": 1,
        "is_approved": True,
    }
    event = tools.store.get_events(request_id)[-1]
    assert event.payload == {"expires_at": None, "comment": "looks safe", "assurance": "declared"}
    assert event.actor == BOB


def test_an_execution_answers_its_run_with_bare_digests(tools: NexusControlTools) -> None:
    request_id, router = approved(tools, plan="p", max_steps=3), FakeRouter()
    data = data_of(tools.execute(request_id, ADAPTER, SCHEDULER, router))
    request = {
        "goal": "Rotate the keys",
        "adapter_id": ADAPTER,
        "dry_run": False,
        "plan": "p",
        "max_steps": 3,
    }
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    answered = json.dumps(router.answer, sort_keys=True, separators=(",", ":"))
    assert data == {
        "request_id": request_id,
        "run_id": "run-1",
        "mode": "apply",
        "steps_executed": 2,
        "request_digest": sha256_hex(text),
        "response_digest": sha256_hex(answered),
        "execution_id": f"{request_id}:0:3",
        "effect": "done",
        "results": [],
        "truncated": False,
    }
    assert router.calls == [{**request, "require_capabilities": None}]
    actors = [event.actor.id for event in tools.store.get_events(request_id)[3:]]
    assert actors == ["scheduler", "nexus-control", "nexus-control"]


def test_status_shows_the_decision_its_executions_and_on_request_its_events(tools: NexusControlTools) -> None:
    request_id = executed(tools)
    status = data_of(tools.status(request_id))
    assert status.keys() >= STATUS_KEYS
    assert status["executions"][0].keys() >= EXECUTION_KEYS
    assert status["run"] == {"run_id": "run-1", "status": "completed"}
    assert "events" not in status
    events = data_of(tools.status(request_id, include_events=True))["events"]
    assert len(events) == status["event_count"] == 6
    assert [event["event_id"] for event in events] == [f"evt_{request_id}_{seq}" for seq in range(6)]
    assert set(events[0]) == {
        "event_id",
        "decision_id",
        "seq",
        "event_type",
        "ts",
        "actor",
        "payload",
        "digest",
    }


def reserved(tools: NexusControlTools) -> str:
    return tools.store.create_decision()


def failed(tools: NexusControlTools) -> str:
    return executed(tools, FakeRouter({"run_id": "r", "error": "x"}))


def lost(tools: NexusControlTools) -> str:
    return executed(tools, FakeRouter({}))


@pytest.mark.parametrize(
    ("prepare", "status", "verdict"),
    [
        (reserved, "DRAFT", "✗ Decision not executable"),
        (asked, "PENDING_APPROVAL", "✗ Decision not executable (missing 1 approval)"),
        (approved, "APPROVED", "✓ Decision approved (ready to execute)"),
        (executed, "EXECUTED", "✓ "),
        (failed, "FAILED", "✗ "),
        (lost, "OUTCOME_UNKNOWN", "✗ "),
    ],
    ids=["draft", "pending", "approved", "executed", "failed", "unknown"],
)
def test_inspect_speaks_of_each_state(
    tools: NexusControlTools, prepare: Any, status: str, verdict: str
) -> None:
    data = data_of(tools.inspect(prepare(tools)))
    assert data["ok"] is True
    assert data["decision"]["status"] == status
    assert data["rendered"].startswith(verdict)
    assert json.loads(json.dumps(data)) == data


def test_inspect_leaves_out_what_is_not_wanted_and_compiles_what_the_router_would_be_asked(
    tools: NexusControlTools,
) -> None:
    request_id = approved(tools, adapter_id=ADAPTER)
    whole = data_of(tools.inspect(request_id, include_events=True))
    assert whole["compiled_router_request"] == {
        "goal": "Rotate the keys",
        "adapter_id": ADAPTER,
        "dry_run": False,
    }
    assert len(whole["events"]) == 3
    assert whole["approval"]["approvals"][0]["actor"] == BOB.to_dict()
    bare = data_of(tools.inspect(request_id, render=False, include_compiled_router_request=False))
    assert not bare.keys() & {"rendered", "compiled_router_request", "events"}
    assert bare["template"] is None


def test_list_requests_is_newest_first_and_pages_by_offset_and_by_cursor(tools: NexusControlTools) -> None:
    made = [asked(tools, goal=f"goal {n}") for n in range(7)]
    everything = data_of(tools.list_requests())
    assert [line["request_id"] for line in everything["requests"]] == made[::-1]
    assert (everything["count"], everything["limit"], everything["cursor"]) == (7, 100, None)
    by_offset = data_of(tools.list_requests(limit=3, offset=3))
    assert [line["goal"] for line in by_offset["requests"]] == ["goal 3", "goal 2", "goal 1"]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = data_of(tools.list_requests(limit=3, after=after))
        seen += [line["request_id"] for line in page["requests"]]
        after = page["cursor"]
        asked(tools, goal="newer, and not in the way")
        if after is None:
            break
    assert seen == made[::-1]
    assert data_of(tools.list_requests(limit=7, offset=50))["requests"] == []


def test_list_requests_filters_by_state_label_and_requester(tools: NexusControlTools) -> None:
    ids = {
        "pending": asked(tools, labels=["prod", "%"]),
        "approved": approved(tools, labels=["café"]),
        "completed": executed(tools, labels=["prod"]),
        "denied": asked(tools, actor=BOB, labels=["p%"]),
    }
    data_of(tools.deny(ids["denied"], CAROL, "no"))
    tools.store.create_decision()

    def found(**filters: Any) -> list[str]:
        lines = data_of(tools.list_requests(**filters))["requests"]
        names = {request_id: name for name, request_id in ids.items()}
        return sorted(names[line["request_id"]] for line in lines)

    assert found() == ["approved", "completed", "denied", "pending"]
    assert found(state="pending_approval") == ["pending"]
    assert found(state=DecisionState.APPROVED) == ["approved"]
    assert found(state="completed") == ["completed"]
    assert found(state="denied") == ["denied"]
    assert found(state="draft") == found(state="executing") == found(state="withdrawn") == []
    assert found(label="prod") == ["completed", "pending"]
    assert found(label="%") == ["pending"]
    assert found(label="café") == ["approved"]
    assert found(label="pro") == found(label="PROD") == []
    assert found(requester="BOB") == ["denied"]
    assert found(requester="alice", label="prod", state="completed") == ["completed"]


def test_awaiting_lists_what_this_person_could_still_approve(
    tools: NexusControlTools, clock: FakeClock
) -> None:
    minute_later = "2026-01-02T03:05:05.000006Z"
    ids = {
        "open": asked(tools),
        "for bob": asked(tools, approvers=["Bob"]),
        "not by alice": asked(tools, allow_requester_approval=False),
        "expiring": asked(tools, expires_at=minute_later),
        "of two, one is bob": asked(tools, min_approvals=2),
        "brief": asked(tools, min_approvals=1),
        "approved": approved(tools),
    }
    data_of(tools.approve(ids["of two, one is bob"], BOB))
    data_of(tools.approve(ids["brief"], BOB, expires_at=minute_later))

    def awaiting(person: str, **page: Any) -> list[str]:
        names = {request_id: name for name, request_id in ids.items()}
        lines = data_of(tools.list_requests(awaiting=person, **page))["requests"]
        return [names[line["request_id"]] for line in lines]

    assert awaiting("BOB") == ["expiring", "not by alice", "for bob", "open"]
    assert awaiting("alice") == ["of two, one is bob", "expiring", "open"]
    assert awaiting("carol", state="pending_approval", limit=2) == ["of two, one is bob", "expiring"]
    assert awaiting("carol", limit=2, offset=2) == ["not by alice", "open"]
    clock.advance(minutes=2)
    assert awaiting("bob") == ["brief", "not by alice", "for bob", "open"]


def test_awaiting_pages_by_cursor_over_many(tools: NexusControlTools) -> None:
    made = [asked(tools, approvers=["bob"] if n % 3 else ["carol"]) for n in range(30)]
    seen: list[str] = []
    after: str | None = None
    while True:
        page = data_of(tools.list_requests(awaiting="carol", limit=4, after=after))
        seen += [line["request_id"] for line in page["requests"]]
        if (after := page["cursor"]) is None:
            break
    assert seen == made[::3][::-1]


def test_templates_are_shown_listed_in_order_and_filtered_by_a_whole_label(tools: NexusControlTools) -> None:
    for name, labels in (("a", ["prod", "%"]), ("b", ["café"]), ("c", ["prod"]), ("d", [])):
        made = data_of(tools.template_create(name, ALICE, f"template {name}", labels=labels))
        assert set(made) == {"template_name", "description", "digest", "created_at"}

    def listed(**page: Any) -> list[str]:
        return [each["template_name"] for each in data_of(tools.template_list(**page))["templates"]]

    assert listed() == ["a", "b", "c", "d"]
    assert listed(limit=2, offset=1) == ["b", "c"]
    assert listed(label_filter="prod") == ["a", "c"]
    assert listed(label_filter="%") == ["a"]
    assert listed(label_filter="café") == ["b"]
    assert listed(label_filter="_") == listed(label_filter="") == []
    shown = data_of(tools.template_get("b", include_events=True))
    assert shown["template"]["labels"] == ["café"]
    assert (
        sha256_hex(json.dumps(shown["snapshot"], sort_keys=True, separators=(",", ":"), ensure_ascii=False))
        == shown["digest"]
    )
    assert [event["event_type"] for event in shown["events"]] == ["TEMPLATE_CREATED"]
    assert "events" not in data_of(tools.template_get("b"))


def test_a_bundle_carries_its_digest_and_one_canonical_text(tools: NexusControlTools) -> None:
    request_id = executed(tools)
    data = data_of(tools.export_bundle(request_id))
    assert json.loads(data["canonical_json"]) == data["bundle"]
    assert (
        DecisionBundle.from_dict(data["bundle"]).content_digest()
        == data["digest"]
        == data["bundle"]["integrity"]["canonical_digest"]
    )
    assert data["rendered"]
    slim = data_of(tools.export_bundle(request_id, include_router_link=False, render=False))
    assert slim["bundle"]["router_link"] == {}
    assert "rendered" not in slim


def test_an_audit_package_verifies_by_reference_and_embedded(tools: NexusControlTools) -> None:
    request_id = executed(tools)
    referenced = data_of(tools.export_audit_package(request_id))
    assert verify_audit_package(referenced["package"]).ok
    run: Any = {
        "run": {"run_id": "run-1"},
        "integrity": {"canonical_digest": referenced["package"]["binding"]["router_digest"]},
    }
    embedded = data_of(
        tools.export_audit_package(request_id, embed_router_bundle=True, router_bundle=run, render=False)
    )
    assert embedded["package"]["router"] == {"mode": "embedded", "bundle": run}
    assert verify_audit_package(embedded["package"]).ok
    assert "rendered" not in embedded


@pytest.mark.parametrize(
    "run",
    [
        {"digests": {"sha256": "0" * 64}},
        {"integrity": {"canonical_digest": "sha256:" + "0" * 64}},
        {"digests": {}},
        {},
    ],
)
def test_the_bundle_of_another_run_is_refused_unless_nobody_is_to_look(
    tools: NexusControlTools, run: Any
) -> None:
    request_id = executed(tools)
    refused = tools.export_audit_package(request_id, embed_router_bundle=True, router_bundle=run)
    assert refused.error_code == "ROUTER_DIGEST_MISMATCH"
    unlooked = tools.export_audit_package(
        request_id, embed_router_bundle=True, router_bundle=run, verify_router_bundle_digest=False
    )
    assert unlooked.success == bool(run.get("digests") or run.get("integrity"))


def test_an_audit_record_is_the_flat_record_with_one_digest(tools: NexusControlTools) -> None:
    request_id = executed(tools)
    data = data_of(tools.export_audit_record(request_id))
    record = data["audit_record"]
    assert record["schema_version"] == "0.1.0"
    assert set(record) == {"schema_version", "exported_at", "decision", "events", "approvals", "executions"}
    assert record["approvals"]["bob"] == {
        "actor": BOB.to_dict(),
        "granted_at": record["events"][2]["ts"],
        "expires_at": None,
        "comment": None,
        "revoked": False,
        "revoked_at": None,
        "revoke_reason": None,
    }
    assert json.loads(data["canonical_json"]) == record
    assert sha256_hex(data["canonical_json"]) == data["record_digest"]


def test_recover_finds_nothing_where_nobody_died(tools: NexusControlTools) -> None:
    executed(tools)
    assert data_of(tools.recover()) == {"recovered": [], "still_held": 0, "runs": []}


def test_a_draft_can_be_looked_at_but_not_exported(tools: NexusControlTools) -> None:
    draft = tools.store.create_decision()
    status = data_of(tools.status(draft))
    assert (status["state"], status["event_count"], status["policy"]) == ("draft", 0, None)
    assert tools.export_bundle(draft).error_code == "INVALID_STATE"
    assert data_of(tools.list_requests())["count"] == 0
    assert tools.store.list_decisions() == [(draft, status["created_at"])]


def test_the_low_door_appends_what_decodes_and_refuses_what_does_not(tools: NexusControlTools) -> None:
    store = tools.store
    draft = store.create_decision()
    created = store.append_event(
        draft, "DECISION_CREATED", ALICE, {"goal": "g", "requested_mode": "apply", "x": 1}
    )
    assert (created.seq, created.payload["x"]) == (0, 1)
    store.append_event(
        draft,
        "POLICY_ATTACHED",
        {"type": "human", "id": "alice"},
        PolicyAttachedPayload(**Policy(min_approvals=2).fields()),
    )
    assert data_of(tools.status(draft))["required_approvals"] == 2
    bad: list[tuple[str, Any, Any, str]] = [
        ("NO_SUCH_EVENT", ALICE, {}, "REPLAY_INVALID"),
        ("APPROVAL_DENIED", ALICE, {}, "REPLAY_INVALID"),
        ("APPROVAL_GRANTED", {"type": "human"}, {}, "INVALID_ARGUMENT"),
        ("APPROVAL_GRANTED", {"type": "human", "id": "b\u043eb"}, {}, "INVALID_ARGUMENT"),
        ("APPROVAL_GRANTED", ALICE, {"comment": "\ud800"}, "JSON_INVALID"),
        ("APPROVAL_GRANTED", ALICE, {"weight": 1.5}, "JSON_INVALID"),
        ("APPROVAL_GRANTED", ALICE, {1: "one"}, "JSON_INVALID"),
        ("APPROVAL_GRANTED", ALICE, {"n": 2**53}, "JSON_INVALID"),
        ("APPROVAL_GRANTED", ALICE, {"expires_at": "yesterday"}, "REPLAY_INVALID"),
    ]
    for event_type, actor, payload, code in bad:
        with pytest.raises(NexusControlError) as refused:
            store.append_event(draft, event_type, actor, payload)
        assert refused.value.code == code
    with pytest.raises(NexusControlError) as unknown:
        store.append_event("nowhere", "APPROVAL_GRANTED", ALICE, {})
    assert unknown.value.code == ErrorCode.DECISION_NOT_FOUND
    assert len(store.get_events(draft)) == 2


def test_template_store_is_the_low_door_to_templates(tools: NexusControlTools) -> None:
    templates = tools.template_store
    made = templates.create_template("prod", ALICE, min_approvals=2, description="Production")
    assert templates.get_template("prod") == made
    assert templates.get_template("nowhere") is None
    assert (templates.template_exists("prod"), templates.template_exists("nowhere")) == (True, False)
    assert [event.actor for event in templates.get_template_events("prod")] == [ALICE]
    assert templates.list_templates(label_filter="x") == []
    for name in ("", " prod", "pr\u200bod"):
        with pytest.raises(NexusControlError) as refused:
            templates.create_template(name, ALICE)
        assert refused.value.code == ErrorCode.INVALID_ARGUMENT


class Kind(StrEnum):
    HUMAN = "human"


def test_an_actor_given_by_an_enumeration_is_plain_text_in_every_answer(tools: NexusControlTools) -> None:
    made = tools.request("g", {"type": Kind.HUMAN, "id": "zed"})
    requester = data_of(tools.status(data_of(made)["request_id"]))["requester"]
    assert {type(text) for text in requester.values()} == {str}


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e300, -1, True, "5", None])
def test_a_busy_timeout_that_cannot_be_waited_is_refused_when_the_store_is_opened(seconds: Any) -> None:
    with pytest.raises(NexusControlError, match="busy_timeout") as raised:
        DecisionStore(busy_timeout=seconds)
    assert raised.value.code is ErrorCode.INVALID_ARGUMENT


def test_a_store_and_a_path_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(NexusControlError, match="db_path"):
        NexusControlTools(tmp_path / "a.db", tmp_path / "b.db")
    assert list(tmp_path.iterdir()) == []


def test_a_refusal_of_a_code_that_is_not_ours_raises_it_as_internal() -> None:
    with pytest.raises(NexusControlError) as raised:
        assert ToolResult[Any](success=False, error="e", error_code="X").data
    assert raised.value.code is ErrorCode.INTERNAL


def test_a_template_that_no_json_can_hold_is_named_as_the_template(tools: NexusControlTools) -> None:
    with pytest.raises(NexusControlError, match="template holds a lone surrogate") as raised:
        tools.template_store.create_template("two", ALICE, description="\ud800")
    assert raised.value.code is ErrorCode.JSON_INVALID
