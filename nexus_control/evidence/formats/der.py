"""DER (ITU-T X.690, section 10), as much of it as timestamps need: each value has one spelling.

    value = tag || length || content     a tag of one byte; a length in its fewest bytes, below 2^24

Malformed bytes, and bytes after the value, are refused with INTEGRITY_MISMATCH.
"""

from dataclasses import dataclass
from typing import Final

from nexus_control.errors import ErrorCode, NexusControlError

BOOLEAN, INTEGER, OCTET_STRING, OID = 0x01, 0x02, 0x04, 0x06
GENERALIZED_TIME, SEQUENCE, SET = 0x18, 0x30, 0x31
_LONG_FORM: Final = 0x80
_MOST_CHILDREN: Final = 1000


@dataclass(frozen=True, slots=True)
class Value:
    """One value, and the bytes that it was read from."""

    tag: int
    content: bytes
    encoded: bytes

    def children(self, tag: int = SEQUENCE) -> list["Value"]:
        """The values in it. Raises INTEGRITY_MISMATCH if this value has another tag."""
        self.expect(tag)
        found, position = list[Value](), 0
        while position < len(self.content):
            value = _read(self.content, position)
            position += len(value.encoded)
            found.append(value)
            if len(found) > _MOST_CHILDREN:
                raise malformed("a value has too many parts")
        return found

    def expect(self, tag: int) -> bytes:
        """The content. Raises INTEGRITY_MISMATCH if this value has another tag."""
        if self.tag != tag:
            raise malformed(f"tag {self.tag:#x} where {tag:#x} is expected")
        return self.content

    def integer(self) -> int:
        content = self.expect(INTEGER)
        if not content or (
            len(content) > 1 and content[0] in (0, 0xFF) and content[0] >> 7 == content[1] >> 7
        ):
            raise malformed("an integer is not in its fewest bytes")
        return int.from_bytes(content, "big", signed=True)

    def oid(self) -> str:
        """Dotted, as 1.2.840."""
        content = self.expect(OID)
        if not content or content[-1] & _LONG_FORM:
            raise malformed("an object identifier is cut short")
        arcs, arc = list[int](), 0
        for octet in content:
            if arc == 0 and octet == _LONG_FORM:
                raise malformed("an object identifier is not in its fewest bytes")
            arc = arc << 7 | octet & 0x7F
            if not octet & _LONG_FORM:
                arcs.append(arc)
                arc = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def parse_der(data: bytes) -> Value:
    """The one value that these bytes spell. Raises INTEGRITY_MISMATCH."""
    value = _read(data, 0)
    if len(value.encoded) != len(data):
        raise malformed("bytes follow its end")
    return value


def malformed(problem: str) -> NexusControlError:
    return NexusControlError(ErrorCode.INTEGRITY_MISMATCH, f"this is not a timestamp: {problem}")


def _read(data: bytes, start: int) -> Value:
    header = data[start : start + 2]
    if len(header) < 2 or header[0] & 0x1F == 0x1F:
        raise malformed("a value is cut short, or has a long tag")
    length, begin = header[1], start + 2
    if length >= _LONG_FORM:
        octets = data[begin : begin + (length & 0x7F)]
        begin += len(octets)
        length = int.from_bytes(octets, "big")
        if not 1 <= len(octets) <= 3 or octets[0] == 0 or length < _LONG_FORM:
            raise malformed("a length is not in its fewest bytes")
    if begin + length > len(data):
        raise malformed("a value is cut short")
    return Value(header[0], data[begin : begin + length], data[start : begin + length])
