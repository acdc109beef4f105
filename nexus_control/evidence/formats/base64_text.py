"""Base64 in its one spelling: standard alphabet, padded, no line breaks, unused bits zero (RFC 4648, 3.5).

`from_base64url` reads what browsers write: the alphabet of URLs, not padded, and else the same.
"""

import base64
import binascii

_STANDARD = str.maketrans("-_", "+/")


def to_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def from_base64(text: str) -> bytes | None:
    """The bytes; None for any other spelling."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if to_base64(decoded) == text else None


def from_base64url(text: str) -> bytes | None:
    """The bytes of base64url without padding, as browsers write it (RFC 4648, 5); None for any other spelling."""
    if "+" in text or "/" in text or "=" in text:
        return None
    return from_base64(text.translate(_STANDARD) + "=" * (-len(text) % 4))
