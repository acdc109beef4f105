"""Base64 in its one spelling: standard alphabet, padded, no line breaks, unused bits zero (RFC 4648, 3.5)."""

import base64
import binascii


def to_base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def from_base64(text: str) -> bytes | None:
    """The bytes; None for any other spelling."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if to_base64(decoded) == text else None
