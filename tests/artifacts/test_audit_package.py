import json
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.audit_package import (
    AUDIT_ERROR_NO_ROUTER_LINK,
    AUDIT_ERROR_ROUTER_DIGEST_MISMATCH,
    PACKAGE_VERSION,
    AuditPackage,
    PackageRouter,
    VerificationResult,
    compute_binding_digest,
    router_bundle_digest,
    verify_audit_package,
)
from nexus_control.bundle import DecisionBundle
from nexus_control.canonical_json import MAX_DEPTH, canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.integrity import prefixed
from tests.artifacts.samples import (
    ABSENT,
    AT,
    BUNDLES,
    PACKAGES,
    Document,
    Path,
    at,
    changed,
    independent_digest,
    nodes,
)
from tests.support.amounts import sample_of
from tests.support.json_values import json_values

SIX = [
    "binding_digest",
    "control_bundle_digest",
    "binding_control_match",
    "binding_router_match",
    "binding_link_match",
    "router_digest",
]
FIVE = SIX[:-1]
REFERENCE, EMBEDDED = PACKAGES["reference"], PACKAGES["embedded"]
ZEROS = "sha256:" + "0" * 64
every_package = pytest.mark.parametrize("document", PACKAGES.values(), ids=PACKAGES.keys())

# What no frozen digest covers, and the six checks therefore cannot vouch for.
UNCOVERED: list[Path] = [
    ("provenance",),
    ("meta",),
    ("evidence",),
    ("control_bundle", "provenance"),
    ("control_bundle", "meta"),
    ("router", "bundle"),
]
# ... except the digest that an embedded run bundle declares.
DECLARED: Path = ("router", "bundle", "integrity", "canonical_digest")


def is_covered(path: Path) -> bool:
    return DECLARED[: len(path)] == path or not any(path[: len(start)] == start for start in UNCOVERED)


def failed(result: VerificationResult) -> list[str]:
    return [check.name for check in result.checks if not check.ok]


@every_package
def test_a_package_is_written_as_it_was_read(document: Document) -> None:
    package = AuditPackage.from_dict(document)
    assert package.to_dict() == document
    assert canonical_json(package.to_dict()) == canonical_json(document)
    assert AuditPackage.from_dict(package.to_dict()) == package
    assert AuditPackage.from_json(json.dumps(document).encode()) == package


@every_package
def test_a_package_passes_its_checks_in_every_form(document: Document) -> None:
    forms: list[Any] = [
        document,
        MappingProxyType(document),
        json.dumps(document),
        canonical_json(document).encode(),
        AuditPackage.from_dict(document),
    ]
    names = SIX if document["router"]["mode"] == "embedded" else FIVE
    for form in forms:
        result = verify_audit_package(form)
        assert result.ok
        assert bool(result)
        assert [check.name for check in result.checks] == names
        assert all(check.expected == check.actual and check.detail == "" for check in result.checks)
        report = result.to_dict()
        assert (report["passed"], report["failed"], report["total"]) == (len(names), 0, len(names))


@every_package
def test_the_binding_digest_recomputes(document: Document) -> None:
    declared = document["integrity"]["binding_digest"]
    assert prefixed(compute_binding_digest(PACKAGE_VERSION, **document["binding"])) == declared
    assert independent_digest({"package_version": "0.6", **document["binding"]}) == declared


@every_package
def test_sealing_the_same_parts_gives_the_same_package(document: Document) -> None:
    package = AuditPackage.from_dict(document)
    sealed = AuditPackage.seal(control_bundle=package.control_bundle, router=package.router, exported_at=AT)
    assert replace(sealed, meta=package.meta) == package
    assert sealed.meta.exported_at == "2026-01-02T03:04:05.000006+00:00"
    assert verify_audit_package(sealed).ok


def test_golden_provenance_ids() -> None:
    ids = {name: package["provenance"]["records"][0]["prov_id"] for name, package in PACKAGES.items()}
    assert ids["reference"] == "prov_9f5158add4c5"
    assert ids["embedded"] == "prov_81de82b94e3f"


