"""The options with which `verify` and `report` are told whom to trust and which files came with a package.

Only these options name trusted keys; keys in the package are never trusted. They stand here once, and a command takes
all of them:

    @shared_options("allowed_signers")
    @trust_options
    def verify(frame: Frame, given: Given, file: File) -> Answer:
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, cast

import typer

from nexus_control.canonical_json import canonical_json, parse_json_object
from nexus_control.cli.at_work import telling
from nexus_control.cli.exporting import envelope_beside
from nexus_control.cli.files import STANDARD_INPUT, blaming, read_bytes, read_text
from nexus_control.cli.frame import Answer, Frame
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.evidence.formats.base64_text import from_base64
from nexus_control.evidence.formats.certificates import read_pem
from nexus_control.evidence.formats.keys import public_from_pem
from nexus_control.evidence.formats.note import COSIGNATURE, ED25519, parse_verifier
from nexus_control.evidence.reading import Reading, read_evidence
from nexus_control.evidence.trust import Attached, Trust
from nexus_control.evidence.verify import LEVELS, Level
from nexus_control.system.whole_files import is_regular

_DEFAULT_LEVEL: Level = "L1"
_OF_EVERY_REPORT = {"--require", "--allowed-signers", "--origin", "--log-key"}
_HASH_BYTES = 32

Require = Annotated[
    str | None,
    typer.Option(metavar="LEVEL", help=f"L0 to L5: what must be reached. Default: {_DEFAULT_LEVEL}."),
]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a caller gave with these options. The field's name is the option's; its annotation says how it is read."""

    require: Require = None
    package_key: PackageKeys = None
    log_key: LogKeys = None
    witness: Witnesses = None
    witness_quorum: Quorum = 1
    checkpoint: Remembered = None
    consistency: Consistency = None
    envelope: Envelope = None
    log_proof: Proof = None
    timestamp: Token = None
    timestamp_root: Roots = None
    timestamp_certificate: Certificates = None

    def named(self, frame: Frame) -> list[str]:
        """The options in this call that name trusted keys, the required level or attached files."""
        names = [
            each.name for each in fields(self) if each.name != "witness_quorum" and getattr(self, each.name)
        ]
        shared = [each for each in ("--allowed-signers", "--origin") if each in frame.given]
        return [*shared, *(f"--{name.replace('_', '-')}" for name in names)]

    def files(self) -> list[Path]:
        """The files that these options name."""
        values = [getattr(self, each.name) for each in fields(self)]
        lists = [cast("list[object]", each) if isinstance(each, list) else [each] for each in values]
        return [each for several in lists for each in several if isinstance(each, Path)]

    def trust(self, frame: Frame) -> Trust:
        """Whom the caller trusts. Raises INVALID_ARGUMENT, which names the option and the file."""
        return Trust(
            allowed_signers=_signers(frame.named_signers, waits="--allowed-signers" in frame.given),
            passkey_origins=() if frame.named_origins is None else frame.origins,
            package_keys=_checked("--package-key", self.package_key, public_from_pem),
            log_keys=_verifiers("--log-key", self.log_key),
            witnesses=_verifiers("--witness", self.witness),
            witness_quorum=self.witness_quorum,
            checkpoint=_text("--checkpoint", self.checkpoint),
            consistency=_hashes(self.consistency),
            timestamp_roots=_certificates("--timestamp-root", self.timestamp_root),
            timestamp_certificates=_certificates("--timestamp-certificate", self.timestamp_certificate),
        )

    def read(self, frame: Frame, file: Path) -> Reading:
        """The evidence in `file`, checked with all that was given. The file is read once, as its bytes.

        Raises INVALID_ARGUMENT, also for an option that this kind of evidence has no use for, and JSON_INVALID.
        """
        trust = self.trust(frame)
        with nullcontext() if file == STANDARD_INPUT else telling(f"checking {file}"):
            content = read_bytes("FILE", file)
            evidence = self._checked(content, str(file), trust, _envelope(file, self.envelope))
        unused = [
            each for each in self.named(frame) if evidence.kind != "bundle" or each not in _OF_EVERY_REPORT
        ]
        if evidence.kind != "package" and unused:
            raise invalid_argument(unused[0], f"is for audit packages: {file} is a {evidence.kind}")
        return evidence

    def check(self, frame: Frame, document: Mapping[str, object]) -> Reading:
        """The evidence in a document that was just exported, checked with all that was given."""
        envelope = None if self.envelope is None else read_bytes("--envelope", self.envelope)
        trust = self.trust(frame)
        with telling("checking the document"):
            return self._checked(canonical_json(document).encode(), "The document", trust, envelope)

    def _checked(self, content: bytes, name: str, trust: Trust, envelope: bytes | None) -> Reading:
        attached = Attached(
            envelope=envelope,
            log_proof=_text("--log-proof", self.log_proof),
            timestamp=None if self.timestamp is None else read_bytes("--timestamp", self.timestamp),
        )
        level = _level(self.require)
        try:
            return read_evidence(content, trust=trust, require=level, attached=attached)
        except NexusControlError as fault:
            raise NexusControlError(fault.code, f"{name}: {fault.message}", fault.details) from None


def trust_options(
    body: Callable[Concatenate[Frame, Given, ...], Answer],
) -> Callable[Concatenate[Frame, ...], Answer]:
    """Give a command these options, after its own; `body` gets them together, as its second argument."""
    _, _, *own = inspect.signature(body).parameters.values()
    names = [each.name for each in fields(Given)]

    @wraps(body)
    def run(frame: Frame, **values: Any) -> Answer:
        given = Given(**{name: values.pop(name) for name in names})
        return body(frame, given, **values)

    first = inspect.Parameter("frame", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Frame)
    options = [
        first.replace(name=each.name, annotation=each.type, default=each.default) for each in fields(Given)
    ]
    vars(run)["__signature__"] = inspect.Signature([first, *own, *options])
    return run


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
