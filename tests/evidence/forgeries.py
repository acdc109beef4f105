"""Forgeries, one of each kind, each sealed again as far as anybody without a key can; and the check that catches it."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

from tests.evidence.packages import Package, honest, rebound, resealed

Event = dict[str, Any]
LATE = "2036-01-01T00:00:00.000000+00:00"


def events(package: Package, kind: str) -> list[Event]:
    return [event for event in package["control_bundle"]["events"] if event["type"] == kind]


def renumbered(package: Package) -> Package:
    bundle = package["control_bundle"]
    for seq, event in enumerate(bundle["events"]):
        event |= {"seq": seq, "event_id": f"evt_{event['decision_id']}_{seq}"}
    return resealed(package)


def without(package: Package, *kinds: str) -> Package:
    bundle = package["control_bundle"]
    bundle["events"] = [event for event in bundle["events"] if event["type"] not in kinds]
    return renumbered(package)


def moved_to_the_end(package: Package, kind: str) -> Package:
    bundle = package["control_bundle"]
    late = [event for event in bundle["events"] if event["type"] == kind]
    bundle["events"] = [event for event in bundle["events"] if event["type"] != kind]
    for event in late:
        bundle["events"].append(event | {"ts": bundle["events"][-1]["ts"]})
    return renumbered(package)


def no_approvals() -> Package:
    return without(honest(), "APPROVAL_GRANTED")


def threshold_not_met() -> Package:
    package = honest()
    package["control_bundle"]["events"].remove(events(package, "APPROVAL_GRANTED")[1])
    return renumbered(package)


def approved_after_execution() -> Package:
    return moved_to_the_end(honest(), "APPROVAL_GRANTED")


def expired_at_execution() -> Package:
    package = honest()
    granted = events(package, "APPROVAL_GRANTED")[1]
    granted["payload"]["expires_at"] = granted["ts"]
    return resealed(package)


def revoked_at_execution() -> Package:
    package = honest()
    bundle, granted = package["control_bundle"], events(package, "APPROVAL_GRANTED")[1]
    revoked = granted | {"type": "APPROVAL_REVOKED", "payload": {"reason": None}}
    bundle["events"].insert(bundle["events"].index(granted) + 1, revoked)
    return renumbered(package)


def approved_by(name: str) -> Package:
    package = honest()
    first, second = events(package, "APPROVAL_GRANTED")
    assert first["actor"]["id"] == "bob"
    second["actor"]["id"] = name
    return resealed(package)


def ineligible_approver() -> Package:
    package = honest("guarded")
    events(package, "APPROVAL_GRANTED")[1]["actor"]["id"] = "mallory"
    return resealed(package)


def approved_by_nobody_of_a_group() -> Package:
    package = honest("of_groups")
    events(package, "APPROVAL_GRANTED")[0]["actor"]["id"] = "mallory"
    return resealed(package)


def one_person_for_two_groups() -> Package:
    package = honest("of_groups")
    events(package, "APPROVAL_GRANTED")[1]["actor"]["id"] = "dave"
    return resealed(package)


def members_of_a_group_changed() -> Package:
    package = honest("of_groups")
    events(package, "POLICY_ATTACHED")[0]["payload"]["approver_groups"]["security"] = ["erin"]
    return resealed(package)


def members_of_a_group_left_out() -> Package:
    package = honest("of_groups")
    del events(package, "POLICY_ATTACHED")[0]["payload"]["approver_groups"]["platform"]
    return resealed(package)


def slots_of_a_group_raised() -> Package:
    package = honest("of_groups")
    events(package, "POLICY_ATTACHED")[0]["payload"] |= {"required_from": {"security": 2}}
    return resealed(package)


def slots_beyond_the_number_of_approvals() -> Package:
    package = honest("of_groups")
    events(package, "POLICY_ATTACHED")[0]["payload"] |= {"required_from": {"security": 1, "platform": 2}}
    return resealed(package)


def slots_of_a_template_lowered() -> Package:
    package = honest("of_a_template_with_groups")
    events(package, "POLICY_ATTACHED")[0]["payload"]["required_from"] = {"security": 1}
    return resealed(package)


def slots_of_a_template_lowered_by_an_override() -> Package:
    package = honest("of_a_template_with_groups")
    lowered = {"required_from": {"security": 1}}
    events(package, "POLICY_ATTACHED")[0]["payload"] |= lowered | {"overrides_applied": lowered}
    package["control_bundle"]["template_snapshot"]["overrides"] = lowered
    return resealed(package)


def requester_where_forbidden() -> Package:
    package = honest("guarded")
    events(package, "DECISION_CREATED")[0]["actor"]["id"] = "bob"
    return resealed(package)


def mode_escalated() -> Package:
    package = honest("dry")
    for event in events(package, "EXECUTION_REQUESTED"):
        event["payload"]["dry_run"] = False
    return resealed(package)


def mode_of_the_request_escalated() -> Package:
    package = honest("dry")
    created, attached = events(package, "DECISION_CREATED")[0], events(package, "POLICY_ATTACHED")[0]
    created["payload"]["requested_mode"] = package["control_bundle"]["decision"]["mode"] = "apply"
    attached["payload"]["allowed_modes"] = ["dry_run", "apply"]
    events(package, "EXECUTION_REQUESTED")[0]["payload"]["dry_run"] = False
    return resealed(package)


def plan_swapped() -> Package:
    package = honest()
    created = events(package, "DECISION_CREATED")[0]
    created["payload"]["plan"] = created["payload"]["plan"].replace("rotate", "delete")
    return resealed(package)


def goal_swapped() -> Package:
    package = honest()
    package["control_bundle"]["decision"]["goal"] = "Delete the keys"
    events(package, "DECISION_CREATED")[0]["payload"]["goal"] = "Delete the keys"
    return resealed(package)


def plan_longer_than_allowed() -> Package:
    package = honest("guarded")
    events(package, "POLICY_ATTACHED")[0]["payload"]["max_steps"] = 1
    return resealed(package)


def policy_weakened() -> Package:
    package = honest("from_template")
    events(package, "POLICY_ATTACHED")[0]["payload"]["min_approvals"] = 1
    return resealed(package)


def policy_weakened_by_an_override() -> Package:
    package = honest("from_template")
    payload = events(package, "POLICY_ATTACHED")[0]["payload"]
    payload |= {"min_approvals": 1, "overrides_applied": {"min_approvals": 1}}
    package["control_bundle"]["template_snapshot"]["overrides"] = {"min_approvals": 1}
    return resealed(package)


def policy_replaced() -> Package:
    package = honest()
    bundle, attached = package["control_bundle"], events(package, "POLICY_ATTACHED")[0]
    weaker = attached | {"payload": attached["payload"] | {"min_approvals": 1}}
    bundle["events"].insert(2, weaker)
    return renumbered(package)


def executed_twice() -> Package:
    package = honest()
    bundle = package["control_bundle"]
    run = [copy.deepcopy(event) for event in bundle["events"] if event["type"].startswith("EXECUTION_")]
    bundle["events"] += [event | {"ts": bundle["events"][-1]["ts"]} for event in run]
    return renumbered(package)


def completed_without_a_start() -> Package:
    return without(honest(), "EXECUTION_STARTED")


def completed_without_a_request() -> Package:
    return without(honest(), "EXECUTION_REQUESTED", "EXECUTION_STARTED")


def header_unlike_the_events() -> Package:
    package = honest()
    package["control_bundle"]["decision"]["goal"] = "Read the keys"
    return resealed(package)


def time_of_creation_changed() -> Package:
    package = honest()
    package["control_bundle"]["decision"]["created_at"] = LATE
    return resealed(package)


def an_event_of_another_decision() -> Package:
    package = honest()
    event = events(package, "APPROVAL_GRANTED")[0]
    event |= {"decision_id": "another", "event_id": f"evt_another_{event['seq']}"}
    return resealed(package)


def times_that_go_back() -> Package:
    package = honest()
    package["control_bundle"]["events"][2]["ts"] = LATE
    return resealed(package)


def a_stale_event_digest() -> Package:
    package = honest()
    events(package, "APPROVAL_GRANTED")[0]["payload"]["comment"] = "looks fine to me"
    return rebound(package)


def run_of_another_decision() -> Package:
    package, other = honest(), honest("rehearsed")
    package["router"] = other["router"]
    package["binding"]["router_digest"] = other["binding"]["router_digest"]
    return rebound(package)


def run_bundle_altered() -> Package:
    package = honest()
    package["router"]["bundle"]["events"][-1]["payload"]["forged"] = True
    return package


def run_bundle_altered_and_sealed_again() -> Package:
    package = honest()
    bundle = package["router"]["bundle"]
    bundle["events"][-1]["payload"]["forged"] = True
    text = json.dumps(
        {"run": bundle["run"], "events": bundle["events"]}, sort_keys=True, separators=(",", ":")
    )
    bundle["digests"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    package["binding"]["router_digest"] = "sha256:" + bundle["digests"]["sha256"]
    return rebound(package)


def reference_to_another_run() -> Package:
    package = honest("by_reference")
    package["router"]["ref"]["digest"] = package["binding"]["router_digest"] = "sha256:" + "ab" * 32
    return rebound(package)


def link_digest_arbitrary() -> Package:
    package = honest()
    package["control_bundle"]["router_link"]["control_router_link_digest"] = "sha256:" + "ab" * 32
    return rebound(package)


def link_to_another_adapter() -> Package:
    package = honest()
    package["control_bundle"]["router_link"]["adapter_id"] = "python:other"
    return resealed(package)


def template_snapshot_rewritten() -> Package:
    package = honest("from_template")
    payload = events(package, "POLICY_ATTACHED")[0]["payload"]
    snapshot = package["control_bundle"]["template_snapshot"]["snapshot"]
    for copied in (payload["template_snapshot"], snapshot):
        copied["min_approvals"] = 1
    payload["min_approvals"] = 1
    return resealed(package)


def template_shown_is_another() -> Package:
    package = honest("from_template")
    package["control_bundle"]["template_snapshot"]["name"] = "lenient"
    return resealed(package)


def unknown_version() -> Package:
    package = honest()
    package["package_version"] = "0.7"
    return resealed(package)


def alg_lies() -> Package:
    package = honest()
    package["integrity"]["alg"] = "none"
    return package


def smuggled_key() -> Package:
    return honest() | {"approved": True}


def provenance_of_another_export() -> Package:
    package = honest()
    package["provenance"]["records"][0]["inputs"] = ["decision:another"]
    return package


FORGERIES: dict[Callable[[], Package], str] = {
    no_approvals: "policy_satisfied",
    threshold_not_met: "policy_satisfied",
    approved_after_execution: "policy_satisfied",
    expired_at_execution: "policy_satisfied",
    revoked_at_execution: "policy_satisfied",
    ineligible_approver: "policy_satisfied",
    approved_by_nobody_of_a_group: "policy_satisfied",
    one_person_for_two_groups: "policy_satisfied",
    members_of_a_group_changed: "policy_satisfied",
    members_of_a_group_left_out: "policy_satisfied",
    slots_of_a_group_raised: "policy_satisfied",
    slots_beyond_the_number_of_approvals: "state_machine",
    slots_of_a_template_lowered: "policy_within_template",
    slots_of_a_template_lowered_by_an_override: "policy_within_template",
    requester_where_forbidden: "separation_of_duties",
    mode_escalated: "mode_consistent",
    mode_of_the_request_escalated: "mode_consistent",
    plan_swapped: "request_digest",
    goal_swapped: "request_digest",
    plan_longer_than_allowed: "policy_satisfied",
    policy_weakened: "policy_within_template",
    policy_weakened_by_an_override: "policy_within_template",
    policy_replaced: "state_machine",
    executed_twice: "single_execution",
    completed_without_a_start: "request_digest",
    completed_without_a_request: "state_machine",
    header_unlike_the_events: "header_equals_replay",
    time_of_creation_changed: "header_equals_replay",
    an_event_of_another_decision: "event_sequence",
    times_that_go_back: "event_sequence",
    a_stale_event_digest: "event_digests",
    run_of_another_decision: "router_result",
    run_bundle_altered: "router_digest_recomputed",
    run_bundle_altered_and_sealed_again: "router_result",
    reference_to_another_run: "router_result",
    link_digest_arbitrary: "link_digest",
    link_to_another_adapter: "link_equals_events",
    template_snapshot_rewritten: "template_digest",
    template_shown_is_another: "template_equals_events",
    unknown_version: "schema",
    alg_lies: "schema",
    smuggled_key: "schema",
    provenance_of_another_export: "provenance",
}
