"""Inclusion in a log, as a text that stands alone (C2SP tlog-proof): the leaf's index, its path, a signed checkpoint.

c2sp.org/tlog-proof@v1
extra <base64>              optional: data that the log's owner adds; it is ignored here
index <n>
<base64 of a hash>          one line each, from the leaf upwards
<empty line>
<the checkpoint, a signed note>
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.base64_text import from_base64, to_base64
from nexus_control.evidence.formats.merkle import require_included
from nexus_control.evidence.formats.note import (
    Note,
    Verifier,
    open_note,
    parse_checkpoint,
    require_as_written,
)

_HEADER = "c2sp.org/tlog-proof@v1"
_EXTRA = "extra "
_INDEX = re.compile("index (0|[1-9][0-9]{0,17})")
_LONGEST_PATH = 64
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class LogProof:
    """A proof that was read but not yet verified."""

    index: int
    path: tuple[bytes, ...]
    note: str
    extra: bytes | None = None

    def to_text(self) -> str:
        extra = "" if self.extra is None else f"{_EXTRA}{to_base64(self.extra)}\n"
        hashes = "".join(f"{to_base64(step)}\n" for step in self.path)
        return f"{_HEADER}\n{extra}index {self.index}\n{hashes}\n{self.note}"

    @property
    def origin(self) -> str:
        """The name of the log, as the checkpoint states it."""
        return self.note.partition("\n")[0]

    def require_leaf(self, leaf: bytes) -> None:
        """Raises INTEGRITY_MISMATCH unless the leaf is in the tree of the checkpoint."""
        checkpoint = parse_checkpoint(open_note(self.note, ()).text)
        require_included(self.index, checkpoint.size, leaf, self.path, checkpoint.root)

    def signed_by(self, known: Iterable[Verifier]) -> Note:
        """The checkpoint with the verified signatures of known signers; raises what `open_note` raises."""
        return open_note(self.note, known)


def parse_log_proof(text: str) -> LogProof:
    """Read a proof. Raises INTEGRITY_MISMATCH."""
    require_as_written(text)
    head, _, note = text.partition("\n\n")
    header, *lines = head.split("\n")
    extra = from_base64(lines[0].removeprefix(_EXTRA)) if lines and lines[0].startswith(_EXTRA) else None
    if extra is not None:
        del lines[0]
    index = _INDEX.fullmatch(lines[0]) if lines else None
    path = [
        step for line in lines[1:] if (step := from_base64(line)) is not None and len(step) == _HASH_BYTES
    ]
    if header != _HEADER or index is None or len(path) != len(lines) - 1 or len(path) > _LONGEST_PATH:
        raise NexusControlError(ErrorCode.INTEGRITY_MISMATCH, "this is not a tlog-proof")
    proof = LogProof(index=int(index[1]), path=tuple(path), note=note, extra=extra)
    parse_checkpoint(open_note(note, ()).text)
    return proof
