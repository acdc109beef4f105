"""Artifacts for callers: bundles, audit packages, signed ones, and the audit record, as JSON values."""

from nexus_control.audit_export import package_of, render_audit_package
from nexus_control.audit_package import AuditPackage
from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence import package_statement, vouching
from nexus_control.evidence.formats import dsse
from nexus_control.evidence.formats.keys import PrivateKey
from nexus_control.evidence.log_section import UnprovenSection, read_section
from nexus_control.execution.router import RunExporter
from nexus_control.export import export_of
from nexus_control.import_ import ImportData, import_checked
from nexus_control.integrity import sha256_hex
from nexus_control.storage.log_folder import NAME_ONE
from nexus_control.store import DecisionStore
from nexus_control.usecases.answers import (
    BundleData,
    InspectData,
    JsonObject,
    PackageData,
    RecordData,
    SignedPackageData,
)
from nexus_control.usecases.arguments import (
    ExportAuditPackageArguments,
    ExportBundleArguments,
    ImportBundleArguments,
    RecordArguments,
    validated,
)
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.dispatching import describe
from nexus_control.usecases.resulting import execution_fields
from nexus_control.usecases.views import decision_view, state_view
from nexus_control.values.instants import format_instant

AUDIT_RECORD_VERSION = "0.1.0"
_PROVED = ("completed", "failed")
"""Outcomes of which an audit package can be made."""


def export_bundle(store: DecisionStore, arguments: ExportBundleArguments) -> BundleData:
    """The decision as a bundle 0.5."""
    with store.reading() as session:
        export = export_of(
            session,
            arguments.decision_id,
            include_template_snapshot=arguments.include_template_snapshot,
            include_router_link=arguments.include_router_link,
        )
    data: BundleData = {
        "bundle": export.to_dict(),
        "digest": export.digest,
        "canonical_json": export.canonical_json,
    }
    if arguments.render:
        data["rendered"] = export.rendered()
    return data


def import_bundle(store: DecisionStore, arguments: ImportBundleArguments) -> ImportData:
    """A bundle's decision, as evidence."""
    return import_checked(
        store,
        arguments.bundle,
        verify_digest=arguments.verify_digest,
        conflict_mode=arguments.conflict_mode,
        replay_after_import=arguments.replay_after_import,
        allow_rollback=arguments.allow_rollback,
        actor=arguments.actor,
    )


def export_audit_package(
    store: DecisionStore, arguments: ExportAuditPackageArguments, router: object = None
) -> PackageData:
    """The decision and its run, bound as a package 0.6. A run that is to be embedded, and is not given, is fetched from
    the router. Raises ROUTER_RUN_NOT_FOUND if it does not have that run, and ROUTER_ERROR if it cannot be asked.
    """
    package = _package(store, arguments, router)
    data: PackageData = {"package": package.to_dict(), "digest": package.integrity.binding_digest}
    if (why := _unproven(package)) is not None:
        data["unproven"] = why
    if arguments.render:
        data["rendered"] = render_audit_package(package)
    return data


def document_of(store: DecisionStore, inspected: InspectData) -> JsonObject:
    """The document that proves most of a decision that was inspected: a package if it was executed, else a bundle."""
    wanted = {"decision_id": inspected["decision"]["decision_id"], "render": False}
    if any(not each["rehearsal"] and each["outcome"] in _PROVED for each in inspected["execution"]):
        return export_audit_package(store, validated(ExportAuditPackageArguments, wanted))["package"]
    return export_bundle(store, validated(ExportBundleArguments, wanted))["bundle"]


