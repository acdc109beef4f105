"""The commands for documents: export, import, audit.

A document goes to standard output. With `--output` it goes to a file, and standard output describes the file. A signed
package is two files: the bytes that were signed, and beside them the envelope that holds the signature.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nexus_control import __version__
from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.cli.adapters import config_or_default, no_adapters
from nexus_control.cli.at_work import telling
from nexus_control.cli.files import Output, blaming, read_bytes, read_text
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.naming import any_request, chosen, executed
from nexus_control.cli.options import FittingId, Router, UsualConfig
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.streams import print_document
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.keys import private_from_pem
from nexus_control.execution.opening import opened_router
from nexus_control.execution.router import RunExporter
from nexus_control.integrity import sha256_hex
from nexus_control.log.projection import ConflictMode
from nexus_control.store import DecisionStore
from nexus_control.usecases import arguments as door
from nexus_control.usecases import exporting
from nexus_control.usecases.answers import JsonObject


@shared_options("db")
def export(frame: Frame, request_id: FittingId = None, output: Output = None) -> Answer:
    """The decision and all its events as one document: a bundle 0.5.

    Example: nexus-control export 0d1c0d39 -o bundle.json
    """
    with frame.store() as store:
        values = {"decision_id": chosen(store, request_id, any_request()), "render": False}
        data = exporting.export_bundle(store, door.validated(door.ExportBundleArguments, values))
        return _put_out(frame, output, "bundle", data["bundle"], data["digest"])


@shared_options("db")
def audit(
    frame: Frame,
    request_id: FittingId = None,
    output: Output = None,
    run_bundle: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Embed this bundle of the run, as its router exported it."),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Embed the run as the configured router recorded it.")
    ] = False,
    config: UsualConfig = None,
    router: Router = None,
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Sign the package with this private key, as `key generate KEY` makes it."
        ),
    ] = None,
) -> Answer:
    """The proof of an executed decision: an audit package 0.6.

    Example: nexus-control audit 0d1c0d39 -o package.json
    """
    with frame.store() as store:
        read = [sign, run_bundle, config]
        frame.require_writable("--output", output, read)
        request_id = chosen(store, request_id, executed())
        given = (
            None if run_bundle is None else dict(parse_json_object(read_bytes("--run-bundle", run_bundle)))
        )
        run = {"embed_router_bundle": embed or given is not None, "router_bundle": given}
        values = {"decision_id": request_id, "render": False, **run}
        checked = door.validated(door.ExportAuditPackageArguments, values)
        with _recorder(frame, config, router, asked=embed and given is None) as recorder:
            if sign is not None:
                return _signed(frame, store, checked, sign, output, read, recorder)
            data = exporting.export_audit_package(store, checked, recorder)
        return _put_out(frame, output, "package", data["package"], data["digest"], data.get("unproven"))


@shared_options("acting_as", "db")
def import_bundle(
    frame: Frame,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A bundle 0.5.")],
    conflict_mode: Annotated[
        ConflictMode,
        typer.Option(help="What to do when the decision is here already."),
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
) -> Answer:
    """Import a bundle, after all its checks. Imported approvals authorise nothing here.

    Example: nexus-control import bundle.json
    """
    with frame.store(makes=True) as store:
        values = {
            "bundle": read_text("FILE", file),
            "conflict_mode": conflict_mode,
            "allow_rollback": allow_rollback,
            "verify_digest": not forensic,
            "replay_after_import": not forensic,
            "actor": frame.actor,
        }
        with telling(f"importing {file}"):
            data = exporting.import_bundle(store, door.validated(door.ImportBundleArguments, values))
    decision_id, events = data["imported"]["decision_id"], data["imported"]["events_imported"]
    if data["unchanged"]:
        return Answer(
            data, told(f"Decision {decision_id} has this history already; nothing was written.", None)
        )
    text = f"{events} events are decision {decision_id} here, as evidence."
    return Answer(data, told(text), f"Decision {decision_id} was imported")


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
    recorder: RunExporter | None,
) -> Answer:
    if output is None:
        raise invalid_argument("--sign", "needs --output: the envelope is a file beside the package's")
    envelope = envelope_beside(output)
    frame.require_writable("--output", envelope, read)
    content = read_bytes("--sign", key)
    with blaming("--sign", str(key)):
        signer = private_from_pem(content)
    producer = f"nexus-control {__version__}"
    data = exporting.export_signed_package(store, arguments, signer, recorder, producer=producer)
    frame.write_bytes("--output", envelope, data["envelope"].encode())
    try:
        saved = _put_out(frame, output, "package", data["package"], data["digest"], data.get("unproven"))
    except NexusControlError as fault:
        fault.next = (
            f"Correct the named field and call again; {envelope} is written already, without its package."
        )
        raise

    def show(screen: Screen) -> None:
        saved.show(screen)
        screen.prose(
            "Its signature is in a file beside it, by the key of this fingerprint. Hand both files over:"
        )
        screen.verbatim(str(envelope))
        screen.verbatim(data["signed_by"])

    signature = {"envelope": str(envelope), "signed_by": data["signed_by"]}
    return replace(saved, data={**saved.data, **signature}, show=show)


def _put_out(
    frame: Frame,
    output: Path | None,
    kind: str,
    document: JsonObject,
    digest: str,
    unproven: str | None = None,
) -> Answer:
    content = canonical_json(document).encode()
    known = {"digest": digest} if unproven is None else {"digest": digest, "unproven": unproven}
    if output is None:
        return Answer({kind: document, **known}, lambda _: _print(content, unproven))

    def show(screen: Screen) -> None:
        _tell_unproven(screen, unproven)
        screen.prose(f"{output}: {len(content)} bytes. Keep its digest where nobody can change both:")
        screen.verbatim(digest)

    described = {**known, "file_sha256": sha256_hex(content), "bytes": len(content)}
    return replace(frame.put_out(output, content, described), show=show)


@contextmanager
def _recorder(
    frame: Frame, config: Path | None, factory: str | None, *, asked: bool
) -> Generator[RunExporter | None]:
    """The configured router, if it is asked for a run. Raises ROUTER_NOT_CONFIGURED, and INVALID_ARGUMENT for a router
    that exports no runs.
    """
    if not asked:
        yield None
        return
    found = config if factory else config_or_default(config, frame)
    if found is None and factory is None:
        raise no_adapters()
    with opened_router(
        database=frame.path, log_folder=frame.log_folder, config=found, factory=factory
    ) as router:
        if not isinstance(router, RunExporter):
            raise invalid_argument("--router", "names a router that does not export its runs")
        yield router


def _print(content: bytes, unproven: str | None) -> None:
    _tell_unproven(Screen(sys.stderr), unproven)
    print_document(f"{content.decode()}\n")


def _tell_unproven(screen: Screen, unproven: str | None) -> None:
    if unproven is not None:
        screen.prose(
            f"The package carries no proof that it is in the store's log: {unproven}. Let the owner of the log's key"
            " run `nexus-control log checkpoint`, then export it again.",
            Mark("Note:", "stopped"),
        )
