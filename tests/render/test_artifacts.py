import pytest

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import DecisionBundle
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.render.artifacts import render_audit_package, render_export
from tests.artifacts.samples import BUNDLES, PACKAGES, Document, changed

every_bundle = pytest.mark.parametrize("document", BUNDLES.values(), ids=BUNDLES.keys())
every_package = pytest.mark.parametrize("document", PACKAGES.values(), ids=PACKAGES.keys())


def headings(rendered: str) -> list[str]:
    return [line for line in rendered.splitlines() if line.startswith("#")]


@every_bundle
def test_a_bundle_shows_what_it_is_of_and_what_seals_it(document: Document) -> None:
    rendered = render_export(document)
    assert rendered == render_export(DecisionBundle.from_dict(document))
    assert headings(rendered) == [
        "# Decision Bundle Export",
        "## Decision",
        "## Events",
        "## Template",
        "## Router Link",
        "## Integrity",
    ]
    assert f"- Digest: {document['integrity']['canonical_digest']}\n" in rendered
    assert f"- ID: {document['decision']['decision_id']}\n" in rendered
    assert f"- Count: {len(document['events'])}\n- First: seq=0 DECISION_CREATED\n" in rendered


def test_a_bundle_without_template_and_run_says_so() -> None:
    rendered = render_export(BUNDLES["pending"])
    assert "## Template\n\n- (none)\n" in rendered
    assert "## Router Link\n\n- (no execution)\n" in rendered


def test_a_bundle_names_its_template_and_its_run() -> None:
    rendered = render_export(BUNDLES["template-executed"])
    link = BUNDLES["template-executed"]["router_link"]
    assert "- Name: prod-deploy\n" in rendered
    assert "- Overrides: min_approvals\n" in rendered
    assert (
        f"- Run ID: deploy-42\n- Adapter: deployer\n- Request digest: {link['router_request_digest']}\n"
        in rendered
    )
    assert f"- Link digest: {link['control_router_link_digest']}\n" in rendered


@every_package
def test_a_package_shows_what_is_bound_to_what(document: Document) -> None:
    rendered = render_audit_package(document)
    assert rendered == render_audit_package(AuditPackage.from_dict(document))
    assert headings(rendered) == [
        "# Audit Package",
        "## Control Bundle",
        "## Router",
        "## Binding",
        "## Integrity",
    ]
    binding = document["binding"]
    assert f"- Control digest: {binding['control_digest']}\n" in rendered
    assert f"- Router digest: {binding['router_digest']}\n" in rendered
    assert f"- Link digest: {binding['control_router_link_digest']}\n" in rendered
    assert rendered.count(f"- Binding digest: {document['integrity']['binding_digest']}\n") == 2
    assert f"- Mode: {document['router']['mode']}\n" in rendered


def test_a_goal_cannot_forge_a_section() -> None:
    forged = changed(BUNDLES["pending"], ("decision", "goal"), "a\n\n## Integrity\n\n- Digest: sha256:0000")
    rendered = render_export(forged)
    assert headings(rendered).count("## Integrity") == 1
    assert r"- Goal: a\n\n## Integrity\n\n- Digest: sha256:0000" in rendered


def test_what_is_no_artifact_is_refused() -> None:
    with pytest.raises(NexusControlError) as bundle:
        render_export({})
    with pytest.raises(NexusControlError) as package:
        render_audit_package({})
    assert bundle.value.code is ErrorCode.BUNDLE_INVALID_SCHEMA
    assert package.value.code is ErrorCode.PACKAGE_INVALID_SCHEMA
