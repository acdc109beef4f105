"""SHA-256 digests: compute, prefix, compare.

Two spellings exist and never mix: *bare* is 64 lower-case hex digits, *prefixed* is `sha256:` and the bare digest.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable

from nexus_control.canonical_json import canonical_json
from nexus_control.errors import ErrorCode, NexusControlError

PREFIX = "sha256:"

_BARE = re.compile(r"[0-9a-f]{64}", re.ASCII)


def sha256_hex(data: str | bytes) -> str:
    """The bare digest of `data`; text is hashed as its UTF-8 bytes. Raises JSON_INVALID for a lone surrogate."""
    try:
        return hashlib.sha256(data.encode() if isinstance(data, str) else data).hexdigest()
    except UnicodeEncodeError:
        raise _without_bytes() from None


def sha256_of(parts: Iterable[str]) -> str:
    """The bare digest of the text that these parts make together. Raises JSON_INVALID for a lone surrogate."""
    digest = hashlib.sha256()
    try:
        for part in parts:
            digest.update(part.encode())
    except UnicodeEncodeError:
        raise _without_bytes() from None
    return digest.hexdigest()


def _without_bytes() -> NexusControlError:
    return NexusControlError(ErrorCode.JSON_INVALID, "text with a lone surrogate has no UTF-8 bytes")


def json_digest(obj: object) -> str:
    """The bare digest of `obj`'s canonical JSON."""
    return sha256_hex(canonical_json(obj))


def prefixed(bare_digest: str) -> str:
    """`sha256:` and the digest."""
    return PREFIX + bare_digest


def is_bare(digest: object) -> bool:
    """Whether `digest` is exactly 64 lower-case hex digits."""
    return isinstance(digest, str) and _BARE.fullmatch(digest) is not None


def is_prefixed(digest: object) -> bool:
    """Whether `digest` is `sha256:` and 64 lower-case hex digits."""
    return isinstance(digest, str) and digest.startswith(PREFIX) and is_bare(digest[len(PREFIX) :])


def bare(prefixed_digest: str) -> str:
    """The digest without its prefix. Raises INTEGRITY_MISMATCH for any other spelling."""
    if not is_prefixed(prefixed_digest):
        raise NexusControlError(
            ErrorCode.INTEGRITY_MISMATCH, "a digest is not 'sha256:' and 64 lower-case hex digits"
        )
    return prefixed_digest[len(PREFIX) :]


def same_digest(left: str, right: str) -> bool:
    """Whether two digests of one spelling are equal, in constant time."""
    return hmac.compare_digest(left.encode(errors="surrogatepass"), right.encode(errors="surrogatepass"))
