"""A bundle 0.5 as Markdown: what it is of, what it holds, and the digests that seal it."""

from collections.abc import Iterator, Mapping

from nexus_control.bundle import BundleRouterLink, BundleTemplateSnapshot, DecisionBundle
from nexus_control.render.text import bullet, listed, page, section


def render_export(bundle: DecisionBundle | Mapping[str, object]) -> str:
    """The Markdown of a bundle.

        >>> print(render_export(bundle).splitlines()[0])
        # ...

    Takes the bundle or its JSON object. Raises BUNDLE_INVALID_SCHEMA for a mapping that is not a bundle.
    """
    whole = bundle if isinstance(bundle, DecisionBundle) else DecisionBundle.from_dict(dict(bundle))
    digest = whole.integrity.canonical_digest
    return page(
        "# Decision Bundle Export",
        "\n".join([bullet("Bundle version", whole.bundle_version), bullet("Digest", digest)]),
        section("Decision", _decision(whole)),
        section("Events", _events(whole)),
        section("Template", _template(whole.template_snapshot)),
        section("Router Link", _link(whole.router_link)),
        section("Integrity", [bullet("Algorithm", whole.integrity.alg), bullet("Digest", digest)]),
    )


def _decision(bundle: DecisionBundle) -> Iterator[str]:
    decision = bundle.decision
    yield bullet("ID", decision.decision_id)
    yield bullet("Status", decision.status)
    yield bullet("Mode", decision.mode)
    yield bullet("Goal", decision.goal)
    yield bullet("Created", decision.created_at)


def _events(bundle: DecisionBundle) -> Iterator[str]:
    first, last = bundle.events[0], bundle.events[-1]
    yield f"- Count: {len(bundle.events)}"
    yield f"- First: seq={first.seq} {first.type}"
    yield f"- Last: seq={last.seq} {last.type}"


def _template(template: BundleTemplateSnapshot) -> Iterator[str]:
    if not template.present:
        yield "- (none)"
        return
    yield bullet("Name", template.name)
    yield bullet("Digest", template.digest)
    yield bullet("Overrides", listed(sorted(template.overrides or {})))


def _link(link: BundleRouterLink) -> Iterator[str]:
    if link == BundleRouterLink():
        yield "- (no execution)"
        return
    yield bullet("Run ID", link.run_id)
    yield bullet("Adapter", link.adapter_id)
    yield bullet("Request digest", link.router_request_digest)
    yield bullet("Result digest", link.router_result_digest)
    yield bullet("Link digest", link.control_router_link_digest)
