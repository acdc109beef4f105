"""Artifacts for callers: bundles, audit packages, signed ones, and the audit record, as JSON values."""

from nexus_control.audit_export import package_of, render_audit_package
from nexus_control.audit_package import AuditPackage
from nexus_control.canonical_json import canonical_json
from nexus_control.evidence import package_statement, vouching
from nexus_control.evidence.formats import dsse
from nexus_control.evidence.formats.keys import PrivateKey
from nexus_control.export import bundle_of, render_export
from nexus_control.import_ import ImportData, import_checked
from nexus_control.integrity import sha256_hex
from nexus_control.store import DecisionStore
from nexus_control.usecases.answers import BundleData, PackageData, RecordData, SignedPackageData
from nexus_control.usecases.arguments import (
    ExportAuditPackageArguments,
    ExportBundleArguments,
    ImportBundleArguments,
    RecordArguments,
)
from nexus_control.usecases.authority import authority_of
from nexus_control.usecases.resulting import execution_fields
from nexus_control.usecases.views import decision_view, state_view
from nexus_control.values.instants import format_instant

AUDIT_RECORD_VERSION = "0.1.0"


def export_bundle(store: DecisionStore, arguments: ExportBundleArguments) -> BundleData:
    """The decision as a bundle 0.5."""
    with store.reading() as session:
        bundle = bundle_of(
            session,
            arguments.decision_id,
            include_template_snapshot=arguments.include_template_snapshot,
            include_router_link=arguments.include_router_link,
        )
    written = bundle.to_dict()
    data: BundleData = {
        "bundle": written,
        "digest": bundle.integrity.canonical_digest,
        "canonical_json": canonical_json(written),
    }
    if arguments.render:
        data["rendered"] = render_export(bundle)
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


def export_audit_package(store: DecisionStore, arguments: ExportAuditPackageArguments) -> PackageData:
    """The decision and its run, bound as a package 0.6."""
    package = _package(store, arguments)
    data: PackageData = {"package": package.to_dict(), "digest": package.integrity.binding_digest}
    if arguments.render:
        data["rendered"] = render_audit_package(package)
    return data


def export_signed_package(
    store: DecisionStore, arguments: ExportAuditPackageArguments, key: PrivateKey, *, producer: str
) -> SignedPackageData:
    """The package as the bytes that are signed, `canonical_json`, and the DSSE envelope in which `key` signs them."""
    package = _package(store, arguments)
    content = canonical_json(package.to_dict())
    statement = vouching.state_package(
        package,
        content.encode(),
        issued_at=format_instant(store.clock.now()),
        producer=producer,
    )
    envelope = dsse.sign_envelope(package_statement.PAYLOAD_TYPE, statement.to_payload(), key)
    return {
        "package": package.to_dict(),
        "digest": package.integrity.binding_digest,
        "canonical_json": content,
        "envelope": envelope.to_json(),
        "signed_by": key.public.fingerprint,
    }


def _package(store: DecisionStore, arguments: ExportAuditPackageArguments) -> AuditPackage:
    return package_of(
        store,
        arguments.decision_id,
        embed=arguments.embed_router_bundle,
        run_bundle=arguments.router_bundle,
        run_digest=arguments.router_bundle_digest,
        verify=arguments.verify_router_bundle_digest,
    )


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
