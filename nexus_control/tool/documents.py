"""Documents: bundles out and in, audit packages, and the audit record of 0.5-1.0."""

from collections.abc import Mapping

from nexus_control import usecases
from nexus_control.import_ import ImportData
from nexus_control.log.projection import ConflictMode
from nexus_control.store import DecisionStore
from nexus_control.tool.base import ActorLike, Tools
from nexus_control.usecases.answers import BundleData, PackageData, RecordData
from nexus_control.values.results import ToolResult


class DocumentTools(Tools):
    def export_bundle(
        self,
        decision_id: str,
        include_template_snapshot: bool = True,
        include_router_link: bool = True,
        render: bool = True,
    ) -> ToolResult[BundleData]:
        """The decision and all its events as a portable bundle 0.5.

            text = tools.export_bundle(request_id).data["canonical_json"]

        Data: bundle, digest, canonical_json; on request rendered.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(usecases.exporting.export_bundle, usecases.arguments.ExportBundleArguments, locals())

    def import_bundle(
        self,
        bundle: Mapping[str, object] | str,
        verify_digest: bool = True,
        conflict_mode: ConflictMode = "reject_on_conflict",
        replay_after_import: bool = True,
        allow_rollback: bool = False,
        actor: ActorLike | None = None,
    ) -> ToolResult[ImportData]:
        """Import a bundle 0.5, given as an object or JSON text. `actor` is recorded as the one who brought it.

            tools.import_bundle(Path("bundle.json").read_text(), actor=Actor("human", "alice"))

        An imported decision is evidence: its approvals authorise nothing here.

        Data: ok, imported, unchanged, digest_verified, conflict_mode, replay_ran, replay.
        Refused: BUNDLE_INVALID_SCHEMA, INTEGRITY_MISMATCH, REPLAY_INVALID, DECISION_EXISTS, CONFLICT_MODE_INVALID,
        ROLLBACK_REFUSED, INVALID_STATE, JSON_INVALID, CLOCK_BEHIND.
        """
        return self._run(usecases.exporting.import_bundle, usecases.arguments.ImportBundleArguments, locals())

    def export_audit_package(
        self,
        decision_id: str,
        embed_router_bundle: bool = False,
        router_bundle: Mapping[str, object] | None = None,
        router_bundle_digest: str | None = None,
        verify_router_bundle_digest: bool = True,
        render: bool = True,
    ) -> ToolResult[PackageData]:
        """The decision and its run, bound together as an audit package 0.6.

            package = tools.export_audit_package(request_id).data["package"]

        With `embed_router_bundle` the run is embedded: `router_bundle`, otherwise the run as the tools' `plan_checker`
        exports it.

        Data: package, digest; on request rendered; unproven (why the package carries no proof of the log).
        Refused: DECISION_NOT_FOUND, NO_ROUTER_LINK, ROUTER_DIGEST_MISMATCH, IMPORTED_COPY, LOG_INCONSISTENT,
        ROUTER_RUN_NOT_FOUND, ROUTER_ERROR.
        """

        def export(
            store: DecisionStore, arguments: usecases.arguments.ExportAuditPackageArguments
        ) -> PackageData:
            return usecases.exporting.export_audit_package(store, arguments, self._plan_checker)

        return self._run(export, usecases.arguments.ExportAuditPackageArguments, locals())

    def export_audit_record(self, request_id: str) -> ToolResult[RecordData]:
        """The flat record of 0.5-1.0: decision, events, approvals and executions.

            record = tools.export_audit_record(request_id).data["audit_record"]

        Data: audit_record, record_digest (bare hex), canonical_json.
        Refused: DECISION_NOT_FOUND.
        """
        return self._run(usecases.exporting.export_audit_record, usecases.arguments.RecordArguments, locals())
