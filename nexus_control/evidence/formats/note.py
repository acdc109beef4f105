"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature): one spelling, strictly read.

    note        = text "\\n" signature...            the text ends with a newline; an empty line parts the two
    signature   = "— " name " " base64(key id || signature) "\\n"
    key id      = the first 4 bytes of SHA-256(name || 0x0A || type || public key)
    type 0x01   Ed25519 over the text
    type 0x04   a witness: 8 bytes of time before the signature, which is over "cosignature/v1\\ntime <t>\\n" || text;
                the time is below 2^63
    verifier    = name "+" hex(key id) "+" base64(type || public key)
    checkpoint  = origin "\\n" size "\\n" base64(root) "\\n" extension lines, none of them empty

A line of an unknown signer is ignored. A line of a known signer that does not verify makes the whole note invalid.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from nexus_control.errors import ErrorCode, NexusControlError, invalid_argument
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.keys import PrivateKey, PublicKey, public_from_ed25519

ED25519, COSIGNATURE = 0x01, 0x04

_SIGNATURE = re.compile("\u2014 ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})")
_SIZE = re.compile("0|[1-9][0-9]{0,17}")
_SURROGATE = "[\ud800-\udfff]"
_UNPRINTABLE = re.compile(f"[\x00-\x09\x0b-\x1f\x7f]|{_SURROGATE}")
_LONGEST = 1_000_000
_TIMES = 2**63
_AGAIN = "or fetch it again from its source"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """A known signer: a name, a key, and the type of signature that the key makes."""

    name: str
    key: PublicKey
    type: int = ED25519

    @property
    def key_id(self) -> bytes:
        tagged = bytes([self.type]) + (self.key.raw_ed25519 or b"")
        return hashlib.sha256(self.name.encode() + b"\n" + tagged).digest()[:4]

    def __str__(self) -> str:
        tagged = bytes([self.type]) + (self.key.raw_ed25519 or b"")
        return f"{self.name}+{self.key_id.hex()}+{to_base64(tagged)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """A signature that verified. `time` is when a witness signed, in seconds since 1970."""

    verifier: Verifier
    time: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note, its verified signatures, and the names on the lines of unknown signers."""

    text: str
    signatures: tuple[Signature, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The state of a log: how many leaves, and their root."""

    origin: str
    size: int
    root: bytes

    def to_text(self) -> str:
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"


def parse_verifier(text: str) -> Verifier:
    """A verifier from its one line. Raises INVALID_ARGUMENT."""
    name, _, rest = text.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    tagged = from_base64(encoded)
    is_name = bool(name) and re.search(f"\\s|{_SURROGATE}", name) is None
    if not is_name or tagged is None or tagged[:1] not in (b"\x01", b"\x04"):
        raise invalid_argument("verifier key", "must be NAME+KEYID+BASE64 of an Ed25519 key")
    verifier = Verifier(name=name, key=public_from_ed25519(tagged[1:]), type=tagged[0])
    if verifier.key_id.hex() != key_id:
        raise invalid_argument("verifier key", "has an id that is not its key's")
    return verifier


def sign_note(text: str, name: str, key: PrivateKey) -> str:
    """The note with one Ed25519 signature."""
    verifier = Verifier(name=name, key=key.public)
    signed = to_base64(verifier.key_id + key.sign(text.encode()))
    return f"{text}\n\u2014 {name} {signed}\n"


def open_note(note: str, known: Iterable[Verifier]) -> Note:
    """The note with the signatures of known signers, of which there may be none.

    Raises INTEGRITY_MISMATCH for text in another format, SIGNATURE_INVALID when a line of a known signer does not
    verify.
    """
    text, lines = _split(note)
    by_id = {(verifier.name, verifier.key_id): verifier for verifier in known}
    signatures, unknown = list[Signature](), list[str]()
    for line in lines:
        matched = _SIGNATURE.fullmatch(line)
        blob = from_base64(matched[2]) if matched else None
        if matched is None or blob is None or len(blob) < 5:
            raise _malformed("a line after the text is not a signature")
        verifier = by_id.get((matched[1], blob[:4]))
        if verifier is None:
            unknown.append(matched[1])
        else:
            signatures.append(_verified(verifier, blob[4:], text))
    return Note(text=text, signatures=tuple(signatures), unknown=tuple(unknown))


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that a note's text spells. Raises INTEGRITY_MISMATCH."""
    lines = text.split("\n")
    root = from_base64(lines[2]) if len(lines) >= 4 and lines[-1] == "" else None
    if root is None or len(root) != 32 or not lines[0] or not _SIZE.fullmatch(lines[1]):
        raise _malformed("this is not a checkpoint: it must have origin, size and root, a line each")
    if "" in lines[3:-1]:
        raise _malformed("this is not a checkpoint: an extension line of it is empty")
    return Checkpoint(origin=lines[0], size=int(lines[1]), root=root)


def _verified(verifier: Verifier, blob: bytes, text: str) -> Signature:
    message, time = text.encode(), None
    named = f"the signature of {verifier.name}"
    if verifier.type == COSIGNATURE:
        time, blob = int.from_bytes(blob[:8], "big"), blob[8:]
        message = f"cosignature/v1\ntime {time}\n".encode() + message
        if time >= _TIMES:
            raise NexusControlError(
                ErrorCode.SIGNATURE_INVALID, f"{named} is of a time of 2^63 seconds or more"
            )
    if len(blob) != 64 or not verifier.key.verifies(blob, message):
        raise NexusControlError(
            ErrorCode.SIGNATURE_INVALID, f"{named} does not verify", advice="Fetch it again from its source."
        )
    return Signature(verifier=verifier, time=time)


def require_as_written(text: str) -> None:
    """Returns when line ends, byte order mark and last newline of a note, or of a proof with one, are as they were
    written. An editor or a transfer may have changed them; then INTEGRITY_MISMATCH says how, and what to do.
    """
    if text.startswith("\ufeff"):
        raise _malformed(f"this checkpoint or proof begins with a byte order mark: remove it, {_AGAIN}")
    if "\r\n" in text:
        raise _malformed(f"the lines of this checkpoint or proof end in CRLF: make that LF, {_AGAIN}")
    if text.endswith("\n\n"):
        raise _malformed(f"this checkpoint or proof ends in an empty line: remove it, {_AGAIN}")
    if text and not text.endswith("\n"):
        raise _malformed(f"this checkpoint or proof lost its last newline: put one at its end, {_AGAIN}")


def _split(note: str) -> tuple[str, list[str]]:
    require_as_written(note)
    text, parted, signatures = note.rpartition("\n\n")
    if not parted or len(note) > _LONGEST or _UNPRINTABLE.search(note):
        raise _malformed("this is not a signed note")
    return f"{text}\n", signatures.split("\n")[:-1]


def _malformed(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INTEGRITY_MISMATCH, problem)
