"""The command `verify`. It reads files, and needs neither a database nor a network.

Only its options name trusted keys; keys in the package are never trusted. The package's file is verified as its bytes.
The command exits with 3 when a check fails or the required level is not reached. Its texts never call L0 to L2 a proof
of who wrote or approved something.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer

from nexus_control.canonical_json import parse_json_object
from nexus_control.cli.exit_codes import NOT_VERIFIED
from nexus_control.cli.exporting import envelope_beside
from nexus_control.cli.files import blaming, read_bytes, read_text
from nexus_control.cli.frame import Answer, answer, frame_of
from nexus_control.cli.options import AllowedSigners, AsJson
from nexus_control.cli.screen import Mark, Screen, columns, mark_of
from nexus_control.errors import invalid_argument
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.evidence.formats.base64_text import from_base64
from nexus_control.evidence.formats.certificates import read_pem
from nexus_control.evidence.formats.keys import public_from_pem
from nexus_control.evidence.formats.note import COSIGNATURE, ED25519, parse_verifier
from nexus_control.evidence.reading import Reading, read_evidence
from nexus_control.evidence.report import Check
from nexus_control.evidence.trust import Attached, Trust
from nexus_control.evidence.verify import LEVELS, EvidenceReport, Level
from nexus_control.system.whole_files import is_regular

_DEFAULT_LEVEL: Level = "L1"
_OF_EVERY_REPORT = {"--require", "--allowed-signers", "--log-key"}
_SELF_SIGNED = "self-signed; an operator can rewrite history until a checkpoint leaves this machine"
_MEANING = {
    "L0": "its digests match its content. They do not say who wrote it, or whether it was allowed",
    "L1": "by its own account, it ran as it had been approved. Its digests do not say who wrote it",
    "L2": "it is in a log that you trust. The log does not say who approved",
    "L3": "a key that you trust signed the package",
    "L4": "keys that you trust signed the approvals that the policy asked for",
    "L5": "others saw the log: witnesses or a timestamp that you trust",
}
_EITHER = {"witness_quorum", "timestamp"}
_HASH_BYTES = 32

PackageKeys = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Who may sign packages: a public key in PEM; may be repeated."),
]
LogKeys = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="A log that is trusted: NAME+ID+BASE64; may be repeated."),
]
Witnesses = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY", help="A witness that is trusted: NAME+ID+BASE64; may be repeated."),
]
Quorum = Annotated[int, typer.Option(min=1, help="How many witnesses must have cosigned.")]
Remembered = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The log's checkpoint that you remember from before.")
]
Consistency = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The proof from that checkpoint to the package's: what `log consistency --json` printed, or its hashes.",
    ),
]
Envelope = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The package's signature. Default: package.dsse.json beside package.json, if it is there.",
    ),
]
Proof = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A newer proof of the log than the one in the package.")
]
Token = Annotated[
    Path | None, typer.Option(metavar="FILE", help="A timestamp (RFC 3161) of the package's checkpoint.")
]
Roots = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Whose timestamps count: a root in PEM; may be repeated."),
]
Certificates = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Certificates between token and root; may be repeated."),
]
Require = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help=f"L0 to L5: what must be reached. Default: {_DEFAULT_LEVEL}."),
]


def verify(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An audit package, a bundle (which reaches L1 at most), or a run's bundle; - is standard input.",
        ),
    ],
    require: Require = None,
    allowed_signers: AllowedSigners = None,
    package_key: PackageKeys = None,
    log_key: LogKeys = None,
    witness: Witnesses = None,
    witness_quorum: Quorum = 1,
    checkpoint: Remembered = None,
    consistency: Consistency = None,
    envelope: Envelope = None,
    log_proof: Proof = None,
    timestamp: Token = None,
    timestamp_root: Roots = None,
    timestamp_certificate: Certificates = None,
    as_json: AsJson = False,
) -> None:
    """Check a package or a bundle, of this version or of 1.0. You say which keys are trusted. Needs no database.

    Example: nexus-control verify package.json --allowed-signers signers --package-key key.pem --require L4
    """
    frame = frame_of(context, as_json=as_json, allowed_signers=allowed_signers)

    def run() -> Answer:
        trust = Trust(
            allowed_signers=_signers(frame.named_signers, waits="--allowed-signers" in frame.given),
            package_keys=_checked("--package-key", package_key, public_from_pem),
            log_keys=_verifiers("--log-key", log_key),
            witnesses=_verifiers("--witness", witness),
            witness_quorum=witness_quorum,
            checkpoint=_text("--checkpoint", checkpoint),
            consistency=_hashes(consistency),
            timestamp_roots=_certificates("--timestamp-root", timestamp_root),
            timestamp_certificates=_certificates("--timestamp-certificate", timestamp_certificate),
        )
        content = read_bytes("FILE", file)
        attached = Attached(
            envelope=_envelope(file, envelope),
            log_proof=_text("--log-proof", log_proof),
            timestamp=None if timestamp is None else read_bytes("--timestamp", timestamp),
        )
        return _verified(content, trust, attached, require, _given(context))

    answer(frame, run)


def _given(context: typer.Context) -> list[str]:
    """The options in this call that name trusted keys, the required level or attached files."""
    others = {"file", "as_json", "witness_quorum"}
    return [
        f"--{name.replace('_', '-')}"
        for name, value in context.params.items()
        if value and name not in others
    ]


def _verified(
    content: bytes, trust: Trust, attached: Attached, require: str | None, given: list[str]
) -> Answer:
    evidence = read_evidence(content, trust=trust, require=_level(require), attached=attached)
    report = evidence.report
    if evidence.kind == "bundle":
        given = [option for option in given if option not in _OF_EVERY_REPORT]
    if evidence.kind != "package" and given:
        raise invalid_argument(given[0], f"is for audit packages: FILE is a {evidence.kind}")
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
    return Answer(data, lambda screen: _show(screen, evidence), code=0 if evidence.ok else NOT_VERIFIED)


def _level(given: str | None) -> Level:
    for level in LEVELS:
        if level == (_DEFAULT_LEVEL if given is None else given):
            return level
    raise invalid_argument("--require", f"must be one of {', '.join(LEVELS)}")


def _signers(file: Path | None, *, waits: bool) -> bytes | None:
    if file is None:
        return None
    content = read_bytes("--allowed-signers", file, waits=waits)
    with blaming("--allowed-signers", str(file)):
        parse_allowed_signers(content)
    return content


def _certificates(option: str, files: list[Path] | None) -> list[str]:
    return _checked(option, files, lambda text: read_pem("it", [text]))


def _checked(option: str, files: list[Path] | None, read: Callable[[str], object]) -> list[str]:
    """The contents of these files. Raises INVALID_ARGUMENT for a file that `read` refuses."""
    texts = list[str]()
    for file in files or ():
        text = read_text(option, file)
        with blaming(option, str(file)):
            read(text)
        texts.append(text)
    return texts


def _verifiers(option: str, keys: list[str] | None) -> list[str]:
    kind, other = (ED25519, "a witness") if option == "--log-key" else (COSIGNATURE, "a log")
    for key in keys or ():
        with blaming(option, key):
            if parse_verifier(key).type != kind:
                raise invalid_argument("it", f"is the key of {other}")
    return keys or []


def _hashes(file: Path | None) -> list[str]:
    """The hashes of a consistency proof, from JSON or one a line."""
    text = (_text("--consistency", file) or "").strip()
    with blaming("--consistency", str(file)):
        found: object = parse_json_object(text).get("proof") if text.startswith("{") else text.split()
        hashes = cast("list[object]", found) if isinstance(found, list) else [None]
        if not all(isinstance(each, str) and len(from_base64(each) or b"") == _HASH_BYTES for each in hashes):
            raise invalid_argument("it", "must be what `log consistency --json` prints, or hashes in base64")
    return list(map(str, hashes))


def _envelope(package: Path, given: Path | None) -> bytes | None:
    beside = envelope_beside(package)
    if given is None and not is_regular(beside):
        return None
    return read_bytes("--envelope", beside, waits=False) if given is None else read_bytes("--envelope", given)


def _text(option: str, file: Path | None) -> str | None:
    return None if file is None else read_text(option, file)


def _show(screen: Screen, evidence: Reading) -> None:
    report = evidence.report
    rows = [(check.name, mark_of(check.status), _found(check)) for check in evidence.checks]
    screen.grid(columns("check|status|what was found", rows))
    screen.blank()
    failed = [check.name for check in evidence.checks if check.status == "fail"]
    if failed:
        screen.prose(f"The {evidence.kind} does not hold: {', '.join(failed)}.", Mark("Failed.", "bad"))
    elif report is not None and not report.ok:
        screen.prose(
            f"{report.required} is required, and checks are missing for it: {_missing(report)}.",
            Mark("Not enough.", "bad"),
        )
    else:
        screen.prose(f"The {evidence.kind} {evidence.digest} holds together.", Mark("Verified.", "good"))
    if report is not None:
        _show_level(screen, evidence.kind, report)
    elif not failed:
        screen.prose("Its digests do not say who wrote it.")


def _missing(report: EvidenceReport) -> str:
    names = [check.name for check in report.missing]
    either = " or ".join(name for name in names if name in _EITHER)
    return ", ".join([*(name for name in names if name not in _EITHER), *([either] if either else [])])


def _show_level(screen: Screen, kind: str, report: EvidenceReport) -> None:
    level = report.level
    if level is None:
        screen.prose(f"No level is reached: the {kind}'s content does not match its digests.")
        return
    unsigned = any(each.name == "checkpoint_signature" and each.status == "info" for each in report.checks)
    screen.prose(f"{level}: {_SELF_SIGNED if level == 'L2' and unsigned else _MEANING[level]}.")
    beyond = [each for each in report.reached if each > level]
    if beyond:
        screen.prose(f"The checks of {', '.join(beyond)} hold too, but not all of the levels below.")


def _found(check: Check) -> str:
    if check.status == "fail" and check.expected is not None:
        return f"{check.detail}: expected {check.expected}, found {check.actual}"
    return check.detail