def test_evidence_is_carried_and_not_covered() -> None:
    package = AuditPackage.from_dict({**REFERENCE, "evidence": {"log": {"size": 3}}})
    assert package.evidence == {"log": {"size": 3}}
    assert package.to_dict()["evidence"] == {"log": {"size": 3}}
    assert verify_audit_package(package).ok
    assert "evidence" not in AuditPackage.from_dict(REFERENCE).to_dict()


def test_a_decision_that_ran_nothing_cannot_be_sealed() -> None:
    bundle = DecisionBundle.from_dict(BUNDLES["pending"])
    with pytest.raises(NexusControlError) as caught:
        AuditPackage.seal(
            control_bundle=bundle, router=PackageRouter.reference(run_id="r", digest=ZEROS), exported_at=AT
        )
    assert caught.value.code == ErrorCode.NO_ROUTER_LINK == AUDIT_ERROR_NO_ROUTER_LINK


def test_a_run_bundle_that_declares_no_digest_cannot_be_sealed() -> None:
    bundle = DecisionBundle.from_dict(BUNDLES["executed"])
    with pytest.raises(NexusControlError) as caught:
        AuditPackage.seal(control_bundle=bundle, router=PackageRouter.embedded({}), exported_at=AT)
    assert caught.value.code == ErrorCode.ROUTER_DIGEST_MISMATCH == AUDIT_ERROR_ROUTER_DIGEST_MISMATCH


@pytest.mark.parametrize(
    ("bundle", "digest"),
    [
        ({"integrity": {"canonical_digest": ZEROS}}, ZEROS),
        ({"digests": {"sha256": "0" * 64}}, ZEROS),
        ({"integrity": {"canonical_digest": ZEROS}, "digests": {"sha256": "1" * 64}}, ZEROS),
        ({"integrity": {"alg": "sha256"}, "digests": {"sha256": "0" * 64}}, ZEROS),
        ({"integrity": {"canonical_digest": "0" * 64}, "digests": {"sha256": "0" * 64}}, None),
        ({"integrity": {"canonical_digest": "sha256:" + "A" * 64}}, None),
        ({"digests": {"sha256": ZEROS}}, None),
        ({"digests": {"sha256": 5}}, None),
        ({"integrity": [], "digests": "0"}, None),
        ({}, None),
    ],
)
def test_the_digest_of_a_run_bundle_is_the_one_that_it_declares(
    bundle: Mapping[str, object], digest: str | None
) -> None:
    assert router_bundle_digest(bundle) == digest


@pytest.mark.parametrize(
    ("document", "path", "value", "names"),
    [
        (REFERENCE, ("integrity", "binding_digest"), ZEROS, ["binding_digest"]),
        (REFERENCE, ("control_bundle", "decision", "goal"), "Delete them all", ["control_bundle_digest"]),
        (
            REFERENCE,
            ("control_bundle", "integrity", "canonical_digest"),
            ZEROS,
            ["control_bundle_digest", "binding_control_match"],
        ),
        (REFERENCE, ("binding", "control_digest"), ZEROS, ["binding_digest", "binding_control_match"]),
        (REFERENCE, ("binding", "router_digest"), ZEROS, ["binding_digest", "binding_router_match"]),
        (
            REFERENCE,
            ("binding", "control_router_link_digest"),
            ZEROS,
            ["binding_digest", "binding_link_match"],
        ),
        (REFERENCE, ("router", "ref", "digest"), ZEROS, ["binding_router_match"]),
        (REFERENCE, ("router", "ref", "run_id"), "another run", ["binding_router_match"]),
        (
            REFERENCE,
            ("control_bundle", "router_link", "control_router_link_digest"),
            ABSENT,
            ["control_bundle_digest", "binding_link_match"],
        ),
        (
            EMBEDDED,
            ("binding", "router_digest"),
            ZEROS,
            ["binding_digest", "binding_router_match", "router_digest"],
        ),
        (EMBEDDED, DECLARED, ZEROS, ["binding_router_match", "router_digest"]),
        (EMBEDDED, DECLARED, ABSENT, ["binding_router_match", "router_digest"]),
    ],
)
def test_each_forgery_fails_the_checks_that_it_breaks_and_no_other(
    document: Document, path: Path, value: object, names: list[str]
) -> None:
    result = verify_audit_package(changed(document, path, value))
    assert not result.ok
    assert failed(result) == names
    assert len(result.checks) == (6 if document is EMBEDDED else 5)
    for check in result.checks:
        assert check.ok or (check.detail and check.expected != check.actual)
    assert result.to_dict()["failed"] == len(names)


