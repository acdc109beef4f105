"""An execution that a person reconciled without knowing its run is exported, and its package says so."""

import json

import pytest

from nexus_control import NexusControlTools, verify_evidence
from nexus_control.bundle import DecisionBundle
from tests.facade.routers import FakeRouter
from tests.support.governed import ADAPTER, ALICE, BOB, SCHEDULER, approved, data_of

EVIDENCE = "the new key is in the vault"


def cut_off(tools: NexusControlTools) -> str:
    """A decision whose router never answered."""
    request_id = approved(tools)

    def lost() -> object:
        raise TimeoutError("no answer")

    assert tools.execute(request_id, ADAPTER, SCHEDULER, FakeRouter(lost)).error_code == "OUTCOME_UNKNOWN"
    return request_id


@pytest.mark.parametrize("outcome", ["completed", "failed"])
def test_its_package_says_that_no_run_is_known_and_why_a_person_settled_it(
    tools: NexusControlTools, outcome: str
) -> None:
    request_id = cut_off(tools)
    data_of(tools.reconcile(request_id, BOB, outcome, EVIDENCE))  # type: ignore[arg-type]
    package = data_of(tools.export_audit_package(request_id))["package"]
    assert package["router"]["ref"]["run_id"] == f"reconciled:{request_id}:3"
    digest = tools.store.get_events(request_id)[-1].digest
    assert package["router"]["ref"]["digest"] == f"sha256:{digest}"
    report = verify_evidence(json.dumps(package), require="L1")
    assert report.ok
    (check,) = [each for each in report.checks if each.name == "router_result"]
    assert (check.status, EVIDENCE in check.detail) == ("info", True)


def test_a_known_run_stays_that_run(tools: NexusControlTools) -> None:
    request_id = cut_off(tools)
    data_of(tools.reconcile(request_id, BOB, "completed", EVIDENCE, run_id="run-7"))
    package = data_of(tools.export_audit_package(request_id))["package"]
    assert package["router"]["ref"]["run_id"] == "run-7"
    assert verify_evidence(json.dumps(package), require="L1").ok


def test_before_it_is_reconciled_there_is_no_package(tools: NexusControlTools) -> None:
    assert tools.export_audit_package(cut_off(tools)).error_code == "NO_ROUTER_LINK"


@pytest.mark.parametrize("stands_in", [True, False])
def test_a_bundle_is_read_with_and_without_what_stands_in_for_the_run(
    tools: NexusControlTools, stands_in: bool
) -> None:
    request_id = cut_off(tools)
    data_of(tools.reconcile(request_id, ALICE, "completed", EVIDENCE))
    bundle = data_of(tools.export_bundle(request_id))["bundle"]
    if not stands_in:  # as 2.0 wrote it
        for name in ("run_id", "router_result_digest", "control_router_link_digest"):
            del bundle["router_link"][name]
        bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    with NexusControlTools() as elsewhere:
        assert data_of(elsewhere.import_bundle(json.dumps(bundle)))["digest_verified"]
