"""The statement that a signer makes of a package, from the package alone."""

import hashlib
import json
from dataclasses import replace

import pytest

from nexus_control import AuditPackage, Trust, verify_evidence
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.dsse import parse_envelope, sign_envelope
from nexus_control.evidence.package_statement import PAYLOAD_TYPE, parse_package_statement
from nexus_control.evidence.reading import read_evidence
from nexus_control.evidence.vouching import state_package
from nexus_control.render.report import render_report
from tests.artifacts.samples import load
from tests.evidence.packages import honest
from tests.evidence.signed_packages import PACKAGE_KEY, envelope_of, signed_package

ISSUED = "2026-01-02T03:04:05.000000+00:00"


def test_what_is_stated_is_what_a_verifier_finds_in_the_package() -> None:
    signed = signed_package()
    statement = state_package(AuditPackage.from_dict(signed.data), signed.package)
    by_hand = parse_package_statement(parse_envelope(envelope_of(signed.package)).payload)
    assert replace(statement, predicate=replace(statement.predicate, assurance=None)) == by_hand
    assert statement.package_sha256 == hashlib.sha256(signed.package).hexdigest()


def test_the_weakest_approval_that_counted_and_what_the_signer_adds_are_stated() -> None:
    signed = signed_package()
    statement = state_package(
        AuditPackage.from_dict(signed.data), signed.package, issued_at=ISSUED, producer="somebody"
    )
    said = statement.predicate
    assert (said.assurance, said.issued_at, said.producer) == ("signed", ISSUED, "somebody")
    assert parse_package_statement(statement.to_payload()) == statement


def test_what_is_stated_and_signed_verifies() -> None:
    signed = signed_package()
    statement = state_package(AuditPackage.from_dict(signed.data), signed.package)
    envelope = sign_envelope(PAYLOAD_TYPE, statement.to_payload(), PACKAGE_KEY).to_json()
    assert signed.but(envelope=envelope).verified().ok


def test_a_package_of_1_0_is_vouched_for_without_a_log() -> None:
    package = AuditPackage.from_dict(load("control", "audit-reference.json")["package"])
    said = state_package(package, b"its bytes").predicate
    assert (said.log, said.assurance, said.decision_id) == (
        None,
        "declared",
        package.control_bundle.decision.decision_id,
    )


def test_a_package_of_an_imported_history_is_vouched_for_without_a_log_and_verifies() -> None:
    content = canonical_json(honest("imported_and_approved_here")).encode()
    statement = state_package(AuditPackage.from_dict(json.loads(content)), content)
    assert statement.predicate.log is None
    envelope = sign_envelope(PAYLOAD_TYPE, statement.to_payload(), PACKAGE_KEY).to_json()
    trust = Trust(package_keys=(PACKAGE_KEY.public.to_pem(),))
    report = verify_evidence(content, trust=trust, envelope=envelope)
    assert (report.ok, report.reached) == (True, ("L0", "L1", "L3"))
    page = render_report(read_evidence(content, trust=trust))
    assert "3 events" not in page
    assert "2 events came at" in page


def test_a_package_whose_events_are_no_history_is_not_vouched_for() -> None:
    data = signed_package().data
    data["control_bundle"]["events"][0]["payload"] = {}
    with pytest.raises(NexusControlError) as refused:
        state_package(AuditPackage.from_dict(data), b"its bytes")
    assert refused.value.code is ErrorCode.REPLAY_INVALID