@every_package
def test_no_change_of_covered_content_passes(document: Document) -> None:
    whole = {**document, "evidence": {"note": "not covered"}}
    for path in sample_of(nodes(whole), 80):
        value = at(whole, path)
        others: list[Any] = ["another", None, 7, True, [], {}, ZEROS, ABSENT]
        if isinstance(value, str):
            others += [value + " ", value.upper(), value[:-1]]
        for other in others:
            if other is not ABSENT and type(other) is type(value) and other == value:
                continue
            if verify_audit_package(changed(whole, path, other)).ok:
                assert not is_covered(path), (path, other)


@every_package
def test_no_key_can_be_added_to_covered_content(document: Document) -> None:
    for path in [(), *nodes(document)]:
        if isinstance(at(document, path), dict):
            added = changed(document, (*path, "added"), 1)
            assert not (verify_audit_package(added).ok and is_covered((*path, "added"))), path


@every_package
def test_events_cannot_be_dropped_repeated_or_reordered(document: Document) -> None:
    events = document["control_bundle"]["events"]
    for other in (events[:-1], events[1:], [*events, events[-1]], events[::-1]):
        result = verify_audit_package(changed(document, ("control_bundle", "events"), other))
        assert failed(result) == ["control_bundle_digest"]


BAD_SHAPES: list[tuple[Document, Path, object, str]] = [
    (REFERENCE, ("binding",), ABSENT, "Missing required field: binding"),
    (REFERENCE, ("package_version",), "0.7", "Unsupported package_version"),
    (REFERENCE, ("extra",), 1, "Unknown field: extra"),
    (REFERENCE, ("evidence",), None, "evidence must be left out here"),
    (REFERENCE, ("evidence",), [], "evidence must be an object"),
    (REFERENCE, ("router", "mode"), "embedded", "router: must hold ref in mode reference"),
    (REFERENCE, ("router", "mode"), "remote", "router.mode must be one of reference, embedded"),
    (REFERENCE, ("router", "bundle"), {}, "router: must hold ref in mode reference"),
    (REFERENCE, ("router", "bundle"), None, "router.bundle must be left out here"),
    (REFERENCE, ("integrity", "alg"), "md5", "integrity.alg must be one of sha256"),
    (REFERENCE, ("binding", "router_digest"), "SHA256:" + "0" * 64, "binding.router_digest must be sha256:"),
    (REFERENCE, ("control_bundle", "bundle_version"), "0.4", "Unsupported bundle_version"),
    (
        REFERENCE,
        ("control_bundle", "events", 2, "seq"),
        2.0,
        "control_bundle.events[2].seq must be an integer",
    ),
    (
        REFERENCE,
        ("control_bundle", "router_link", "run_id"),
        None,
        "control_bundle.router_link.run_id must be",
    ),
    (EMBEDDED, ("router", "bundle"), ABSENT, "router: must hold ref in mode reference"),
    (REFERENCE, ("meta", "exported_at"), "yesterday", "meta.exported_at must be an ISO-8601"),
]


@pytest.mark.parametrize(("document", "path", "value", "problem"), BAD_SHAPES)
def test_a_bad_shape_is_refused_and_fails_every_check(
    document: Document, path: Path, value: object, problem: str
) -> None:
    bad = changed(document, path, value)
    problems = AuditPackage.schema_problems(bad)
    assert any(problem in each for each in problems), problems
    with pytest.raises(NexusControlError) as caught:
        AuditPackage.from_dict(bad)
    assert caught.value.code == ErrorCode.PACKAGE_INVALID_SCHEMA
    assert caught.value.details == {"problems": problems}
    result = verify_audit_package(bad)
    assert failed(result) == (FIVE if bad["router"]["mode"] == "reference" else SIX)
    assert all(problem in check.detail for check in result.checks)


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


