"""From store and run to an audit package, which binds what was allowed to what ran.

The package names the run by the digest of its bundle where the execution recorded one, else by the digest of the
router's response. A run bundle that is given must be of that very run. Outside the frozen digests the package also
carries the proof that its events are in the store's log, or says that they were imported or why it has no proof
(`evidence.log_section`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_control.audit_package import AuditPackage, PackageRouter, router_bundle_digest
from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.log_section import Imported, LogSection, UnprovenSection
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.export import Export, export_of
from nexus_control.integrity import is_prefixed, prefixed
from nexus_control.log.projection import Projection
from nexus_control.log.proving import Unproven, find_proof
from nexus_control.log.session import ReadSession
from nexus_control.render.artifacts import render_audit_package
from nexus_control.store import DecisionStore
from nexus_control.values.results import fault_of

__all__ = ["AuditExportResult", "export_audit_package", "package_of", "render_audit_package"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditExportResult:
    """A package and its prefixed digest; or, when `success` is false, `error_code` and `error_message`."""

    success: bool
    package: AuditPackage | None = None
    digest: str | None = None
    error_code: str | None = None
    error_message: str | None = None


def export_audit_package(
    store: DecisionStore,
    decision_id: str,
    *,
    embed_router_bundle: bool = False,
    router_bundle: Mapping[str, object] | None = None,
    router_bundle_digest: str | None = None,
    verify_router_bundle_digest: bool = True,
) -> AuditExportResult:
    """The audit package of an executed decision, its run by reference or embedded.

        >>> result = export_audit_package(store, executed_id)
        >>> result.package.router.mode, result.digest
        ('reference', 'sha256:...')

    `router_bundle` is the run as the router exported it, which `embed_router_bundle` embeds; `router_bundle_digest` is
    its prefixed digest where only that is known. Never raises: `error_code` is DECISION_NOT_FOUND, NO_ROUTER_LINK,
    ROUTER_DIGEST_MISMATCH, IMPORTED_COPY, INVALID_ARGUMENT or JSON_INVALID.
    """
    package = fault_of(
        lambda: package_of(
            store,
            decision_id,
            embed=embed_router_bundle,
            run_bundle=router_bundle,
            run_digest=router_bundle_digest,
            verify=verify_router_bundle_digest,
        )
    )
    if isinstance(package, NexusControlError):
        return AuditExportResult(success=False, error_code=package.code, error_message=package.message)
    return AuditExportResult(success=True, package=package, digest=package.integrity.binding_digest)


def package_of(
    store: DecisionStore,
    decision_id: str,
    *,
    embed: bool,
    run_bundle: Mapping[str, object] | None,
    run_digest: str | None,
    verify: bool,
) -> AuditPackage:
    """Like `export_audit_package`. Raises DECISION_NOT_FOUND, NO_ROUTER_LINK, ROUTER_DIGEST_MISMATCH, IMPORTED_COPY,
    INVALID_ARGUMENT when embedding is asked for without a bundle, or JSON_INVALID for one that is not plain JSON.
    """
    if embed and run_bundle is None:
        raise invalid_argument(
            "router_bundle", "is required to embed it where no router is configured that exports its runs"
        )
    if run_digest is not None and not is_prefixed(run_digest):
        raise invalid_argument("router_bundle_digest", "must be 'sha256:' and 64 lower-case hex digits")
    with store.reading() as session:
        decision = session.decision(decision_id)
        if decision.provenance is not None and decision.provenance.copied_from is not None:
            raise NexusControlError(
                ErrorCode.IMPORTED_COPY,
                "This decision is a copy: the run belongs to the original",
                {"copied_from": decision.provenance.copied_from},
            )
        export, run_id, recorded = _exported(session, decision)
        given = _given_digest(run_bundle, run_digest, run_id if verify else None)
        if verify and given is not None and given != recorded:
            problem = "The given run bundle is not the run that was recorded"
            raise _mismatch(problem, recorded=recorded, given=given)
        router = (
            # a package holds only what a verifier can read back
            PackageRouter.embedded(parse_json_object(canonical_json(run_bundle)))
            if embed and run_bundle is not None
            else PackageRouter.reference(run_id=run_id, digest=given or recorded)
        )
        at = session.now
    return AuditPackage.seal(
        control_bundle=export.to_bundle(),
        router=router,
        exported_at=at,
        evidence=_evidence(store, decision),
    )


def _evidence(store: DecisionStore, decision: Projection) -> dict[str, object]:
    """The chain hash of the last event, and its proof in the store's log or why it has no proof; or how the history was
    imported.
    """
    record = decision.provenance
    if record is not None:
        return Imported(
            at=record.imported_at,
            by=record.imported_by,
            bundle_digest=record.bundle_digest,
            events=decision.imported_count,
        ).to_dict()
    last = decision.facts.event_count - 1
    found = find_proof(store, decision.decision_id, decision.generation, last)
    if isinstance(found, Unproven):
        return UnprovenSection(chain_head=prefixed(decision.head), unproven=found.why).to_dict()
    return LogSection(
        chain_head=prefixed(decision.head), log_proof=found.proof.to_text(), log_key=str(found.key)
    ).to_dict()


def _exported(session: ReadSession, decision: Projection) -> tuple[Export, str, str]:
    """The export of the decision, and the id and the prefixed digest of its run, or what stands in for these
    (`bundle_parts.SettledRun`).
    """
    execution = decision.facts.linked_execution
    if execution is not None:
        export = export_of(session, decision.decision_id)
        run = export.run
        if run is not None and run.run_id is not None and run.result is not None:
            return export, run.run_id, execution.router_bundle_digest or prefixed(run.result)
    raise NexusControlError(ErrorCode.NO_ROUTER_LINK, "this decision has no run that could be audited")


def _given_digest(
    run_bundle: Mapping[str, object] | None, run_digest: str | None, run_id: str | None
) -> str | None:
    """The digest of the run that the caller gave. A bundle must fit its own content and `run_id`."""
    if run_bundle is None:
        return run_digest
    declared = router_bundle_digest(run_bundle)
    if declared is None or run_digest not in (None, declared):
        raise _mismatch("The run bundle does not declare the digest that it is given for")
    if run_id is not None:
        _require_consistent(run_bundle, declared, run_id)
    return declared


def _require_consistent(run_bundle: Mapping[str, object], declared: str, run_id: str) -> None:
    """A bundle of a shape that cannot be recomputed passes with the digest that it declares."""
    match run_bundle:
        case {"run": {"run_id": str(named)}, "events": list(), "digests": dict()}:
            recomputed = prefixed(run_bundle_digest(run_bundle))
            if named != run_id or recomputed != declared:
                problem = "The run bundle is of another run, or its content was changed"
                raise _mismatch(problem, run_id=run_id, declared=declared, recomputed=recomputed)
        case _:
            pass


def _mismatch(problem: str, **details: str) -> NexusControlError:
    return NexusControlError(ErrorCode.ROUTER_DIGEST_MISMATCH, problem, details)
