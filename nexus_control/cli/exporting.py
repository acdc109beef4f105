"""The commands for documents: export, import, audit.

A document goes to standard output. With `--output` it goes to a file, and standard output describes the file. A signed
package is two files: the bytes that were signed, and beside them the envelope that holds the signature.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from nexus_control import __version__
from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.cli.files import Output, blaming, read_bytes, read_text
from nexus_control.cli.frame import Data, Frame, carry_out, frame_of, identity, written
from nexus_control.cli.options import ActingAs, AsJson, Config, Database, RequestId, Router
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.streams import print_document
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.keys import private_from_pem
from nexus_control.execution.opening import opened_router
from nexus_control.integrity import sha256_hex
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import exporting


def export(
    context: typer.Context,
    request_id: RequestId,
    output: Output = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """The decision and all its events as one document: a bundle 0.5.

    Example: nexus-control export 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 -o bundle.json
    """
    frame = frame_of(context, db, as_json)

    def run(store: DecisionStore) -> Data:
        values = {"decision_id": request_id, "render": False}
        data = exporting.export_bundle(store, door.validated(door.ExportBundleArguments, values))
        return _put_out(frame, output, "bundle", data)

    carry_out(frame, run, _show_document, written)


def audit(
    context: typer.Context,
    request_id: RequestId,
    output: Output = None,
    run_bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Embed this bundle of the run, as its router exported it."),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Embed the run as the configured router recorded it.")
    ] = False,
    config: Config = None,
    router: Router = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Sign the package with this private key, as `key generate KEY` makes it."
        ),
    ] = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """The proof of an executed decision: an audit package 0.6.

    Example: nexus-control audit 0d1c0d39-88f2-4c08-bb25-6637d1ade8a9 -o package.json
    """
    frame = frame_of(context, db, as_json)

    def run(store: DecisionStore) -> Data:
        read = [sign, run_bundle, config]
        frame.require_writable("--output", output, read)
        recorded = _run_bundle(store, frame.path, request_id, run_bundle, embed, config, router)
        values = {
            "decision_id": request_id,
            "embed_router_bundle": recorded is not None,
            "router_bundle": recorded,
            "render": False,
        }
        checked = door.validated(door.ExportAuditPackageArguments, values)
        if sign is not None:
            return _signed(frame, store, checked, sign, output, read)
        data = exporting.export_audit_package(store, checked)
        return _put_out(frame, output, "package", data)

    carry_out(frame, run, _show_document, written)


def import_bundle(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle 0.5.")],
    conflict_mode: Annotated[
        str,
        typer.Option(
            help="When the decision is here already: reject_on_conflict, new_decision_id or overwrite."
        ),
    ] = "reject_on_conflict",
    allow_rollback: Annotated[
        bool,
        typer.Option(
            "--allow-rollback", help="With overwrite: accept a history that does not extend the one here."
        ),
    ] = False,
    forensic: Annotated[
        bool, typer.Option("--forensic", help="Skip the checks: only as evidence, it can never be executed.")
    ] = False,
    acting_as: ActingAs = None,
    db: Database = None,
    as_json: AsJson = False,
) -> None:
    """Import a bundle, after all its checks. Imported approvals authorise nothing here.

    Example: nexus-control import bundle.json
    """

    def run(store: DecisionStore) -> Data:
        values = {
            "bundle": read_text("FILE", file),
            "conflict_mode": conflict_mode,
            "allow_rollback": allow_rollback,
            "verify_digest": not forensic,
            "replay_after_import": not forensic,
            "actor": identity(acting_as)[0],
        }
        return exporting.import_bundle(store, door.validated(door.ImportBundleArguments, values))

    def show(screen: Screen, data: Data) -> None:
        imported = data["imported"]
        if data["unchanged"]:
            screen.prose(f"Decision {imported['decision_id']} has this history already; nothing was written.")
            return
        text = (
            f"{imported['events_imported']} events are decision {imported['decision_id']} here, as evidence."
        )
        screen.prose(text, Mark("Done.", "good"))

    def done(data: Data) -> str | None:
        imported = data["imported"]
        return None if data["unchanged"] else f"Decision {imported['decision_id']} was imported"

    carry_out(frame_of(context, db, as_json), run, show, done, makes=True)


def envelope_beside(package: Path) -> Path:
    """The default place of the envelope of a package in this file."""
    return package.with_name(f"{package.stem}.dsse.json")


def _signed(
    frame: Frame,
    store: DecisionStore,
    arguments: door.ExportAuditPackageArguments,
    key: Path,
    output: Path | None,
    read: list[Path | None],
) -> Data:
    if output is None:
        raise invalid_argument("--sign", "needs --output: the envelope is a file beside the package's")
    envelope = envelope_beside(output)
    frame.require_writable("--output", envelope, read)
    content = read_bytes("--sign", key)
    with blaming("--sign", str(key)):
        signer = private_from_pem(content)
    data = exporting.export_signed_package(store, arguments, signer, producer=f"nexus-control {__version__}")
    frame.write_bytes("--output", envelope, data["envelope"].encode())
    try:
        saved = _put_out(frame, output, "package", data)
    except NexusControlError as fault:
        fault.next = (
            f"Correct the named field and call again; {envelope} is written already, without its package."
        )
        raise
    return {**saved, "envelope": str(envelope), "signed_by": data["signed_by"]}


def _put_out(frame: Frame, output: Path | None, kind: str, data: Data) -> Data:
    content, digest = canonical_json(data[kind]).encode(), data["digest"]
    described = {"digest": digest, "file_sha256": sha256_hex(content), "bytes": len(content)}
    return frame.put_out(output, content, printed={kind: data[kind], "digest": digest}, described=described)


def _show_document(screen: Screen, data: Data) -> None:
    if "path" not in data:
        print_document(f"{canonical_json(data.get('bundle', data.get('package')))}\n")
        return
    screen.prose(f"{data['path']}: {data['bytes']} bytes. Keep its digest where nobody can change both:")
    screen.verbatim(data["digest"])
    if "envelope" in data:
        screen.prose(
            "Its signature is in a file beside it, by the key of this fingerprint. Hand both files over:"
        )
        screen.verbatim(data["envelope"])
        screen.verbatim(data["signed_by"])


def _run_bundle(
    store: DecisionStore,
    database: str,
    request_id: str,
    file: Path | None,
    embed: bool,
    config: Path | None,
    router: str | None,
) -> dict[str, Any] | None:
    if file is not None:
        return dict(parse_json_object(read_bytes("--run-bundle", file)))
    if not embed:
        return None
    with opened_router(database=database, config=config, factory=router) as opened:
        export_run = getattr(opened, "export_run", None)
        if export_run is None:
            raise invalid_argument(
                "--embed", "needs --config or --router, with a router that exports its runs"
            )
        run = store.load(request_id).facts.linked_execution
        return None if run is None or run.run_id is None else dict(export_run(run.run_id))
