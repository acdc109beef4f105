"""An audit package 0.6 as Markdown: what was allowed, what ran, and the digests that bind the two."""

from collections.abc import Iterator, Mapping

from nexus_control.audit_package import AuditPackage
from nexus_control.render.text import bullet, page, section


def render_audit_package(package: AuditPackage | Mapping[str, object]) -> str:
    """The Markdown of a package.

        >>> print(render_audit_package(package).splitlines()[0])
        # ...

    Takes the package or its JSON object. Raises PACKAGE_INVALID_SCHEMA for a mapping that is not a package.
    """
    whole = package if isinstance(package, AuditPackage) else AuditPackage.from_dict(dict(package))
    digest = whole.integrity.binding_digest
    return page(
        "# Audit Package",
        "\n".join([bullet("Package version", whole.package_version), bullet("Binding digest", digest)]),
        section("Control Bundle", _control(whole)),
        section("Router", _router(whole)),
        section("Binding", _binding(whole)),
        section("Integrity", [bullet("Algorithm", whole.integrity.alg), bullet("Binding digest", digest)]),
    )


def _control(package: AuditPackage) -> Iterator[str]:
    bundle = package.control_bundle
    yield bullet("Decision ID", bundle.decision.decision_id)
    yield bullet("Status", bundle.decision.status)
    yield bullet("Mode", bundle.decision.mode)
    yield bullet("Goal", bundle.decision.goal)
    yield bullet("Digest", bundle.integrity.canonical_digest)


def _router(package: AuditPackage) -> Iterator[str]:
    yield bullet("Mode", package.router.mode)
    yield bullet("Run ID", package.control_bundle.router_link.run_id)
    yield bullet("Digest", package.router.digest)


def _binding(package: AuditPackage) -> Iterator[str]:
    yield bullet("Control digest", package.binding.control_digest)
    yield bullet("Router digest", package.binding.router_digest)
    yield bullet("Link digest", package.binding.control_router_link_digest)
