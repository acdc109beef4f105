"""The key `evidence` of an exported package, which the frozen digests do not cover:

    evidence = {"chain_head": prefixed,     the chain hash of the last event
                "log_key": text,            the verifier key of the log, as the log's owner states it
                "log_proof": text}          the tlog-proof of that chain hash

It names a key, and so proves nothing of who: a verifier brings keys of their own.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from nexus_control.errors import ErrorCode
from nexus_control.integrity import is_prefixed
from nexus_control.records import check, decode, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an exported package says of the log that it came from."""

    chain_head: str = check(is_prefixed, "'sha256:' and 64 lower-case hex digits")
    log_key: str
    log_proof: str

    def to_dict(self) -> dict[str, object]:
        return encode(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Evidence":
        """Raises PACKAGE_INVALID_SCHEMA."""
        return decode(cls, data, where="evidence", code=ErrorCode.PACKAGE_INVALID_SCHEMA)
