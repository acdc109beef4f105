"""The data types of the SSH wire (RFC 4251, section 5), strictly read.

    u32     4 bytes, big-endian
    string  u32 length || bytes
    mpint   string of a signed big-endian integer: here positive, and in the fewest bytes

Data that is cut short, or that has bytes after its end, is refused with INVALID_ARGUMENT.
"""

from nexus_control.errors import invalid_argument


class WireReader:
    """Reads one value after the other. `what` names the data in errors."""

    __slots__ = ("_data", "_position", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._position = 0
        self._what = what

    def take(self, length: int) -> bytes:
        taken = self._data[self._position : self._position + length]
        if len(taken) != length:
            raise invalid_argument(self._what, "is cut short")
        self._position += length
        return taken

    def byte(self) -> int:
        return self.take(1)[0]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.u32())

    def text(self) -> str:
        """A string of UTF-8. A NUL in it is refused, because a program in C would end the text there."""
        try:
            text = self.string().decode()
        except UnicodeDecodeError:
            raise invalid_argument(self._what, "holds text that is not UTF-8") from None
        if "\0" in text:
            raise invalid_argument(self._what, "holds text with a NUL")
        return text

    def mpint(self) -> int:
        """An integer above zero."""
        octets = self.string()
        value = int.from_bytes(octets, "big", signed=True)
        if value <= 0 or len(octets) != value.bit_length() // 8 + 1:
            raise invalid_argument(
                self._what, "holds an integer that is not positive, or not in its fewest bytes"
            )
        return value

    def end(self) -> None:
        if self._position != len(self._data):
            raise invalid_argument(self._what, "has bytes after its end")


def string(octets: bytes) -> bytes:
    """The bytes as a string of the wire."""
    return len(octets).to_bytes(4, "big") + octets


def mpint(value: int) -> bytes:
    """A positive integer as an mpint of the wire."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))
