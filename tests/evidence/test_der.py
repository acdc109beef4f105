import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.der import INTEGER, OID, SEQUENCE, Value, parse_der


@pytest.mark.parametrize(
    ("encoded", "number"),
    [("020100", 0), ("02017f", 127), ("02020080", 128), ("0201ff", -1), ("0202ff7f", -129)],
    ids=["zero", "a byte", "a byte with a high bit", "minus one", "negative"],
)
def test_integers_are_read(encoded: str, number: int) -> None:
    assert parse_der(bytes.fromhex(encoded)).integer() == number


def test_object_identifiers_are_read() -> None:
    assert parse_der(bytes.fromhex("06092a864886f70d010702")).oid() == "1.2.840.113549.1.7.2"
    assert parse_der(bytes.fromhex("0603883703")).oid() == "2.999.3"


@pytest.mark.parametrize(
    "encoded",
    ["", "02", "0201", "02810100", "0282000100", "02800000", "0284000000017f", "020100ff", "1f0100", "3005020100"],
    ids=[
        "nothing",
        "a tag alone",
        "no content",
        "a long length of a short one",
        "a length with a zero",
        "no length",
        "a length of four bytes",
        "bytes follow its end",
        "a long tag",
        "cut short",
    ],
)  # fmt: skip
def test_what_is_not_der_is_refused(encoded: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_der(bytes.fromhex(encoded)).children()
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize(
    ("tag", "content"),
    [
        (INTEGER, ""),
        (INTEGER, "0001"),
        (INTEGER, "ffff"),
        (OID, ""),
        (OID, "2a86"),
        (OID, "2a8001"),
        (SEQUENCE, "00"),
    ],
)
def test_numbers_that_are_not_in_their_one_spelling_are_refused(tag: int, content: str) -> None:
    value = Value(tag, bytes.fromhex(content), b"")
    with pytest.raises(NexusControlError) as caught:
        value.integer() if tag == INTEGER else value.oid()
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


def test_a_value_of_many_parts_is_refused() -> None:
    content = bytes.fromhex("0500") * 1001
    with pytest.raises(NexusControlError, match="too many"):
        Value(SEQUENCE, content, content).children()
