import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats import keys
from nexus_control.evidence.formats.note import (
    COSIGNATURE,
    Checkpoint,
    Verifier,
    open_note,
    parse_checkpoint,
    parse_verifier,
    sign_note,
)
from nexus_control.evidence.formats.tlog_proof import LogProof, parse_log_proof
from tests.artifacts.samples import VECTORS, load

GOLDEN = load("evidence", "golden.json")
LOG, WITNESS = (parse_verifier(text) for text in GOLDEN["vkeys"])
INTEROP = VECTORS / "evidence" / "interop"

# The example in the documentation of Go's golang.org/x/mod/sumdb/note.
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)


def test_the_golden_checkpoint_is_written_and_read() -> None:
    note = open_note(GOLDEN["checkpoint"], [LOG, WITNESS])
    assert [signature.verifier for signature in note.signatures] == [LOG, WITNESS]
    assert note.signatures[1].time == 1767323100
    checkpoint = parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root.hex()) == (
        "nexus-control.example/test",
        3,
        GOLDEN["root"],
    )
    assert checkpoint.to_text() == note.text
    key = keys.private_from_seed(bytes([1]) * 32)
    signed = sign_note(checkpoint.to_text(), "nexus-control.example/test", key)
    assert GOLDEN["checkpoint"].startswith(signed)


def test_a_verifier_is_one_line() -> None:
    assert [str(LOG), str(WITNESS)] == GOLDEN["vkeys"]
    assert (LOG.type, WITNESS.type) == (1, 4)


def test_the_example_of_gos_package_verifies() -> None:
    note = open_note(PETERS_NOTE, [parse_verifier(PETER)])
    assert [signature.verifier.name for signature in note.signatures] == ["PeterNeumann"]


def test_signers_who_are_not_known_are_passed_over_by_name() -> None:
    note = open_note(GOLDEN["checkpoint"], [WITNESS])
    assert [signature.verifier for signature in note.signatures] == [WITNESS]
    assert note.unknown == ("nexus-control.example/test",)
    assert open_note(GOLDEN["checkpoint"], []).signatures == ()


def test_no_changed_byte_of_a_note_verifies() -> None:
    whole: bytes = GOLDEN["checkpoint"].encode()
    for position in range(len(whole)):
        spoiled = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        try:
            note = open_note(spoiled.decode(), [LOG, WITNESS])
        except (NexusControlError, UnicodeDecodeError):
            continue
        # A line whose name or key id was changed is of somebody unknown, and nothing rests on it.
        assert len(note.signatures) < 2, position


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name AAAA\n",
        "text\n\n— name AAAAAAA\n",
        "text\n\n- name AAAAAAAA\n",
        "text\n\n— na+me AAAAAAAA\n",
        "text\n\n— name AAAAAAAA",
        "text\n\n— name AAAAAAAA\n\n",
        "te\x07xt\n\n— name AAAAAAAA\n",
        "te\rxt\n\n— name AAAAAAAA\n",
        "te\ud800xt\n\n— name AAAAAAAA\n",
        "text\n\n— na\udfffme AAAAAAAA\n",
        "x" * 1_000_001 + "\n\n— name AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        open_note(note, [LOG])
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "no newline at its end": (lambda text: text[:-1], "lost its last newline"),
    "CRLF": (lambda text: text.replace("\n", "\r\n"), "CRLF"),
    "CRLF in one line": (lambda text: text.replace("\n", "\r\n", 1), "CRLF"),
    "a byte order mark": (lambda text: f"\ufeff{text}", "byte order mark"),
    "an empty line at its end": (lambda text: f"{text}\n", "empty line"),
}


@pytest.mark.parametrize(("damage", "said"), DAMAGE.values(), ids=DAMAGE)
def test_what_a_transfer_does_to_a_checkpoint_or_a_proof_is_named_with_what_to_do(
    damage: Callable[[str], str], said: str
) -> None:
    proof = (INTEROP / "package.tlog-proof").read_text(encoding="utf-8")
    for read in (
        lambda: open_note(damage(GOLDEN["checkpoint"]), [LOG]),
        lambda: parse_log_proof(damage(proof)),
    ):
        with pytest.raises(NexusControlError, match=said) as caught:
            read()
        assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH
        assert "fetch it again" in caught.value.message


@pytest.mark.parametrize(("time", "taken"), [(2**63 - 1, True), (2**63, False), (2**64 - 1, False)])
def test_the_time_of_a_witness_is_below_2_to_the_63(time: int, taken: bool) -> None:
    key = keys.private_from_seed(bytes([7]) * 32)
    witness = Verifier(name="witness", key=key.public, type=COSIGNATURE)
    text = "origin\n3\n" + base64.b64encode(bytes(32)).decode() + "\n"
    signed = key.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    line = base64.b64encode(witness.key_id + time.to_bytes(8, "big") + signed).decode()
    note = f"{text}\n\u2014 witness {line}\n"
    if taken:
        assert open_note(note, [witness]).signatures[0].time == time
        return
    with pytest.raises(NexusControlError, match="2\\^63") as caught:
        open_note(note, [witness])
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


