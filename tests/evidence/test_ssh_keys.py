from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.ssh_keys import parse_ssh_key_blob, parse_ssh_public_key, public_line_in
from tests.artifacts.samples import load
from tests.evidence.ssh import (
    SK_ECDSA,
    SK_ED25519,
    Authenticator,
    ed25519,
    keygen,
    mpint,
    needs_ssh_keygen,
    public_line,
    string,
)

BOB: str = load("evidence", "golden.json")["bob_ssh"]
BLOB = ed25519(3)[0]
POINT = ec.derive_private_key(9, ec.SECP256R1()).public_key()
UNCOMPRESSED = POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
COMPRESSED = POINT.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
MODULUS = (1 << 2047) + 1


def ecdsa(curve: str, point: bytes) -> bytes:
    return string("ecdsa-sha2-nistp256") + string(curve) + string(point)


def rsa(exponent: int, modulus: int) -> bytes:
    return string("ssh-rsa") + mpint(exponent) + mpint(modulus)


@needs_ssh_keygen
@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("-t", "ed25519"), "ssh-ed25519"),
        (("-t", "ecdsa", "-b", "256"), "ecdsa-sha2-nistp256"),
        (("-t", "ecdsa", "-b", "384"), "ecdsa-sha2-nistp384"),
        (("-t", "ecdsa", "-b", "521"), "ecdsa-sha2-nistp521"),
        (("-t", "rsa", "-b", "2048"), "ssh-rsa"),
    ],
    ids=["ed25519", "p256", "p384", "p521", "rsa"],
)
def test_a_key_of_ssh_keygen_is_read_with_its_fingerprint(
    tmp_path: Path, options: tuple[str, ...], kind: str
) -> None:
    assert keygen("-q", *options, "-N", "", "-C", "bob at home", "-f", tmp_path / "key").returncode == 0
    key = parse_ssh_public_key((tmp_path / "key.pub").read_text(encoding="utf-8"))
    assert (key.type, key.application) == (kind, None)
    assert key.fingerprint == keygen("-l", "-f", tmp_path / "key.pub").stdout.decode().split()[1]


@needs_ssh_keygen
@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
def test_a_security_key_is_read_with_its_fingerprint(tmp_path: Path, kind: str) -> None:
    line = public_line(Authenticator(kind, "ssh:here").blob)
    (tmp_path / "key.pub").write_text(line + "\n", encoding="utf-8")
    key = parse_ssh_public_key(line)
    assert (key.type, key.application) == (kind, "ssh:here")
    assert key.fingerprint == keygen("-l", "-f", tmp_path / "key.pub").stdout.decode().split()[1]


@needs_ssh_keygen
@pytest.mark.parametrize("passphrase", ["", "open sesame"], ids=["open", "locked"])
def test_a_private_key_of_openssh_says_its_public_part_openly(tmp_path: Path, passphrase: str) -> None:
    file = tmp_path / "key"
    assert keygen("-q", "-t", "ed25519", "-N", passphrase, "-f", file).returncode == 0
    public = (tmp_path / "key.pub").read_text(encoding="utf-8")
    assert public_line_in(public) == public.strip()
    line, private = public_line_in(file.read_text(encoding="utf-8")), file.read_text(encoding="utf-8")
    assert line is not None
    assert parse_ssh_public_key(line) == parse_ssh_public_key(public)
    head, *lines, end = private.splitlines()
    for text in ("", "nonsense", private.replace("OPENSSH", "RSA"), "\n".join((head, lines[0][:40], end))):
        assert public_line_in(text) is None


