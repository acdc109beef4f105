"""verify_bundle: a bundle is held to what a package's bundle is held to, and to no more than it can show."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nexus_control import DecisionBundle, NexusControlError, Trust, verify_bundle
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.report import Status
from nexus_control.evidence.verify import BUNDLE_CHECKS, CHECKS
from tests.artifacts.samples import BUNDLES, changed
from tests.evidence.forgeries import FORGERIES, approved_by, events, mode_of_the_request_escalated
from tests.evidence.packages import HONEST, PLAN, Package, Scene, honest, resealed, seal_bundle
from tests.evidence.signed_packages import signed_package
from tests.support.governed import ALICE, BOB, data_of

Bundle = dict[str, Any]


def statuses(bundle: object, **options: Any) -> dict[str, Status]:
    report = verify_bundle(bundle, **options)  # pyright: ignore[reportArgumentType] - whatever it is
    return {check.name: check.status for check in report.checks}


def failing(bundle: object, **options: Any) -> set[str]:
    return {name for name, status in statuses(bundle, **options).items() if status == "fail"}


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_bundle_raises_no_alarm(name: str) -> None:
    report = verify_bundle(honest(name)["control_bundle"])
    assert [check for check in report.checks if check.status == "fail"] == []
    assert (report.ok, report.level, report.reached) == (True, "L1", ("L0", "L1"))


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("left_out", ["template_snapshot", "router_link"])
def test_an_export_may_leave_out_what_its_events_say(name: str, left_out: str) -> None:
    nothing: Bundle = {"present": False} if left_out == "template_snapshot" else {}
    bundle = copy.deepcopy(BUNDLES[name]) | {left_out: nothing}
    seal_bundle(bundle)
    assert (failing(bundle), verify_bundle(bundle).level) == (set(), "L1")


def exported(build: Callable[[Scene], str]) -> Bundle:
    scene = Scene()
    return data_of(scene.tools.export_bundle(build(scene)))["bundle"]


def just_asked(scene: Scene) -> str:
    return data_of(scene.tools.request("g", ALICE, mode="apply", plan=PLAN, max_steps=1))["request_id"]


def test_a_history_without_a_policy_is_not_said_to_keep_within_a_template() -> None:
    bundle = exported(just_asked)
    del bundle["events"][1:]
    bundle["decision"]["status"] = "DRAFT"
    seal_bundle(bundle)
    found = statuses(bundle)
    assert (found["template_digest"], found["policy_within_template"]) == ("skipped", "skipped")


def denied(scene: Scene) -> str:
    request_id = scene.approved()
    data_of(scene.tools.deny(request_id, BOB, "no"))
    return request_id


def only_rehearsed(scene: Scene) -> str:
    request_id = scene.approved()
    scene.execute(request_id, dry_run=True)
    return request_id


@pytest.mark.parametrize("build", [just_asked, Scene.approved, denied, only_rehearsed])
def test_a_bundle_of_which_nothing_was_executed_says_so(build: Callable[[Scene], str]) -> None:
    bundle = exported(build)
    report = verify_bundle(bundle)
    found = {check.name: check for check in report.checks}
    assert (failing(bundle), report.ok, report.level) == (set(), True, "L1")
    for name in ("policy_satisfied", "separation_of_duties"):
        assert (found[name].status, found[name].detail) == ("info", "nothing was executed")
    assert found["link_digest"].status == "info"


AROUND_THE_BUNDLE = {"schema", "provenance"}  # forged in the package
WITHOUT_THE_RUN = {
    mode_of_the_request_escalated: "request_digest"
}  # what the run's record gives away in a package
OF_THE_BUNDLE = {
    forge: WITHOUT_THE_RUN.get(forge, check)
    for forge, check in FORGERIES.items()
    if check in BUNDLE_CHECKS and check not in AROUND_THE_BUNDLE
}


@pytest.mark.parametrize(
    ("forge", "check"), OF_THE_BUNDLE.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_forgery_is_caught_without_the_package_around_it(forge: Callable[[], Package], check: str) -> None:
    bundle = forge()["control_bundle"]
    assert check in failing(bundle)
    report = verify_bundle(bundle)
    assert (report.ok, bool(report)) == (False, False)
    assert report.level in (None, "L0")


def rehearsed_without_approvals() -> Bundle:
    """A rehearsal needs the approvals too, and no run is linked that would ask for them."""
    bundle = exported(only_rehearsed)
    package = {**honest(), "control_bundle": bundle}
    granted = events(package, "APPROVAL_GRANTED")
    bundle["events"] = [event for event in bundle["events"] if event not in granted]
    for seq, event in enumerate(bundle["events"]):
        event |= {"seq": seq, "event_id": f"evt_{event['decision_id']}_{seq}"}
    seal_bundle(bundle)
    return bundle


def changed_after_sealing() -> Bundle:
    return changed(honest()["control_bundle"], ("decision", "goal"), "Read the keys")


def smuggled_key() -> Bundle:
    return honest()["control_bundle"] | {"approved": True}


def of_another_export() -> Bundle:
    return changed(honest()["control_bundle"], ("provenance", "records", 0, "inputs"), ["decision:another"])


def said_to_be_executed() -> Bundle:
    bundle = exported(Scene.approved)
    bundle["decision"]["status"] = "COMPLETED"
    seal_bundle(bundle)
    return bundle


def with_a_run_of_its_own() -> Bundle:
    bundle = exported(Scene.approved)
    bundle["router_link"] = honest()["control_bundle"]["router_link"]
    seal_bundle(bundle)
    return bundle


BUNDLE_FORGERIES: dict[Callable[[], Bundle], str] = {
    rehearsed_without_approvals: "policy_satisfied",
    changed_after_sealing: "canonical_digest",
    smuggled_key: "schema",
    of_another_export: "provenance",
    said_to_be_executed: "header_equals_replay",
    with_a_run_of_its_own: "link_equals_events",
}


@pytest.mark.parametrize(
    ("forge", "check"), BUNDLE_FORGERIES.items(), ids=lambda value: getattr(value, "__name__", value)
)
def test_a_forged_bundle_is_caught_by_its_check(forge: Callable[[], Bundle], check: str) -> None:
    assert check in failing(forge())
    assert not verify_bundle(forge()).ok


def test_every_check_is_reported_once_in_order_and_every_one_has_been_made_to_fail() -> None:
    report = verify_bundle(honest()["control_bundle"])
    assert [check.name for check in report.checks] == list(BUNDLE_CHECKS)
    of_packages = [name for name in CHECKS if name in BUNDLE_CHECKS]
    assert [name for name in BUNDLE_CHECKS if name != "canonical_digest"] == of_packages
    caught = set[str]().union(*(failing(forge()["control_bundle"]) for forge in FORGERIES))
    caught = caught.union(*(failing(forge()) for forge in BUNDLE_FORGERIES))
    caught |= (
        failing(approved_by("b\u043eb")["control_bundle"]) | failing(b"{") | failing(b"x" * (64 * 2**20 + 1))
    )
    signed = signed_package().data
    events(signed, "APPROVAL_GRANTED")[0]["payload"]["signed"]["signature"] = "forged"
    caught |= failing(resealed(signed)["control_bundle"])
    of_others = {name for name, level in BUNDLE_CHECKS.items() if level in ("L2", "L3", "L5")}
    assert set(BUNDLE_CHECKS) - caught == {"canonical_domain", "allowed_signers"} | of_others


def test_signed_approvals_of_people_and_a_log_that_are_trusted_reach_l4_beside_l1() -> None:
    signed = signed_package()
    bundle, trust = signed.data["control_bundle"], signed.trust
    report = verify_bundle(bundle, trust=trust)
    assert (report.level, report.reached) == ("L1", ("L0", "L1", "L4"))
    for less in (None, replace(trust, allowed_signers=None), replace(trust, log_keys=())):
        assert verify_bundle(bundle, trust=less).reached == ("L0", "L1")


@pytest.mark.parametrize("level", ["L2", "L3", "L4", "L5"])
def test_a_level_that_a_bundle_cannot_show_is_never_ok_and_says_what_is_missing(level: Any) -> None:
    signed = signed_package()
    report = verify_bundle(signed.data["control_bundle"], trust=signed.trust, require=level)
    assert (report.ok, report.level, report.to_dict()["required"]) == (False, "L1", level)
    missing = {check.name: check.detail for check in report.missing}
    assert missing["checkpoint_signature"] == "a bundle carries neither a proof of a log nor a signature"


def test_an_approval_that_was_signed_cannot_be_given_to_another_request() -> None:
    signed = signed_package()
    package = signed.data
    events(package, "DECISION_CREATED")[0]["payload"]["goal"] = "Delete the keys"
    package["control_bundle"]["decision"]["goal"] = "Delete the keys"
    bundle = resealed(package)["control_bundle"]
    assert {"approval_signatures", "request_digest"} <= failing(bundle)
    assert "L4" not in verify_bundle(bundle, trust=signed.trust).reached


def test_a_bundle_in_any_form_gives_the_same_report() -> None:
    bundle = honest()["control_bundle"]
    text = json.dumps(bundle, indent=2)
    forms = [bundle, DecisionBundle.from_dict(bundle), text, text.encode(), canonical_json(bundle)]
    reports = [verify_bundle(form).to_dict() for form in forms]
    for report in reports:
        report["checks"] = [each for each in report["checks"] if each["name"] != "limits"]
    assert all(report == reports[0] for report in reports)


@pytest.mark.parametrize(
    "given",
    ["", "[]", "null", "{", b"\xff", {"a": {1, 2}}, {}, "[" * 100_000, honest(), 7],
    ids=lambda v: repr(v)[:20],
)
def test_what_is_no_bundle_is_a_report_and_never_an_exception(given: object) -> None:
    report = verify_bundle(given)  # pyright: ignore[reportArgumentType] - that is the point
    assert (report.ok, report.level, report.reached) == (False, None, ())
    assert [check.name for check in report.checks] == list(BUNDLE_CHECKS)


@pytest.mark.parametrize("options", [{"require": "L9"}, {"trust": Trust(log_keys=["nonsense"])}])
def test_what_the_verifier_gets_wrong_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(NexusControlError):
        verify_bundle(BUNDLES["executed"], **options)