def export_signed_package(
    store: DecisionStore,
    arguments: ExportAuditPackageArguments,
    key: PrivateKey,
    router: object = None,
    *,
    producer: str,
) -> SignedPackageData:
    """The package as the bytes that are signed, `canonical_json`, and the DSSE envelope in which `key` signs them."""
    package = _package(store, arguments, router)
    content = canonical_json(package.to_dict())
    statement = vouching.state_package(
        package,
        content.encode(),
        issued_at=format_instant(store.clock.now()),
        producer=producer,
    )
    envelope = dsse.sign_envelope(package_statement.PAYLOAD_TYPE, statement.to_payload(), key)
    data: SignedPackageData = {
        "package": package.to_dict(),
        "digest": package.integrity.binding_digest,
        "canonical_json": content,
        "envelope": envelope.to_json(),
        "signed_by": key.public.fingerprint,
    }
    if (why := _unproven(package)) is not None:
        data["unproven"] = why
    return data


def _unproven(package: AuditPackage) -> str | None:
    section = None if package.evidence is None else read_section(package.evidence)
    return section.unproven if isinstance(section, UnprovenSection) else None


def _package(store: DecisionStore, arguments: ExportAuditPackageArguments, router: object) -> AuditPackage:
    run_bundle = arguments.router_bundle
    if arguments.embed_router_bundle and run_bundle is None and isinstance(router, RunExporter):
        run_bundle = _exported(store, arguments.decision_id, router)
    return package_of(
        store,
        arguments.decision_id,
        embed=arguments.embed_router_bundle,
        run_bundle=run_bundle,
        run_digest=arguments.router_bundle_digest,
        verify=arguments.verify_router_bundle_digest,
    )


def _exported(store: DecisionStore, decision_id: str, router: RunExporter) -> JsonObject:
    """The decision's run, as the router exports it."""
    execution = store.load(decision_id).facts.linked_execution
    if execution is None or execution.run_id is None:
        raise NexusControlError(ErrorCode.NO_ROUTER_LINK, "this decision has no run that could be audited")
    try:
        return router.export_run(execution.run_id)
    except (Exception, SystemExit) as error:  # an embedder's router may raise anything
        if isinstance(error, NexusControlError) and error.code is ErrorCode.ROUTER_RUN_NOT_FOUND:
            absent = store.sidecar.absent
            if absent is not None:
                raise NexusControlError(
                    error.code,
                    f"The run {execution.run_id} of this decision is not known here: {absent}, where runs are recorded",
                    {"run_id": execution.run_id},
                    f"{NAME_ONE} Or give the run's bundle; without it the package names the run.",
                ) from error
            raise NexusControlError(
                error.code,
                f"The configured router does not have the run {execution.run_id} of this decision",
                {"run_id": execution.run_id},
                "Ask the router that executed it, or give the run's bundle; without it the package names the run.",
            ) from error
        raise NexusControlError(
            ErrorCode.ROUTER_ERROR,
            f"The router cannot export the run {execution.run_id}: {describe(error)}",
            advice="Mend the router, or give the run's bundle, then call again; nothing was written or executed.",
        ) from error


def export_audit_record(store: DecisionStore, arguments: RecordArguments) -> RecordData:
    """Everything about a decision in one flat record, as 0.5-1.0 wrote it; `record_digest` is bare hex."""
    with store.reading() as session:
        decision = session.decision(arguments.request_id)
        events = session.events(decision)
        now = session.now
        authority = authority_of(store, session, decision, now)
    facts = decision.facts
    record = {
        "schema_version": AUDIT_RECORD_VERSION,
        "exported_at": format_instant(now),
        "decision": {**state_view(facts, now, authority), **decision_view(decision, now)},
        "events": [event.to_dict() for event in events],
        "approvals": {
            each.actor.id: {
                "actor": each.actor.to_dict(),
                "granted_at": each.granted_at,
                "expires_at": each.expires_at,
                "comment": each.comment,
                "revoked": each.revoked_at is not None,
                "revoked_at": each.revoked_at,
                "revoke_reason": each.revoke_reason,
            }
            for each in facts.progress.approvals
        },
        "executions": [execution_fields(each) for each in facts.progress.executions],
    }
    text = canonical_json(record)
    return {"audit_record": record, "record_digest": sha256_hex(text), "canonical_json": text}
