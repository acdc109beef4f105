"""What the HTML report says of a decision that was not executed: it is of an instant, and of another store."""

import re
from pathlib import Path
from typing import Any

import pytest

from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.reading import read_evidence
from nexus_control.evidence.trust import Attached
from nexus_control.lifecycle import counted
from nexus_control.render.report import render_report
from nexus_control.store import DecisionStore
from nexus_control.tool import NexusControlTools
from tests.evidence.packages import Scene, honest
from tests.evidence.signed_packages import signed_package
from tests.render.decisions import ordinary
from tests.support.clock import FakeClock
from tests.support.governed import data_of
from tests.support.situations import SITUATIONS, Two

ENDS = "The request ends at 2026-01-02 04:04:05 UTC."
AT_ITS_LAST_EVENT = "At its last event, at 2026-01-02 03:04:05 UTC, the decision was"


def report_of(name: str) -> str:
    clock = FakeClock()
    with DecisionStore(":memory:", clock=clock) as store:
        two = Two(store, clock)
        bundle = data_of(two.here.export_bundle(SITUATIONS[name].build(two)))["bundle"]
    return render_report(read_evidence(canonical_json(bundle).encode()))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("approved", f"{AT_ITS_LAST_EVENT} approved, with 1 approval;"),
        ("approved elsewhere", f"{AT_ITS_LAST_EVENT} approved, with 1 approval;"),
        ("a request that expired approved", f"{AT_ITS_LAST_EVENT} approved, with 1 approval;"),
        ("a request that expired approved", ENDS),
        ("a request that expired approved, revoked then", "the decision was expired, with 0 approvals;"),
        ("a request that expired and was denied", "The decision is denied, with 0 approvals."),
        ("just asked", f"{AT_ITS_LAST_EVENT} pending approval, with 0 approvals;"),
    ],
)
def test_a_decision_that_may_still_be_executed_is_told_as_of_its_last_event(name: str, said: str) -> None:
    report = report_of(name)
    assert said in report
    assert "The decision is approved" not in report
    if said.startswith(AT_ITS_LAST_EVENT):
        assert "they count in the store where they were given" in report


def text_of(page: str) -> str:
    """What a reader sees of a page, on one line."""
    body = re.sub(r"<style>.*?</style>|<svg.*?</svg>", "", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def report_on(content: bytes, **options: Any) -> str:
    return text_of(render_report(read_evidence(content, **options)))


def test_the_page_says_first_how_many_checks_were_made_and_what_the_next_level_needs() -> None:
    signed = signed_package()
    said = report_on(signed.package)
    assert "33 of 37 checks were made, none failed. 4 checks were skipped; why is said below." in said
    assert "L2: self-signed; an operator can rewrite history until a checkpoint leaves this machine." in said
    assert (
        "L3 needs package_signature (no envelope came with it; give --package-key and the package&#x27;s envelope)."
        in said
    )
    for name, why in (
        ("package_signature", "no envelope came with it"),
        ("witness_quorum", "no witness is trusted"),
    ):
        assert f"{name} skipped {why}" in said
    whole = report_on(signed.package, trust=signed.trust, attached=Attached(envelope=signed.envelope))
    assert "36 of 37 checks were made, none failed. 1 check was skipped" in whole
    assert "L5: others saw the log" in whole
    assert "needs" not in whole.split("Decision")[0]


def test_a_level_that_is_required_and_not_reached_is_in_the_verdict() -> None:
    evidence = read_evidence(signed_package().package, require="L3")
    assert "<h1>Audit package holds together, but L3 is not reached</h1>" in render_report(evidence)


def test_a_failed_check_is_named_first_and_what_was_found_is_told(tmp_path: Path) -> None:
    said = report_on(ordinary(tmp_path).replace(b'"min_approvals":2', b'"min_approvals":1'))
    assert (
        said.index("does not hold together")
        < said.index("Failed: ")
        < said.index("Do not rely on anything below.")
    )
    assert "expected sha256:" in said


def test_outputs_stand_on_the_page_of_a_package_that_holds_them(tmp_path: Path) -> None:
    said = report_on(ordinary(tmp_path))
    assert "inspect-0 ✓ ok, exit code 0 2 keys, both older than 90 days: billing" in said
    assert (
        "{&quot;service&quot;: &quot;billing&quot;, &quot;rotated&quot;: [&quot;k1&quot;, &quot;k2&quot;]}"
        in said
    )
    assert "Outputs of rehearsals are kept by the store, not in this document." in said


def test_a_package_without_outputs_says_how_to_get_them(tmp_path: Path) -> None:
    said = report_on(ordinary(tmp_path, embed=False))
    assert "The outputs of the steps are not in this package" in said
    assert "nexus-control audit ID --embed" in said


def test_times_are_utc_to_the_second_with_the_distance_to_the_one_before(tmp_path: Path) -> None:
    page = render_report(read_evidence(ordinary(tmp_path)))
    assert '<time datetime="2026-01-02T05:14:05.000006+00:00">2026-01-02 05:14:05</time>' in page
    assert "2026-01-02 05:14:05 2 h 10 min later bob@example.com approved" in text_of(page)
    assert re.findall(r">[^<]*\d{2}:\d{2}:\d{2}\.\d", page) == []


def test_a_run_by_itself_shows_its_steps() -> None:
    bundle = honest("failed")["router"]["bundle"]
    said = report_on(canonical_json(bundle).encode())
    assert "Run bundle holds together" in said
    assert "s1 ✗ failed, what was done is unknown" in said
    assert "the vault is sealed" in said


def stored_page(store: NexusControlTools, request_id: str) -> str:
    """The page of a decision of a store that was not executed."""
    bundle = data_of(store.export_bundle(request_id))["bundle"]
    view = data_of(store.inspect(request_id))
    return text_of(render_report(read_evidence(canonical_json(bundle).encode()), view))


@pytest.mark.parametrize("name", [name for name in SITUATIONS if name != "without a policy"])
def test_the_page_of_a_stored_decision_says_what_its_store_says_of_it(name: str) -> None:
    clock, situation = FakeClock(), SITUATIONS[name]
    with DecisionStore(":memory:", clock=clock) as store:
        two = Two(store, clock)
        request_id = situation.build(two)
        said = stored_page(two.here, request_id)
        view = data_of(two.here.inspect(request_id))
    assert f"Decision {situation.state.replace('_', ' ')}" in said
    if situation.state in ("approved", "pending_approval"):
        assert (
            f"{situation.approvals[0]} of {counted(situation.approvals[1], 'approval')} counted here." in said
        )
        assert [each["message"] in said for each in view["lifecycle"]["blocking_reasons"]] == [
            True for _ in situation.reasons
        ]
        assert ("Nothing keeps it from being executed." in said) is situation.executable


def test_the_page_of_a_stored_decision_has_the_outputs_of_its_rehearsals() -> None:
    scene = Scene()
    request_id = scene.approved()
    scene.execute(request_id, dry_run=True)
    said = stored_page(scene.tools, request_id)
    assert "Decision approved" in said
    assert "The steps of the rehearsal at 2026-01-02 03:04:08 UTC:" in said
    assert "s1 ✓ only described" in said or "s1 ✓ ok" in said
