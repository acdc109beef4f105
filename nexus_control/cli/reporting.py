"""The command `report`: it writes a package or a bundle as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.files import Output, read_bytes
from nexus_control.cli.frame import NOT_VERIFIED, Data, answer, frame_of, written
from nexus_control.cli.options import AsJson
from nexus_control.cli.screen import Mark, Screen
from nexus_control.cli.streams import print_document
from nexus_control.evidence.reading import read_evidence
from nexus_control.render.report import render_report


def report(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audit package or a bundle.")],
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """A package or a bundle as one HTML page: verdict, timeline, approvals, plan, digests, checks.

    Example: nexus-control report audit-package.json -o report.html
    """
    frame = frame_of(context, None, as_json)

    def run() -> Data:
        evidence = read_evidence(read_bytes("FILE", file))
        html = render_report(evidence)
        data = {"ok": evidence.ok, "digest": evidence.digest}
        if output is None:
            return data | {"html": html}
        frame.write_bytes("--output", output, html.encode(), [file])
        return data | {"path": str(output), "bytes": len(html.encode())}

    def show(screen: Screen, data: Data) -> None:
        if output is None:
            print_document(data["html"])
            return
        mark = Mark("Verified.", "good") if data["ok"] else Mark("Failed.", "bad")
        screen.prose(f"{data['path']}: {data['bytes']} bytes.", mark)

    if not answer(frame, run, show, written)["ok"]:
        raise typer.Exit(NOT_VERIFIED)
