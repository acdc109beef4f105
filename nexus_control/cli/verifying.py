"""The command `verify`. It reads files, and needs neither a database nor a network.

The package's file is verified as its bytes. The command exits with 3 when a check fails or the required level is not
reached.
"""

from pathlib import Path
from typing import Annotated

import typer

from nexus_control.cli.exit_codes import NOT_VERIFIED
from nexus_control.cli.frame import Answer, Frame, shared_options
from nexus_control.cli.screen import Mark, Screen, columns, mark_of
from nexus_control.cli.trusting import Given, trust_options
from nexus_control.evidence.reading import Reading
from nexus_control.evidence.report import Check
from nexus_control.render.levels import checks_made, level_words, missing_names


@shared_options("allowed_signers")
@trust_options
def verify(
    frame: Frame,
    given: Given,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An audit package, a bundle (which reaches L1 at most), or a run's bundle; - is standard input.",
        ),
    ],
) -> Answer:
    """Check a package or a bundle, of this version or of 1.0. You say which keys are trusted. Needs no database.

    Example: nexus-control verify package.json --allowed-signers signers --package-key key.pem --require L4
    """
    evidence = given.read(frame, file)
    report = evidence.report
    data = {
        "ok": evidence.ok,
        "kind": evidence.kind,
        "digest": evidence.digest,
        "level": report.level if report is not None else None,
        "reached": list(report.reached) if report is not None else [],
        "required": report.required if report is not None else None,
        "missing": [check.name for check in report.missing] if report is not None else [],
        "checks": [check.to_dict() for check in evidence.checks],
    }
    return Answer(data, lambda screen: _show(screen, evidence, file), code=0 if evidence.ok else NOT_VERIFIED)


def _show(screen: Screen, evidence: Reading, file: Path) -> None:
    _show_verdict(screen, evidence, file)
    failed = any(check.status == "fail" for check in evidence.checks)
    if evidence.report is not None or not failed:
        for sentence in level_words(evidence):
            screen.prose(sentence)
    told = [check for check in evidence.checks if check.detail or check.status != "pass"]
    rows = [(check.name, mark_of(check.status), _found(check)) for check in told]
    if rows:
        screen.grid(columns("check|status|what was found", rows))
    if silent := [check.name for check in evidence.checks if check not in told]:
        screen.blank()
        screen.prose(f"{', '.join(silent)}.", Mark("Passed too:" if rows else "Passed:", "good"))


def _show_verdict(screen: Screen, evidence: Reading, file: Path) -> None:
    report, made = evidence.report, f"{checks_made(evidence.checks)}."
    failed = [check.name for check in evidence.checks if check.status == "fail"]
    if failed:
        said = f"{file}: the {evidence.kind} does not hold: {', '.join(failed)}."
        screen.prose(f"{said} {made}", Mark("Failed.", "bad"))
    elif report is not None and not report.ok:
        said = (
            f"{file}: {report.required} is required, and checks are missing for it: {missing_names(report)}."
        )
        screen.prose(f"{said} {made}", Mark("Not enough.", "bad"))
    else:
        screen.prose(f"{file}: the {evidence.kind} holds together. {made}", Mark("Verified.", "good"))
    if evidence.digest is not None:
        screen.verbatim(evidence.digest)


def _found(check: Check) -> str:
    if check.status == "fail" and check.expected is not None:
        return f"{check.detail}: expected {check.expected}, found {check.actual}"
    return check.detail
