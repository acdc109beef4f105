"""A bundle 0.5 or an audit package 0.6 as Markdown: its decision, its content, and the digests that seal it."""

from collections.abc import Mapping

from nexus_control.audit_package import AuditPackage
from nexus_control.bundle import (
    BUNDLE_VERSION,
    BundleDecision,
    BundleIntegrity,
    BundleRouterLink,
    BundleTemplateSnapshot,
    DecisionBundle,
)
from nexus_control.render.text import bullet, listed, page, section


def render_export(bundle: DecisionBundle | Mapping[str, object]) -> str:
    """The Markdown of a bundle.

        >>> print(render_export(bundle).splitlines()[0])
        # ...

    Takes the bundle or its JSON object. Raises BUNDLE_INVALID_SCHEMA for a mapping that is not a bundle.
    """
    whole = bundle if isinstance(bundle, DecisionBundle) else DecisionBundle.from_dict(dict(bundle))
    first, last = whole.events[0], whole.events[-1]
    return render_parts(
        whole.decision,
        whole.template_snapshot,
        whole.router_link,
        whole.integrity,
        events=len(whole.events),
        first=f"seq={first.seq} {first.type}",
        last=f"seq={last.seq} {last.type}",
    )


def render_parts(
    decision: BundleDecision,
    template: BundleTemplateSnapshot,
    link: BundleRouterLink,
    integrity: BundleIntegrity,
    *,
    events: int,
    first: str,
    last: str,
) -> str:
    """Like `render_export`, of a bundle that has so many events, of which these are the first and the last."""
    digest = integrity.canonical_digest
    about = {
        "ID": decision.decision_id,
        "Status": decision.status,
        "Mode": decision.mode,
        "Goal": decision.goal,
        "Created": decision.created_at,
    }
    ends = {"First": first, "Last": last}
    overrides = listed(sorted(template.overrides or {}))
    used = {"Name": template.name, "Digest": template.digest, "Overrides": overrides}
    run = {
        "Run ID": link.run_id,
        "Adapter": link.adapter_id,
        "Request digest": link.router_request_digest,
        "Result digest": link.router_result_digest,
        "Link digest": link.control_router_link_digest,
    }
    return page(
        "# Decision Bundle Export",
        _lines({"Bundle version": BUNDLE_VERSION, "Digest": digest}),
        section("Decision", [_lines(about)]),
        section("Events", [_lines({"Count": events, **ends})]),
        section("Template", [_lines(used) if template.present else "- (none)"]),
        section("Router Link", ["- (no execution)" if link == BundleRouterLink() else _lines(run)]),
        section("Integrity", [_lines({"Algorithm": integrity.alg, "Digest": digest})]),
    )


def render_audit_package(package: AuditPackage | Mapping[str, object]) -> str:
    """The Markdown of a package.

        >>> print(render_audit_package(package).splitlines()[0])
        # ...

    Takes the package or its JSON object. Raises PACKAGE_INVALID_SCHEMA for a mapping that is not a package.
    """
    whole = package if isinstance(package, AuditPackage) else AuditPackage.from_dict(dict(package))
    bundle, binding, digest = whole.control_bundle, whole.binding, whole.integrity.binding_digest
    about = {
        "Decision ID": bundle.decision.decision_id,
        "Status": bundle.decision.status,
        "Mode": bundle.decision.mode,
        "Goal": bundle.decision.goal,
        "Digest": bundle.integrity.canonical_digest,
    }
    run_id = bundle.router_link.run_id
    run = {"Mode": whole.router.mode, "Run ID": run_id, "Digest": whole.router.digest}
    bound = {
        "Control digest": binding.control_digest,
        "Router digest": binding.router_digest,
        "Link digest": binding.control_router_link_digest,
    }
    return page(
        "# Audit Package",
        _lines({"Package version": whole.package_version, "Binding digest": digest}),
        section("Control Bundle", [_lines(about)]),
        section("Router", [_lines(run)]),
        section("Binding", [_lines(bound)]),
        section("Integrity", [_lines({"Algorithm": whole.integrity.alg, "Binding digest": digest})]),
    )


def _lines(fields: Mapping[str, object]) -> str:
    """A bullet for each field, by its label."""
    return "\n".join(bullet(label, value) for label, value in fields.items())
