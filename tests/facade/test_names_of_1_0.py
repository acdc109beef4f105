"""The names that embedders of 1.0 import and call: each is there, and takes and answers what it did."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import nexus_control
from nexus_control import (
    Actor,
    Decision,
    DecisionStore,
    EventType,
    NexusControlTools,
    Policy,
    audit_package,
    bundle,
    compute_lifecycle,
    compute_progress,
    compute_timeline,
    events,
    export_audit_package,
    export_decision,
    import_bundle,
    policy,
    render_audit_package,
    render_export,
    template,
)
from nexus_control.artifact import Part
from nexus_control.canonical_json import canonical_json
from nexus_control.integrity import is_bare, sha256_hex
from tests.artifacts.samples import BUNDLES, PACKAGES, independent_digest
from tests.domain.histories import SAMPLES
from tests.facade.flow import asked, executed
from tests.support.governed import ALICE, BOB, approved

HEX = "ab" * 32
PACKAGE = PACKAGES["reference"]
BUNDLE = BUNDLES["template-executed"]
CONTENT = {
    key: BUNDLE[key] for key in ("bundle_version", "decision", "events", "template_snapshot", "router_link")
}

PAYLOADS: dict[str, dict[str, Any]] = {
    "DecisionCreatedPayload": {"goal": "g", "plan": None, "requested_mode": "apply", "labels": ("prod",)},
    "PolicyAttachedPayload": {
        "min_approvals": 1,
        "allowed_modes": ("apply",),
        "require_adapter_capabilities": ("timeout",),
        "max_steps": 5,
        "labels": (),
    },
    "ApprovalGrantedPayload": {"expires_at": None, "comment": "fine"},
    "ApprovalRevokedPayload": {"reason": "r"},
    "ApprovalDeniedPayload": {"reason": "r"},
    "DecisionWithdrawnPayload": {"reason": "r"},
    "ExecutionRequestedPayload": {"adapter_id": "python:keys", "dry_run": True},
    "ExecutionStartedPayload": {"router_request_digest": HEX},
    "ExecutionCompletedPayload": {"run_id": "run-1", "response_digest": HEX, "steps_executed": 2},
    "ExecutionFailedPayload": {"error_code": "E", "error_message": "m", "run_id": None},
    "ExecutionOutcomeUnknownPayload": {"reason": "r", "detail": "d"},
    "ExecutionReconciledPayload": {"outcome": "failed", "evidence": "e"},
    "TemplateCreatedPayload": {
        "name": "prod",
        "description": "d",
        "min_approvals": 2,
        "allowed_modes": ("dry_run",),
        "require_adapter_capabilities": (),
        "max_steps": None,
        "labels": (),
    },
}
PARTS: dict[str, tuple[type[Part], Any]] = {
    "bundle.DecisionBundle": (bundle.DecisionBundle, BUNDLE),
    "bundle.BundleDecision": (bundle.BundleDecision, BUNDLE["decision"]),
    "bundle.BundleEvent": (bundle.BundleEvent, BUNDLE["events"][0]),
    "bundle.BundleTemplateSnapshot": (bundle.BundleTemplateSnapshot, BUNDLE["template_snapshot"]),
    "bundle.BundleRouterLink": (bundle.BundleRouterLink, BUNDLE["router_link"]),
    "bundle.BundleIntegrity": (bundle.BundleIntegrity, BUNDLE["integrity"]),
    "audit_package.AuditPackage": (audit_package.AuditPackage, PACKAGE),
}
CONSTANTS: dict[str, tuple[object, object]] = {
    "bundle.BUNDLE_VERSION": (bundle.BUNDLE_VERSION, "0.5"),
    "audit_package.PACKAGE_VERSION": (audit_package.PACKAGE_VERSION, "0.6"),
    "audit_package.AUDIT_ERROR_NO_ROUTER_LINK": (audit_package.AUDIT_ERROR_NO_ROUTER_LINK, "NO_ROUTER_LINK"),
    "audit_package.AUDIT_ERROR_ROUTER_DIGEST_MISMATCH": (
        audit_package.AUDIT_ERROR_ROUTER_DIGEST_MISMATCH,
        "ROUTER_DIGEST_MISMATCH",
    ),
    "DEFAULT_TIMELINE_LIMIT": (nexus_control.DEFAULT_TIMELINE_LIMIT, 20),
}
LABELS: dict[EventType, str] = {
    EventType.DECISION_CREATED: "created",
    EventType.POLICY_ATTACHED: "policy",
    EventType.APPROVAL_GRANTED: "approved",
    EventType.APPROVAL_REVOKED: "revoked",
    EventType.APPROVAL_DENIED: "denied",
    EventType.DECISION_WITHDRAWN: "withdrawn",
    EventType.EXECUTION_REQUESTED: "requested",
    EventType.EXECUTION_STARTED: "started",
    EventType.EXECUTION_COMPLETED: "completed",
    EventType.EXECUTION_FAILED: "failed",
    EventType.EXECUTION_OUTCOME_UNKNOWN: "outcome unknown",
    EventType.EXECUTION_RECONCILED: "reconciled",
    EventType.TEMPLATE_CREATED: "template created",
}


@pytest.mark.parametrize("name", list(PAYLOADS))
def test_events_has_a_constructor_for_each_payload(name: str) -> None:
    given = PAYLOADS[name]
    payload = getattr(events, name)(**given)
    written = payload.to_dict()
    assert {key: written[key] for key in given} == json.loads(json.dumps(given))
    assert events.decode_payload(payload.event_type, written) == payload


def test_every_kind_of_event_has_its_constructor() -> None:
    assert {getattr(events, name).event_type for name in PAYLOADS} == set(EventType)


@pytest.mark.parametrize("name", list(PARTS))
def test_the_parts_of_artifacts_are_read_and_written_as_json(name: str) -> None:
    part, document = PARTS[name]
    assert part.from_dict(document).to_dict() == document


@pytest.mark.parametrize("name", list(CONSTANTS))
def test_a_constant_keeps_its_value(name: str) -> None:
    value, expected = CONSTANTS[name]
    assert value == expected


def test_compute_binding_digest_takes_four_texts_and_gives_bare_hex() -> None:
    binding = PACKAGE["binding"]
    digest = audit_package.compute_binding_digest(
        "0.6", binding["control_digest"], binding["router_digest"], binding["control_router_link_digest"]
    )
    assert is_bare(digest)
    assert PACKAGE["integrity"]["binding_digest"] == f"sha256:{digest}"
    assert digest != audit_package.compute_binding_digest("0.7", **binding)


def test_compute_bundle_digest_takes_the_parts_or_their_json_and_gives_bare_hex() -> None:
    whole = bundle.DecisionBundle.from_dict(BUNDLE)
    of_parts = bundle.compute_bundle_digest(
        bundle_version=whole.bundle_version,
        decision=whole.decision,
        events=whole.events,
        template_snapshot=whole.template_snapshot,
        router_link=whole.router_link,
    )
    assert is_bare(of_parts)
    assert bundle.compute_bundle_digest(**CONTENT) == of_parts
    assert whole.content_digest() == f"sha256:{of_parts}" == BUNDLE["integrity"]["canonical_digest"]
    others: list[dict[str, Any]] = [{"bundle_version": "0.4"}, {"events": []}, {"router_link": {}}]
    for other in others:
        changed = CONTENT | other
        assert f"sha256:{bundle.compute_bundle_digest(**changed)}" == independent_digest(changed)
        assert bundle.compute_bundle_digest(**changed) != of_parts


def test_validate_bundle_schema_names_what_is_missing() -> None:
    assert "Missing required field: decision" in bundle.validate_bundle_schema({})
    assert bundle.validate_bundle_schema(BUNDLE) == []


def test_a_verification_result_has_checks_and_counts_them() -> None:
    result = audit_package.verify_audit_package(PACKAGE | {"package_version": "0.5"})
    assert isinstance(result, audit_package.VerificationResult)
    assert not result.ok
    shown = result.to_dict()
    assert (shown["passed"], shown["failed"], shown["total"]) == (0, 5, 5)
    assert {key for check in shown["checks"] for key in check} == {
        "name",
        "ok",
        "expected",
        "actual",
        "detail",
    }


def test_a_policy_validation_result_says_what_it_is_given() -> None:
    good = policy.PolicyValidationResult(valid=True, errors=[])
    bad = policy.PolicyValidationResult(valid=False, errors=["Insufficient approvals: 0 of 1"])
    assert (good.valid, good.errors, bool(good)) == (True, (), True)
    assert (bad.valid, bad.errors, bool(bad)) == (False, ("Insufficient approvals: 0 of 1",), False)
    assert policy.validate_execution_request(Policy(), "dry_run", 1) == good
    assert policy.validate_execution_request(Policy(), "dry_run", 0) == bad


def test_an_actor_is_made_in_three_ways_and_read_in_two() -> None:
    alice = Actor("human", "alice")
    assert alice == Actor(type="human", id="alice") == Actor.of({"type": "human", "id": "alice"})
    assert (alice["type"], alice["id"]) == (alice.type, alice.id) == ("human", "alice")


def test_a_policy_takes_its_first_five_fields_in_order_and_keeps_lists_as_tuples() -> None:
    made = Policy(2, ["apply"], ["timeout"], 5, ["prod"])
    assert made == Policy(
        min_approvals=2,
        allowed_modes=("apply",),
        require_adapter_capabilities=("timeout",),
        max_steps=5,
        labels=("prod",),
    )
    assert (made.allowed_modes, made.labels) == (("apply",), ("prod",))
    assert len({made, Policy.from_dict(made.to_dict())}) == 1
    assert Policy() == Policy(1, ("dry_run",), (), None, ())


def test_create_template_takes_the_fields_of_its_policy(tools: NexusControlTools) -> None:
    made = tools.template_store.create_template(
        "prod",
        ALICE,
        description="Production",
        min_approvals=2,
        allowed_modes=["dry_run", "apply"],
        require_adapter_capabilities=["timeout"],
        max_steps=5,
        labels=["prod"],
    )
    assert isinstance(made, template.Template)
    assert (made.name, made.description, made.overrides) == ("prod", "Production", "any")
    assert made.policy == Policy(2, ["dry_run", "apply"], ["timeout"], 5, ["prod"])
    strict = tools.template_store.create_template(
        "strict",
        ALICE,
        approvers=["bob"],
        allow_requester_approval=False,
        min_assurance="signed",
        overrides="tighten_only",
    )
    assert strict.policy == Policy(approvers=["bob"], allow_requester_approval=False, min_assurance="signed")
    assert strict.overrides == "tighten_only"
    assert tools.template_store.list_templates() == [made, strict]


def test_a_template_with_a_wrong_policy_is_not_made(tools: NexusControlTools) -> None:
    with pytest.raises(ValueError, match="min_approvals must be at least 1"):
        tools.template_store.create_template("prod", ALICE, min_approvals=0)
    assert not tools.template_store.template_exists("prod")


def test_an_import_says_what_was_checked_and_where_it_went(tools: NexusControlTools) -> None:
    original = tools.store.get_events(executed(tools))[0].decision_id
    exported = export_decision(tools.store, original).bundle
    assert exported is not None
    copy = import_bundle(tools.store, exported, conflict_mode="new_decision_id")
    assert (copy.success, copy.digest_verified, copy.replay) == (True, True, {"state": "completed"})
    assert copy.new_decision_id not in (None, original)
    assert tools.store.decision_exists(str(copy.new_decision_id))
    with DecisionStore() as elsewhere:
        same = import_bundle(elsewhere, exported)
        assert (same.success, same.new_decision_id, same.replay) == (True, None, {"state": "completed"})
    with DecisionStore() as elsewhere:
        unchecked = import_bundle(elsewhere, exported, verify_digest=False, replay_after_import=False)
        assert (unchecked.success, unchecked.digest_verified, unchecked.replay) == (True, False, None)
    refused = import_bundle(tools.store, exported)
    assert (refused.success, refused.error_code) == (False, "DECISION_EXISTS")
    assert (refused.digest_verified, refused.new_decision_id, refused.replay) == (False, None, None)


def test_exports_answer_an_artifact_and_its_digest_or_a_code_and_a_message(tools: NexusControlTools) -> None:
    request_id = executed(tools)
    exported = export_decision(tools.store, request_id)
    assert exported.success
    assert exported.bundle is not None
    assert exported.digest == exported.bundle.integrity.canonical_digest
    assert render_export(exported.bundle)
    audited = export_audit_package(tools.store, request_id)
    assert audited.success
    assert audited.package is not None
    assert audited.digest == audited.package.integrity.binding_digest
    assert render_audit_package(audited.package)
    assert nexus_control.verify_evidence(audited.package).ok
    missing = export_decision(tools.store, "nowhere")
    assert (missing.success, missing.bundle, missing.error_code) == (False, None, "DECISION_NOT_FOUND")
    assert missing.error_message
    early = export_audit_package(tools.store, asked(tools))
    assert (early.success, early.package, early.error_code) == (False, None, "NO_ROUTER_LINK")


def test_a_timeline_limit_of_none_means_all(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    for _ in range(15):
        tools.approve(request_id, BOB)
        tools.revoke_approval(request_id, BOB, "once more")
    decision = Decision.load(tools.store, request_id)
    whole = compute_lifecycle(decision, timeline_limit=None)
    assert len(whole.timeline) == whole.timeline_total == 2 + 15 * 3
    assert not whole.timeline_truncated
    assert compute_timeline(decision, timeline_limit=None) == compute_timeline(decision) == whole.timeline
    assert len(compute_lifecycle(decision).timeline) == nexus_control.DEFAULT_TIMELINE_LIMIT
    assert compute_timeline(decision, timeline_limit=3) == whole.timeline[-3:]


def test_progress_and_entries_are_written_as_json(tools: NexusControlTools) -> None:
    decision = Decision.load(tools.store, asked(tools, min_approvals=2))
    assert compute_progress(decision).to_dict() == {
        "approvals": "0/2",
        "approvals_current": 0,
        "approvals_required": 2,
        "ready_to_execute": False,
        "has_executed": False,
        "execution_outcome": None,
    }
    entry = compute_timeline(decision)[0]
    assert entry.to_dict() == {
        "ts": decision.events[0].ts,
        "category": "decision",
        "label": "created",
        "summary": "alice requested apply: Rotate the keys",
        "actor": "alice",
        "event_type": "DECISION_CREATED",
        "seq": 0,
    }
    shown = compute_lifecycle(decision).to_dict()
    assert shown["progress"] == compute_progress(decision).to_dict()
    assert shown["timeline"][0] == entry.to_dict()


@pytest.mark.parametrize("event_type", list(EventType))
def test_a_timelines_labels_read_as_words(event_type: EventType) -> None:
    content = SAMPLES[event_type].to_dict()
    digest = events.compute_event_digest(event_type, content)
    event = events.StoredEvent("d-1", 0, event_type, "2026-01-02T03:04:05+00:00", ALICE, content, digest)
    (entry,) = compute_timeline(Decision.replay("d-1", [event]))
    assert (entry.label, entry.event_type) == (LABELS[event_type], str(event_type))


def test_the_approval_that_meets_the_quorum_is_followed_by_a_line_that_says_so(
    tools: NexusControlTools,
) -> None:
    *_, approval, met = compute_timeline(Decision.load(tools.store, approved(tools)))
    assert (approval.label, approval.event_type) == ("approved", "APPROVAL_GRANTED")
    assert (met.label, met.event_type, met.seq) == ("quorum met", "THRESHOLD_MET", approval.seq)


STORE_CALLS: dict[str, Callable[[DecisionStore, str], object]] = {
    "create_decision": lambda store, _: store.create_decision(),
    "append_event": lambda store, name: store.append_event(
        name, "APPROVAL_GRANTED", {"type": "human", "id": "carol"}, events.ApprovalGrantedPayload()
    ),
    "get_events": lambda store, name: store.get_events(name),
    "list_decisions": lambda store, _: store.list_decisions(limit=1, offset=0),
    "decision_exists": lambda store, name: store.decision_exists(name),
    "Decision.load": lambda store, name: Decision.load(store, name),
}


@pytest.mark.parametrize("call", list(STORE_CALLS))
def test_a_store_is_called_as_before(call: str, tools: NexusControlTools) -> None:
    assert STORE_CALLS[call](tools.store, asked(tools))


def test_an_audit_record_is_digested_in_bare_hex(tools: NexusControlTools) -> None:
    data = tools.export_audit_record(asked(tools)).data
    assert data["record_digest"] == sha256_hex(canonical_json(data["audit_record"]))


def test_python_m_nexus_control_is_the_command_line() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "nexus_control", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert nexus_control.__version__ in ran.stdout
