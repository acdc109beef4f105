"""Forgeries, one of each kind, each sealed again as far as anybody without a key can; and the check that catches it."""

import copy
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from nexus_control import AuditPackage, verify_bundle, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.verify import CHECKS
from tests.artifacts.samples import BUNDLES, PACKAGES, changed, independent_digest, nodes
from tests.evidence.packages import HONEST, Package, honest, rebound, resealed

Event = dict[str, Any]
LATE = "2036-01-01T00:00:00.000000+00:00"


def failing(package: object) -> set[str]:
    report = verify_evidence(package)  # pyright: ignore[reportArgumentType] - whatever it is
    return {check.name for check in report.checks if check.status == "fail"}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_package_raises_no_alarm(name: str) -> None:
    report = verify_evidence(honest(name))
    assert [check for check in report.checks if check.status == "fail"] == []
    reached = ("L0", "L1") if name == "imported_and_approved_here" else ("L0", "L1", "L2")
    assert (report.ok, report.level, report.reached) == (True, reached[-1], reached)


@pytest.mark.parametrize("name", PACKAGES)
def test_what_1_0_and_others_wrote_raises_no_alarm(name: str) -> None:
    report = verify_evidence(PACKAGES[name])
    assert [check for check in report.checks if check.status == "fail"] == []
    assert (report.ok, report.level) == (True, "L1")


@pytest.mark.parametrize("name", BUNDLES)
def test_a_bundle_of_1_0_raises_no_alarm(name: str) -> None:
    report = verify_bundle(BUNDLES[name])
    assert [check for check in report.checks if check.status == "fail"] == []
    assert (report.ok, report.level) == (True, "L1")


@pytest.mark.parametrize("name", HONEST)
def test_sealing_an_honest_package_again_gives_the_same_package(name: str) -> None:
    package = honest(name)
    del package["evidence"]  # a forger has the log's key no more than the log
    assert resealed(package) == package
    assert verify_evidence(package).level == "L1"


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