def test_a_key_is_the_same_whatever_its_comment_and_spacing() -> None:
    key = parse_ssh_public_key(BOB)
    assert key.blob == BLOB
    for text in (f"{BOB} bob\n", f" {BOB.replace(' ', chr(9))}  a comment\r\n"):
        assert parse_ssh_public_key(text) == key
        assert hash(parse_ssh_public_key(text)) == hash(key)
    assert parse_ssh_key_blob(key.blob) == key
    assert parse_ssh_key_blob(ed25519(4)[0]) != key
    assert parse_ssh_key_blob(Authenticator(SK_ED25519).blob) != parse_ssh_key_blob(ed25519(9)[0])
    with pytest.raises(FrozenInstanceError):
        key.type = "ssh-rsa"  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(BLOB[:-1], id="cut short"),
        pytest.param(BLOB + b"\0", id="a byte after it"),
        pytest.param(string("ssh-dss") + mpint(1) * 4, id="DSA"),
        pytest.param(string("ssh-ed448") + string(bytes(57)), id="Ed448"),
        pytest.param(string(b"\xff"), id="a type that is not UTF-8"),
        pytest.param(string("ssh-ed25519\0") + string(BLOB[-32:]), id="a type with NUL"),
        pytest.param(string("ssh-ed25519") + string(BLOB[-31:]), id="31 bytes"),
        pytest.param(string("ssh-ed25519") + string(b"\1" + bytes(31)), id="a point of small order"),
        pytest.param(string("ssh-ed25519") + string(b"\xed" + b"\xff" * 30 + b"\x7f"), id="not canonical"),
        pytest.param(string(SK_ED25519) + string(b"\1" + bytes(31)) + string("ssh:"), id="small order, sk"),
        pytest.param(string(SK_ED25519) + string(BLOB[-32:]), id="no application"),
        pytest.param(
            string(SK_ED25519) + string(BLOB[-32:]) + string("ssh:\0"), id="an application with NUL"
        ),
        pytest.param(
            string("ssh-ed25519") + string(BLOB[-32:]) + string("ssh:"), id="an application too many"
        ),
        pytest.param(ecdsa("nistp384", UNCOMPRESSED), id="another curve"),
        pytest.param(ecdsa("nistp256", COMPRESSED), id="a compressed point"),
        pytest.param(ecdsa("nistp256", b"\0"), id="infinity"),
        pytest.param(ecdsa("nistp256", b""), id="no point"),
        pytest.param(ecdsa("nistp256", b"\x06" + UNCOMPRESSED[1:]), id="a hybrid point"),
        pytest.param(ecdsa("nistp256", UNCOMPRESSED[:-1] + b"\0"), id="off the curve"),
        pytest.param(
            string("ecdsa-sha2-nistp521") + string("nistp521") + string(b"\4"), id="a byte of P-521"
        ),
        pytest.param(Authenticator(SK_ED25519, "example.org").blob, id="a web site's key"),
        pytest.param(Authenticator(SK_ECDSA, "").blob, id="an empty application"),
        pytest.param(rsa(65537, (1 << 2046) + 1), id="a modulus of 2047 bits"),
        pytest.param(rsa(65537, (1 << 8192) + 1), id="a modulus of 8193 bits"),
        pytest.param(rsa(65537, MODULUS + 1), id="an even modulus"),
        pytest.param(rsa(1, MODULUS), id="an exponent of 1"),
        pytest.param(rsa(65536, MODULUS), id="an even exponent"),
        pytest.param(rsa((1 << 64) + 1, MODULUS), id="an exponent above 64 bits"),
        pytest.param(rsa(65537, MODULUS).replace(mpint(65537), string(b"\0\1\0\1")), id="a zero before it"),
        pytest.param(string("ssh-rsa") + string(b"") + mpint(MODULUS), id="an exponent of nothing"),
        pytest.param(string("ssh-rsa") + mpint(3) + string(b"\x80" + bytes(255)), id="a negative modulus"),
    ],
)
def test_what_is_no_key_that_is_taken_is_refused(blob: bytes) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_ssh_key_blob(blob)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize("bits", [2048, 8192], ids=["the shortest modulus", "the longest modulus"])
def test_the_bounds_of_a_modulus_belong_to_it(bits: int) -> None:
    assert parse_ssh_key_blob(rsa(3, (1 << (bits - 1)) + 1)).type == "ssh-rsa"


@needs_ssh_keygen
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_certificate_is_refused_by_its_name(tmp_path: Path, kind: str) -> None:
    for name, its_kind in (("ca", "ed25519"), ("key", kind)):
        assert keygen("-q", "-t", its_kind, "-N", "", "-f", tmp_path / name).returncode == 0
    certified = keygen("-q", "-s", tmp_path / "ca", "-I", "bob", "-n", "bob", tmp_path / "key.pub")
    assert certified.returncode == 0
    with pytest.raises(NexusControlError, match="certificate") as caught:
        parse_ssh_public_key((tmp_path / "key-cert.pub").read_text(encoding="utf-8"))
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        BOB.split(" ")[1],
        BOB.replace("ssh-ed25519", "ssh-rsa"),
        BOB.replace("ssh-ed25519", "SSH-ED25519"),
        BOB[:-1],
        BOB + "=",
        BOB + "\nbob",
        BOB + " bob\n" + BOB,
        BOB.replace("AAAA", "AA AA"),
        BOB + " " + "x" * 16_384,
        "\ud800 AAAA",
    ],
    ids=[
        "nothing",
        "no key",
        "no type",
        "another type",
        "a type in capitals",
        "cut short",
        "padding",
        "a second line",
        "two keys",
        "a space within",
        "too long",
        "half a character",
    ],
)
def test_what_is_no_line_with_a_key_is_refused(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_ssh_public_key(text)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@given(
    st.text(), st.binary(), st.sampled_from([BLOB, Authenticator(SK_ECDSA).blob, rsa(3, MODULUS)]), st.data()
)
def test_nothing_breaks_the_reader(text: str, octets: bytes, key: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(key)))
    for read in (
        lambda: parse_ssh_public_key(text),
        lambda: parse_ssh_public_key(public_line(string("ssh-ed25519") + octets)),
        lambda: parse_ssh_key_blob(octets),
        lambda: parse_ssh_key_blob(key[:cut] + octets),
    ):
        try:
            read()
        except NexusControlError as refused:
            assert refused.code is ErrorCode.INVALID_ARGUMENT
