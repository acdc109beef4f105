"""From store to bundle: a decision's events, and the parts of a bundle that follow from them.

The header's `status` is judged at the last event's `ts`, so the same events always export to the same digest.
"""

from dataclasses import dataclass

from nexus_control.bundle import BundleRouterLink, BundleTemplateSnapshot, DecisionBundle
from nexus_control.bundle_parts import event_part, header_of, link_part, template_part
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.log.session import ReadSession
from nexus_control.render.artifacts import render_export
from nexus_control.store import DecisionStore
from nexus_control.values.results import fault_of

__all__ = ["ExportResult", "bundle_of", "export_decision", "render_export"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """A bundle and its prefixed digest; or, when `success` is false, `error_code` and `error_message`."""

    success: bool
    bundle: DecisionBundle | None = None
    digest: str | None = None
    error_code: str | None = None
    error_message: str | None = None


def export_decision(
    store: DecisionStore,
    decision_id: str,
    *,
    include_template_snapshot: bool = True,
    include_router_link: bool = True,
    generation: int | None = None,
) -> ExportResult:
    """The bundle of a decision, from its current generation or from a superseded one.

        >>> result = export_decision(store, executed_id)
        >>> result.success, result.digest == result.bundle.integrity.canonical_digest
        (True, True)

    Never raises: `error_code` is DECISION_NOT_FOUND, or INVALID_STATE for a decision without events.
    """

    def export() -> DecisionBundle:
        with store.reading() as session:
            return bundle_of(
                session,
                decision_id,
                include_template_snapshot=include_template_snapshot,
                include_router_link=include_router_link,
                generation=generation,
            )

    bundle = fault_of(export)
    if isinstance(bundle, NexusControlError):
        return ExportResult(success=False, error_code=bundle.code, error_message=bundle.message)
    return ExportResult(success=True, bundle=bundle, digest=bundle.integrity.canonical_digest)


def bundle_of(
    session: ReadSession,
    decision_id: str,
    *,
    include_template_snapshot: bool = True,
    include_router_link: bool = True,
    generation: int | None = None,
) -> DecisionBundle:
    """Like `export_decision`. Raises DECISION_NOT_FOUND, or INVALID_STATE for a decision without events."""
    decision = session.history(session.decision(decision_id), generation)
    if decision is None:
        raise NexusControlError(ErrorCode.INVALID_STATE, "Cannot export a decision that has no events")
    facts = decision.facts
    return DecisionBundle.seal(
        decision=header_of(decision),
        events=[event_part(event) for event in decision.events],
        template_snapshot=template_part(facts) if include_template_snapshot else BundleTemplateSnapshot(),
        router_link=link_part(decision) if include_router_link else BundleRouterLink(),
        exported_at=session.now,
    )
