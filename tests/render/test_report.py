"""What the HTML report says of a decision that was not executed: it is of an instant, and of another store."""

import pytest

from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.reading import read_evidence
from nexus_control.render.report import render_report
from nexus_control.store import DecisionStore
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
