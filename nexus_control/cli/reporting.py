"""The command `report`: it writes a package, a bundle or a decision of the store as one HTML page."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.exit_codes import NOT_VERIFIED
from nexus_control.cli.files import Output
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.naming import whole
from nexus_control.cli.screen import Mark
from nexus_control.cli.streams import print_document
from nexus_control.cli.trusting import Given, trust_options
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.reading import Reading
from nexus_control.render.levels import checks_made
from nexus_control.render.report import render_report
from nexus_control.usecases import arguments as door
from nexus_control.usecases import exporting, views
from nexus_control.usecases.answers import InspectData


@shared_options("allowed_signers", "db")
@trust_options
def report(
    frame: Frame,
    given: Given,
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|ID",
            help="A package or a bundle; where there is no such file, a request by the beginning of its id.",
        ),
    ],
    output: Output = None,
) -> Answer:
    """A package or a bundle as one HTML page: verdict, timeline, approvals, plan, outputs, digests, checks.

    The page says which checks were made with the keys that you trust, and which were skipped and why. Of a request of
    the store it also has the outputs that the store keeps, and what is still missing.

    Example: nexus-control report package.json --package-key key.pem -o report.html
    """
    evidence, stored = (
        (given.read(frame, Path(what)), None) if _is_file(what) else _stored(frame, given, what)
    )
    level = evidence.report.level if evidence.report is not None else None
    html, data = (
        render_report(evidence, stored),
        {"ok": evidence.ok, "digest": evidence.digest, "level": level},
    )
    code = 0 if evidence.ok else NOT_VERIFIED
    if output is None:
        return Answer({**data, "html": html}, lambda _: print_document(html), code=code)
    content = html.encode()
    frame.write_bytes("--output", output, content, [Path(what), *given.files()])
    mark = Mark("Verified.", "good") if evidence.ok else Mark("Failed.", "bad")
    saved = {**data, "path": str(output), "bytes": len(content)}
    said = f"{output}: {len(content)} bytes. {checks_made(evidence.checks)}."
    return Answer(saved, told(said, mark), f"{output} is written", code)


def _is_file(what: str) -> bool:
    """Whether a file is meant. A name with a folder or a suffix is a file's, also if there is no such file."""
    if what == "-" or "/" in what or Path(what).suffix:
        return True
    try:
        Path(what).lstat()
    except FileNotFoundError:
        return False
    except OSError:  # reading it says what is wrong
        return True
    return True


def _stored(frame: Frame, given: Given, given_id: str) -> tuple[Reading, InspectData]:
    """The document that would be exported of a decision of the store, and the store's own view of it."""
    with _also_no_file(given_id), frame.store() as store:
        values = {"decision_id": whole(store, given_id), "render": False}
        view = views.inspect(store, door.validated(door.InspectArguments, values))
        document = exporting.document_of(store, view)
    return given.check(frame, document), view


@contextmanager
def _also_no_file(what: str) -> Generator[None]:
    """In the block, a fault that no decision is found also says that there is no such file."""
    try:
        yield
    except NexusControlError as fault:
        if fault.code not in (ErrorCode.DECISION_NOT_FOUND, ErrorCode.STORE_UNAVAILABLE):
            raise
        message = f"There is no file {what!r:.200} here. {fault.message}"
        raise NexusControlError(fault.code, message, fault.details, fault.next) from None
