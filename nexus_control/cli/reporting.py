"""The command `report`: it writes a package or a bundle as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.exit_codes import NOT_VERIFIED
from nexus_control.cli.files import Output, read_bytes
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.screen import Mark
from nexus_control.cli.streams import print_document
from nexus_control.evidence.reading import read_evidence
from nexus_control.render.report import render_report


@shared_options()
def report(
    frame: Frame,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audit package or a bundle.")],
    output: Output = None,
) -> Answer:
    """A package or a bundle as one HTML page: verdict, timeline, approvals, plan, digests, checks.

    Example: nexus-control report audit-package.json -o report.html
    """
    evidence = read_evidence(read_bytes("FILE", file))
    html, data = render_report(evidence), {"ok": evidence.ok, "digest": evidence.digest}
    code = 0 if evidence.ok else NOT_VERIFIED
    if output is None:
        return Answer({**data, "html": html}, lambda _: print_document(html), code=code)
    content = html.encode()
    frame.write_bytes("--output", output, content, [file])
    mark = Mark("Verified.", "good") if evidence.ok else Mark("Failed.", "bad")
    saved = {**data, "path": str(output), "bytes": len(content)}
    return Answer(saved, told(f"{output}: {len(content)} bytes.", mark), f"{output} is written", code)
