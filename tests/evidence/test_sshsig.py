import base64
import re
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.ssh_keys import parse_ssh_public_key
from nexus_control.evidence.formats.sshsig import as_ssh_keygen_writes, parse_ssh_signature
from tests.artifacts.samples import VECTORS, load
from tests.evidence.ssh import (
    NAMESPACE,
    SK_ECDSA,
    SK_ED25519,
    Authenticator,
    armor,
    blob_of,
    ed25519,
    keygen,
    mpint,
    needs_ssh_keygen,
    public_line,
    signed,
    sshsig,
    string,
    to_sign,
    verified_by_ssh_keygen,
)

GOLDEN = load("evidence", "golden.json")
INTEROP = VECTORS / "evidence" / "interop"
MESSAGE = b"a message"

KINDS = {
    "ed25519": ("-t", "ed25519"),
    "ecdsa 256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa 384": ("-t", "ecdsa", "-b", "384"),
    "ecdsa 521": ("-t", "ecdsa", "-b", "521"),
    "rsa 3072": ("-t", "rsa", "-b", "3072"),
}
HASHES: dict[str, tuple[str, ...]] = {"sha512": (), "sha256": ("-O", "hashalg=sha256")}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a private key of each kind, as ssh-keygen makes them."""
    folder = tmp_path_factory.mktemp("keys")
    if shutil.which("ssh-keygen"):
        for name, options in KINDS.items():
            made = keygen("-q", *options, "-N", "", "-C", "bob at home", "-f", folder / name)
            assert made.returncode == 0, made.stderr
    return folder


def sign(key: Path, *options: str) -> str:
    done = keygen("-Y", "sign", "-f", key, "-n", NAMESPACE, *options, stdin=MESSAGE)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def refused(armored: str, message: bytes = MESSAGE, *, verified_user: bool = False) -> bool:
    """Whether the signature is refused, when it is read or when it is verified, and by its one code."""
    try:
        signature = parse_ssh_signature(armored)
        signature.require_over(message, NAMESPACE)
        if verified_user:
            signature.require_verified_user()
    except NexusControlError as error:
        assert error.code is ErrorCode.SIGNATURE_INVALID
        return True
    return False


def test_the_golden_approval_is_bobs() -> None:
    signature = parse_ssh_signature(GOLDEN["approval_sshsig"])
    assert signature.key == parse_ssh_public_key(GOLDEN["bob_ssh"])
    assert (signature.namespace, signature.hash_algorithm) == (NAMESPACE, "sha512")
    assert (signature.algorithm, len(signature.signature), signature.touch) == ("ssh-ed25519", 64, None)
    signature.require_over(GOLDEN["approval_statement"].encode(), NAMESPACE)
    assert signed(3, GOLDEN["approval_statement"].encode()) == GOLDEN["approval_sshsig"]


def test_an_approval_that_ssh_keygen_signed_verifies() -> None:
    signature = parse_ssh_signature((INTEROP / "approval.json.sig").read_text(encoding="utf-8"))
    signature.require_over((INTEROP / "approval.json").read_bytes(), NAMESPACE)
    assert signature.key == parse_ssh_public_key((INTEROP / "bob.pub").read_text(encoding="utf-8"))


@needs_ssh_keygen
@pytest.mark.parametrize("hash_algorithm", HASHES)
@pytest.mark.parametrize("kind", KINDS)
def test_what_ssh_keygen_signs_verifies(keys: Path, kind: str, hash_algorithm: str) -> None:
    signature = parse_ssh_signature(sign(keys / kind, *HASHES[hash_algorithm]))
    signature.require_over(MESSAGE, NAMESPACE)
    assert signature.hash_algorithm == hash_algorithm
    assert signature.key == parse_ssh_public_key((keys / f"{kind}.pub").read_text(encoding="utf-8"))


@needs_ssh_keygen
@pytest.mark.parametrize("kind", KINDS)
def test_no_changed_byte_of_a_signature_or_message_verifies(keys: Path, kind: str) -> None:
    armored = sign(keys / kind)
    blob = blob_of(armored)
    assert not refused(armor(blob))
    for position in range(len(blob)):
        assert refused(armor(changed(blob, position))), position
    for position in range(len(MESSAGE)):
        assert refused(armored, changed(MESSAGE, position)), position
    assert refused(armored, MESSAGE + b"\n")


def test_no_changed_character_of_the_golden_approval_verifies() -> None:
    armored: bytes = GOLDEN["approval_sshsig"].encode()
    message: bytes = GOLDEN["approval_statement"].encode()
    for position in range(len(armored)):
        assert refused(changed(armored, position).decode(), message), position
    for position in range(len(message)):
        assert refused(armored.decode(), changed(message, position)), position


def test_a_signature_for_another_namespace_is_refused() -> None:
    signature = parse_ssh_signature(signed(3, MESSAGE, "file"))
    signature.require_over(MESSAGE, "file")
    for namespace in (NAMESPACE, "", "FILE", "file\0"):
        with pytest.raises(NexusControlError, match="namespace") as caught:
            signature.require_over(MESSAGE, namespace)
        assert caught.value.code is ErrorCode.SIGNATURE_INVALID


KEY, SIGN = ed25519(3)
VALUE = SIGN(to_sign(MESSAGE))
INNER = string("ssh-ed25519") + string(VALUE)
P256 = string("ecdsa-sha2-nistp256") + string("nistp256")
P256_KEY = (
    P256 + Authenticator(SK_ECDSA).blob[len(string(SK_ECDSA) + string("nistp256")) : -len(string("ssh:"))]
)
IDENTITY = string("ssh-ed25519") + string(b"\1" + bytes(31))


def ecdsa(*numbers: bytes) -> bytes:
    return sshsig(P256_KEY, string("ecdsa-sha2-nistp256") + string(b"".join(numbers)))


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(sshsig(KEY, INNER, magic=b"SSHSIH"), id="another magic"),
        pytest.param(sshsig(KEY, INNER, version=2), id="version 2"),
        pytest.param(sshsig(KEY, INNER, namespace=""), id="no namespace"),
        pytest.param(sshsig(KEY, INNER, namespace=NAMESPACE + "\0"), id="a namespace with NUL"),
        pytest.param(sshsig(KEY, INNER, namespace=b"\xff"), id="a namespace that is not UTF-8"),
        pytest.param(sshsig(KEY, INNER, reserved="x"), id="something reserved"),
        pytest.param(sshsig(KEY, INNER, hash_algorithm="sha384"), id="another hash"),
        pytest.param(sshsig(KEY, INNER, hash_algorithm="SHA512"), id="a hash in capitals"),
        pytest.param(sshsig(KEY, INNER, after=b"\0"), id="a byte after it"),
        pytest.param(sshsig(KEY, INNER)[:-1], id="cut short"),
        pytest.param(sshsig(KEY, INNER + b"\1\0\0\0\7"), id="flags under a key that has none"),
        pytest.param(sshsig(KEY, string("ssh-rsa") + string(VALUE)), id="another algorithm"),
        pytest.param(sshsig(KEY, string("ssh-ed25519") + string(VALUE[:-1])), id="63 bytes"),
        pytest.param(sshsig(KEY, string("ssh-ed25519") + string(VALUE + b"\0")), id="65 bytes"),
        pytest.param(sshsig(IDENTITY, string("ssh-ed25519") + string(b"\1" + bytes(63))), id="a weak key"),
        pytest.param(ecdsa(mpint(1)), id="r alone"),
        pytest.param(ecdsa(mpint(1), mpint(1), mpint(1)), id="three numbers"),
        pytest.param(ecdsa(mpint(1), string(b"\0\1")), id="a number with a zero before it"),
        pytest.param(ecdsa(mpint(1), string(b"")), id="s of zero"),
        pytest.param(ecdsa(string(b"\xff"), mpint(1)), id="a negative r"),
        pytest.param(ecdsa(mpint(1), mpint(1 << 4096)), id="a huge s"),
        pytest.param(ecdsa(mpint(1), mpint(1)), id="an ECDSA signature of nothing"),
    ],
)
def test_a_blob_that_breaks_the_format_is_refused(blob: bytes) -> None:
    assert refused(armor(blob))


ARMOR: str = GOLDEN["approval_sshsig"]
ONE_LINE = base64.b64encode(blob_of(ARMOR)).decode()


@pytest.mark.parametrize(
    ("armored", "taken"),
    [
        pytest.param(ARMOR, True, id="as ssh-keygen writes it"),
        pytest.param(ARMOR.replace("\n", "\r\n"), True, id="CRLF"),
        pytest.param(ARMOR[:-1], True, id="no newline at the end"),
        pytest.param(ARMOR.replace("\n", "\r\n", 1), False, id="CRLF once"),
        pytest.param(ARMOR + "\n", False, id="an empty line after it"),
        pytest.param("\n" + ARMOR, False, id="an empty line before it"),
        pytest.param(ARMOR + ARMOR, False, id="two of them"),
        pytest.param(ARMOR.replace("\n", "\n\n", 2), False, id="empty lines within"),
        pytest.param(ARMOR.replace("U1", "U 1", 1), False, id="a space within"),
        pytest.param(ARMOR.replace("U1", "U=1", 1), False, id="padding within"),
        pytest.param(ARMOR.replace("BEGIN SSH", "BEGIN PGP"), False, id="another armor"),
        pytest.param(
            f"-----BEGIN SSH SIGNATURE-----\n{ONE_LINE}\n-----END SSH SIGNATURE-----\n",
            False,
            id="one long line",
        ),
        pytest.param(ARMOR.replace("\n", "\n" + "AAAA\n" * 8192, 1), False, id="too long"),
    ],
)
def test_the_armor_is_read_as_ssh_keygen_writes_it(armored: str, taken: bool) -> None:
    assert refused(armored, GOLDEN["approval_statement"].encode()) is not taken


DAMAGED = {
    "CRLF": ARMOR.replace("\n", "\r\n"),
    "CRLF once": ARMOR.replace("\n", "\r\n", 1),
    "a byte order mark": "\ufeff" + ARMOR,
    "blanks at the ends of lines": ARMOR.replace("\n", " \t\n"),
    "no newline at the end": ARMOR[:-1],
    "empty lines around it": f"\r\n\n{ARMOR}\r\n\n",
    "lines of 76": "\n".join(
        (ARMOR.splitlines()[0], *re.findall(".{1,76}", ONE_LINE), ARMOR.splitlines()[-1])
    ),
}


@needs_ssh_keygen
@pytest.mark.parametrize("armored", DAMAGED.values(), ids=DAMAGED)
def test_what_a_transfer_does_to_an_armor_is_undone_so_that_ssh_keygen_reads_it(
    tmp_path: Path, armored: str
) -> None:
    mended = as_ssh_keygen_writes(armored)
    assert mended == ARMOR
    allowed, message = f"bob@example.com {GOLDEN['bob_ssh']}\n", GOLDEN["approval_statement"].encode()
    assert verified_by_ssh_keygen(tmp_path, allowed, mended, message)


@pytest.mark.parametrize(
    "armored", ["", "nonsense", ARMOR + "x", ARMOR.replace("U1", "U 1", 1), ARMOR + ARMOR], ids=range(5)
)
def test_what_is_no_armor_is_not_mended(armored: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        as_ssh_keygen_writes(armored)
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


def test_base64_has_one_spelling() -> None:
    armored = signed(3, MESSAGE, "email")
    assert len(blob_of(armored)) % 3 == 1
    assert "==\n" in armored
    parse_ssh_signature(armored).require_over(MESSAGE, "email")
    last = armored[armored.index("==\n") - 1]
    spelled = armored.replace(f"{last}==\n", f"{chr(ord(last) + 1)}==\n")
    assert blob_of(spelled) == blob_of(armored)
    for other in (spelled, armored.replace("==\n", "=\n"), armored.replace("==\n", "\n")):
        with pytest.raises(NexusControlError) as caught:
            parse_ssh_signature(other)
        assert caught.value.code is ErrorCode.SIGNATURE_INVALID


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
@pytest.mark.parametrize(
    ("flags", "touched", "verified"),
    [(0x00, False, False), (0x01, True, False), (0x04, False, False), (0x05, True, True)],
    ids=["nothing", "touched", "verified untouched", "touched and verified"],
)
def test_a_security_key_must_be_touched(kind: str, flags: int, touched: bool, verified: bool) -> None:
    armored = Authenticator(kind).signed(MESSAGE, flags)
    assert refused(armored) is not touched
    assert refused(armored, verified_user=True) is not verified
    touch = parse_ssh_signature(armored).touch
    assert touch is not None
    assert (touch.flags, touch.counter) == (flags, 7)


@needs_ssh_keygen
@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
@pytest.mark.parametrize("application", ["ssh:", "ssh:nexus"])
def test_ssh_keygen_accepts_the_same_security_key(tmp_path: Path, kind: str, application: str) -> None:
    device = Authenticator(kind, application)
    allowed = f"bob@example.com {public_line(device.blob)}\n"
    for flags in (0x01, 0x05):
        assert verified_by_ssh_keygen(tmp_path, allowed, device.signed(MESSAGE, flags), MESSAGE)
        assert not refused(device.signed(MESSAGE, flags))
    # This is what ours is stricter in.
    assert verified_by_ssh_keygen(tmp_path, allowed, device.signed(MESSAGE, 0x00), MESSAGE)
    assert not verified_by_ssh_keygen(tmp_path, allowed, device.signed(b"another", 0x01), MESSAGE)


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
def test_no_changed_byte_of_a_security_keys_signature_verifies(kind: str) -> None:
    device = Authenticator(kind)
    blob = blob_of(device.signed(MESSAGE, 0x05))
    for position in range(len(blob)):
        assert refused(armor(changed(blob, position))), position
    assert refused(armor(blob[:-1]))
    assert refused(device.signed(MESSAGE, 0x05, after=b"\0"))


def test_only_a_security_key_can_say_that_it_verified_its_user() -> None:
    assert not refused(signed(3, MESSAGE))
    assert refused(signed(3, MESSAGE), verified_user=True)


def test_an_rsa_signature_may_lack_its_leading_zeros_and_nothing_else() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    numbers = private.public_key().public_numbers()
    key = string("ssh-rsa") + mpint(numbers.e) + mpint(numbers.n)
    message, value = next(
        (message, value)
        for message in (str(number).encode() for number in range(100_000))
        if (value := private.sign(to_sign(message), padding.PKCS1v15(), hashes.SHA512()))[0] == 0
    )

    def with_value(written: bytes, algorithm: str = "rsa-sha2-512") -> str:
        return armor(sshsig(key, string(algorithm) + string(written)))

    assert not refused(with_value(value), message)
    assert not refused(with_value(value.lstrip(b"\0")), message)
    assert refused(with_value(b"\0" + value), message)
    assert refused(with_value(value[:-1]), message)
    assert refused(with_value(b""), message)
    assert refused(with_value(b"\xff" * 256), message)
    assert refused(with_value(value, "rsa-sha2-256"), message)
    assert refused(with_value(value, "ssh-rsa"), message)


@pytest.mark.parametrize("bits", [2048, 3073, 8192])
@pytest.mark.parametrize("exponent", [3, 65537, 2**64 - 1])
def test_an_rsa_key_that_is_taken_says_no_and_never_breaks(bits: int, exponent: int) -> None:
    key = string("ssh-rsa") + mpint(exponent) + mpint((1 << (bits - 1)) + 1)
    for value in (b"", b"\0", b"\1" * (bits // 8), b"\xff" * 1025):
        assert refused(armor(sshsig(key, string("rsa-sha2-512") + string(value))))


@given(st.text())
def test_no_text_breaks_the_reader(text: str) -> None:
    assert refused(text)


@given(st.binary(), st.binary(), st.sampled_from([KEY, P256_KEY, Authenticator(SK_ED25519).blob]))
def test_no_blob_breaks_the_reader(inner: bytes, value: bytes, key: bytes) -> None:
    kind = key[4 : 4 + key[3]]
    assert refused(armor(b"SSHSIG\0\0\0\1" + inner))
    assert refused(armor(sshsig(key, inner)))
    assert refused(armor(sshsig(key, string(kind) + string(value))))


@given(st.integers(0, len(blob_of(ARMOR))), st.binary(max_size=8))
def test_no_insertion_verifies(position: int, inserted: bytes) -> None:
    blob = blob_of(ARMOR)
    spoiled = blob[:position] + inserted + blob[position:]
    assert refused(armor(spoiled), GOLDEN["approval_statement"].encode()) is (spoiled != blob)


def changed(octets: bytes, position: int) -> bytes:
    return octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]