@pytest.mark.parametrize(
    ("forge", "check"), FORGERIES.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_forgery_is_caught_by_its_check(forge: Callable[[], Package], check: str) -> None:
    package = forge()
    assert package not in [honest(name) for name in HONEST]
    assert check in failing(package)
    assert not verify_evidence(package).ok


SAME_PERSON = {
    "in other capitals": ("BOB", "policy_satisfied"),
    "in full width": ("\uff42\uff4f\uff42", "schema"),
    "with a Cyrillic letter": ("b\u043eb", "approvals_distinct"),
    "with a Greek letter": ("b\u03bfb", "approvals_distinct"),
    "with an invisible letter": ("bob\u200b", "schema"),
    "with a space": ("bob ", "schema"),
}


@pytest.mark.parametrize(("name", "check"), SAME_PERSON.values(), ids=SAME_PERSON.keys())
def test_one_person_is_not_two(name: str, check: str) -> None:
    assert check in failing(approved_by(name))


@pytest.mark.parametrize(
    ("latin", "cyrillic"), [("b\u00f3b", "b\u043e\u0301b"), ("zo\u00eb", "zo\u0451")], ids=ascii
)
def test_a_mark_on_a_letter_hides_no_look_alike(latin: str, cyrillic: str) -> None:
    package = honest()
    for granted, name in zip(events(package, "APPROVAL_GRANTED"), (latin, cyrillic), strict=True):
        granted["actor"]["id"] = name
    assert failing(resealed(package)) == {"approvals_distinct"}


@pytest.mark.parametrize(
    ("names", "remark"),
    [
        (("Y\u0131lmaz", "Yilmaz"), r"two approvers look alike: 'Y\u0131lmaz' and 'Yilmaz'"),
        (("an\u2010na", "an-na"), r"two approvers look alike: 'an\u2010na' and 'an-na'"),
        (("bob", "c\u0251rol"), "U+0251"),
        (("ajay", "aj\u0307ay"), r"two approvers look alike: 'ajay' and 'aj\u0307ay'"),
        (("bob", "bob\ufffc"), "U+FFFC (OBJECT REPLACEMENT CHARACTER)"),
        (("bob", "bob\u1039"), "U+1039 (MYANMAR SIGN VIRAMA)"),
        (("bob smith", "bob  smith"), "two spaces in a row"),
    ],
    ids=ascii,
)
def test_approvers_who_may_be_two_people_and_look_alike_are_remarked_on(
    names: tuple[str, str], remark: str
) -> None:
    package = honest()
    for granted, name in zip(events(package, "APPROVAL_GRANTED"), names, strict=True):
        granted["actor"]["id"] = name
    report = verify_evidence(resealed(package))
    (check,) = (each for each in report.checks if each.name == "approvals_distinct")
    assert check.status == "info"
    assert remark in check.detail
    assert report.ok


@pytest.mark.parametrize("spelled", [2.0, True], ids=str)
def test_a_template_is_shown_as_the_event_spells_it(spelled: object) -> None:
    package = honest("from_template")
    number = 2 if spelled == 2 else 1
    attached = events(package, "POLICY_ATTACHED")[0]["payload"]
    snapshot = package["control_bundle"]["template_snapshot"]["snapshot"]
    attached["template_snapshot"]["max_steps"] = number
    assert snapshot["max_steps"] is None
    snapshot["max_steps"] = spelled
    assert "template_equals_events" in failing(resealed(package))


TEXTS: dict[str, Callable[[str], str]] = {
    "a key said twice": lambda text: text.replace(
        '"package_version"', '"package_version":"0.6","package_version"', 1
    ),
    "a number that is no integer": lambda text: text.replace('"min_approvals":2', '"min_approvals":2.0'),
    "an integer beyond 64 bits": lambda text: text.replace(
        '"min_approvals":2', '"min_approvals":' + "9" * 30
    ),
    "not a number": lambda text: text.replace('"min_approvals":2', '"min_approvals":NaN'),
    "a byte order mark": lambda text: "\ufeff" + text,
    "a lone surrogate": lambda text: text.replace('"Rotate the keys"', '"\\ud800"'),
    "a boolean for a number": lambda text: text.replace('"seq":1,', '"seq":true,'),
}


@pytest.mark.parametrize("spoil", TEXTS.values(), ids=TEXTS.keys())
def test_what_two_languages_read_differently_is_not_read(spoil: Callable[[str], str]) -> None:
    text = canonical_json(honest())
    spoiled = spoil(text)
    assert spoiled != text
    report = verify_evidence(spoiled)
    assert not report.ok
    assert failing(spoiled) & {"strict_parse", "schema", "event_digests"}


def test_an_integer_beyond_2_53_is_said_and_no_alarm() -> None:
    package = honest()
    events(package, "APPROVAL_GRANTED")[0]["payload"]["later_field"] = 2**53 + 1
    report = verify_evidence(resealed(package))
    by_name = {check.name: check for check in report.checks}
    assert (by_name["canonical_domain"].status, report.ok) == ("info", True)


KEYED = {name for name, level in CHECKS.items() if level not in ("L0", "L1")}
"""Each is made to fail where keys are at hand: in test_keyed."""


def test_every_check_is_reported_once_in_its_order_and_every_one_has_been_made_to_fail() -> None:
    report = verify_evidence(honest())
    assert [check.name for check in report.checks] == list(CHECKS)
    by_reference = verify_evidence(honest("by_reference"))
    assert [check.name for check in by_reference.checks] == [
        name for name in CHECKS if name != "router_digest"
    ]
    caught = {name for forge in FORGERIES for name in failing(forge())}
    caught |= failing(approved_by("b\u043eb")) | failing(b"{") | failing(b"x" * (64 * 2**20 + 1))
    for part in ("control_bundle", "binding", "router", "integrity"):
        for path in nodes(honest()[part]):
            if str(path[-1]).endswith(("digest", "sha256")):
                caught |= failing(changed(honest(), (part, *path), "sha256:" + "00" * 32))
    never_fails = {"canonical_domain"}  # which is never more than said
    assert set(CHECKS) - caught == never_fails | KEYED


def test_a_level_that_is_demanded_and_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="require"):
        verify_evidence(honest(), require="L9")  # pyright: ignore[reportArgumentType] - that is the point


def test_a_package_in_any_form_gives_the_same_report() -> None:
    package = honest()
    text = json.dumps(package, indent=2)
    forms = [package, AuditPackage.from_dict(package), text, text.encode(), canonical_json(package)]
    reports = [verify_evidence(form).to_dict() for form in forms]
    for report in reports:
        report["checks"] = [each for each in report["checks"] if each["name"] != "limits"]
    assert all(report == reports[0] for report in reports)


def test_a_run_bundle_of_another_shape_is_skipped_and_earns_its_level_by_the_rest() -> None:
    package = honest()
    declared = package["router"]["bundle"]["digests"]["sha256"]
    package["router"]["bundle"] = {"integrity": {"canonical_digest": f"sha256:{declared}"}, "what": "ever"}
    report = verify_evidence(package)
    statuses = {check.name: check.status for check in report.checks}
    assert (statuses["router_digest_recomputed"], report.level) == ("skipped", "L2")


def test_the_independent_digest_is_independent() -> None:
    assert independent_digest({}) == "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