def test_extension_lines_of_a_checkpoint_are_passed_over() -> None:
    text = "origin\n3\n" + base64.b64encode(bytes(32)).decode() + "\nextension\nanother\n"
    assert parse_checkpoint(text).size == 3


@pytest.mark.parametrize(
    ("extra", "taken"),
    [("extra AAAA\n", True), ("extra AAA\n", False), ("extra\n", False), ("extra AAAA\nextra AAAA\n", False)],
)
def test_a_proof_may_have_one_extra_line(extra: str, taken: bool) -> None:
    text = (INTEROP / "package.tlog-proof").read_text(encoding="utf-8")
    with_extra = text.replace("\nindex", f"\n{extra}index", 1)
    behind = text.replace("\n\n", f"\n{extra}\n", 1)
    if taken:
        proof = parse_log_proof(with_extra)
        assert (proof.extra, proof.to_text()) == (bytes(3), with_extra)
        assert replace(proof, extra=None) == parse_log_proof(text)
    for refused in (behind,) if taken else (behind, with_extra):
        with pytest.raises(NexusControlError) as caught:
            parse_log_proof(refused)
        assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


def test_a_wrong_signature_of_a_known_signer_spoils_the_note() -> None:
    with pytest.raises(NexusControlError) as caught:
        open_note(PETERS_NOTE.replace("problem", "question", 1), [parse_verifier(PETER)])
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin\n3\n",
        "origin\n03\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "origin\n-1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "origin\n3\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "\n3\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "origin\n3\n" + base64.b64encode(bytes(32)).decode(),
        f"origin\n{10**19}\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "origin\n3\n" + base64.b64encode(bytes(32)).decode() + "\n\n",
        "origin\n3\n" + base64.b64encode(bytes(32)).decode() + "\n\nextension\n",
        "origin\n3\n" + base64.b64encode(bytes(32)).decode() + "\nextension",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_checkpoint(text)
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000",
        "na me+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("ARpc", "AhpC"),
        "name\ud800+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        PETER[:-4],
        PETER[:-1] + "=",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    with pytest.raises(NexusControlError) as caught:
        parse_verifier(text)
    assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_anothers_proof_reads_and_is_written_as_it_was() -> None:
    text = (INTEROP / "package.tlog-proof").read_text(encoding="utf-8")
    proof = parse_log_proof(text)
    assert proof.to_text() == text
    assert (proof.index, proof.origin, len(proof.path)) == (31, "nexus-control.example/8f14e45f", 6)
    assert proof.note == (INTEROP / "checkpoint").read_text(encoding="utf-8")
    head: dict[str, Any] = load("evidence", "interop", "package.json")
    assert head["package_version"] == "0.6"
    leaf = bytes.fromhex("2871a59c89e649b7088ea467541c42608190f3f2322d6be76a50b77a9407230d")
    proof.require_leaf(leaf)
    with pytest.raises(NexusControlError) as caught:
        proof.require_leaf(bytes(32))
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH


def test_no_changed_character_of_a_proof_proves_the_same() -> None:
    text = (INTEROP / "package.tlog-proof").read_text(encoding="utf-8")
    leaf = bytes.fromhex("2871a59c89e649b7088ea467541c42608190f3f2322d6be76a50b77a9407230d")
    hashed = text.index("\n", text.index("vvGG"))  # what follows is signatures, which are not checked here
    for position in range(hashed):
        spoiled = text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]
        try:
            proof = parse_log_proof(spoiled)
            proof.require_leaf(leaf)
        except NexusControlError as refused:
            assert refused.code is ErrorCode.INTEGRITY_MISMATCH
            continue
        # Origin, and size where the path has the same shape: no hash covers them, the signature does.
        assert proof.note.split("\n")[:2] != ["nexus-control.example/8f14e45f", "47"], position


def test_a_proof_of_our_own_reads_back() -> None:
    key = keys.generate()
    checkpoint = Checkpoint(origin="here", size=1, root=bytes(32))
    proof = LogProof(index=0, path=(), note=sign_note(checkpoint.to_text(), "here", key))
    assert parse_log_proof(proof.to_text()) == proof
    proof.require_leaf(bytes(32))
    assert proof.signed_by([Verifier(name="here", key=key.public)]).signatures


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@v1", "@v2"),
        ("index 31", "index 031"),
        ("index 31\n", ""),
        ("qfnHu8wz", "qfnHu8w"),
        ("\n\n", "\n"),
        ("qfnHu8wzX+L54KMeGjexGaqhX4eQjwmvfBRbtGx7e18=\n", "AAAA\n" * 80),
    ],
    ids=["version", "two spellings", "no index", "short hash", "no empty line", "too long"],
)
def test_what_is_no_proof_is_refused(old: str, new: str) -> None:
    text = (INTEROP / "package.tlog-proof").read_text(encoding="utf-8")
    with pytest.raises(NexusControlError) as caught:
        parse_log_proof(text.replace(old, new, 1))
    assert caught.value.code is ErrorCode.INTEGRITY_MISMATCH
