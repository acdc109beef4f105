"""The command `report`: it writes a package or a bundle as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.exit_codes import NOT_VERIFIED
from nexus_control.cli.files import Output
from nexus_control.cli.frame import Answer, Frame, shared_options, told
from nexus_control.cli.screen import Mark
from nexus_control.cli.streams import print_document
from nexus_control.cli.trusting import Given, trust_options
from nexus_control.render.levels import checks_made
from nexus_control.render.report import render_report


@shared_options("allowed_signers")
@trust_options
def report(
    frame: Frame,
    given: Given,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An audit package or a bundle.")],
    output: Output = None,
) -> Answer:
    """A package or a bundle as one HTML page: verdict, timeline, approvals, plan, outputs, digests, checks.

    The page says which checks were made with the keys that you trust, and which were skipped and why.

    Example: nexus-control report package.json --package-key key.pem -o report.html
    """
    evidence = given.read(frame, file)
    level = evidence.report.level if evidence.report is not None else None
    html, data = render_report(evidence), {"ok": evidence.ok, "digest": evidence.digest, "level": level}
    code = 0 if evidence.ok else NOT_VERIFIED
    if output is None:
        return Answer({**data, "html": html}, lambda _: print_document(html), code=code)
    content = html.encode()
    frame.write_bytes("--output", output, content, [file, *given.files()])
    mark = Mark("Verified.", "good") if evidence.ok else Mark("Failed.", "bad")
    saved = {**data, "path": str(output), "bytes": len(content)}
    said = f"{output}: {len(content)} bytes. {checks_made(evidence.checks)}."
    return Answer(saved, told(said, mark), f"{output} is written", code)