PLAN: Path = ("control_bundle", "events", 0, "payload", "plan")
HOSTILE: list[Any] = [
    None,
    5,
    [],
    [1],
    "",
    "not JSON",
    b"\xff\xfe",
    "[" * 100_000,
    "null",
    "[]",
    '{"a":1,"a":2}',
    '{"package_version":NaN}',
    {},
    {5: 1},
    {10**5000: 1},
    {"\ud800\x1b[2J": 1},
    {"router": {"mode": "embedded"}},
    changed(REFERENCE, PLAN, 10**5000),
    changed(REFERENCE, PLAN, "\ud800"),
    changed(REFERENCE, PLAN, float("nan")),
    changed(REFERENCE, PLAN, {1: 2, "1": 3}),
    changed(REFERENCE, PLAN, {1, 2}),
    changed(REFERENCE, PLAN, b"bytes"),
    {**REFERENCE, "control_bundle": None},
    {**REFERENCE, "router": deep(5_000)},
    {**REFERENCE, "control_bundle": {**REFERENCE["control_bundle"], "template_snapshot": deep(5_000)}},
    replace(AuditPackage.from_dict(REFERENCE), control_bundle=None),  # pyright: ignore[reportArgumentType]
    replace(AuditPackage.from_dict(EMBEDDED), binding=deep(5)),  # pyright: ignore[reportArgumentType]
    replace(AuditPackage.from_dict(REFERENCE), router="reference"),  # pyright: ignore[reportArgumentType]
]


@pytest.mark.parametrize("package", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_package_fails_and_the_report_can_be_printed(package: Any) -> None:
    result = verify_audit_package(package)
    assert not result.ok
    assert [check.name for check in result.checks] in (SIX, FIVE)
    for check in result.checks:
        assert len(check.detail) <= 300
        assert check.detail.isprintable()
    json.dumps(result.to_dict()).encode()


def test_nesting_beyond_the_stack_in_a_payload_fails() -> None:
    payload = {"goal": deep(200_000)}
    bundle = REFERENCE["control_bundle"]
    events = [{**bundle["events"][0], "payload": payload}, *bundle["events"][1:]]
    assert not verify_audit_package({**REFERENCE, "control_bundle": {**bundle, "events": events}}).ok


def test_a_payload_as_deep_as_an_event_may_hold_verifies_from_text() -> None:
    package = AuditPackage.from_dict(EMBEDDED)
    bundle = package.control_bundle
    first = replace(bundle.events[0], payload={"plan": deep(MAX_DEPTH - 2)})
    sealed = DecisionBundle.seal(
        decision=bundle.decision,
        events=[first, *bundle.events[1:]],
        template_snapshot=bundle.template_snapshot,
        router_link=bundle.router_link,
        exported_at=AT,
    )
    deeper = AuditPackage.seal(control_bundle=sealed, router=package.router, exported_at=AT)
    assert verify_audit_package(canonical_json(deeper.to_dict())).ok
    assert DecisionBundle.from_json(canonical_json(sealed.to_dict())) == sealed


def test_a_result_without_checks_is_not_ok() -> None:
    assert not VerificationResult(checks=())


@given(json_values())
def test_no_json_passes_or_raises(value: Any) -> None:
    assert not verify_audit_package(value).ok
    assert not verify_audit_package(canonical_json(value)).ok


@given(st.data())
def test_a_package_with_any_value_anywhere_never_raises(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from(list(PACKAGES.values())))
    path = data.draw(st.sampled_from(list(nodes(document))))
    value = data.draw(json_values())
    result = verify_audit_package(changed(document, path, value))
    assert not result.ok or value == at(document, path) or not is_covered(path)
