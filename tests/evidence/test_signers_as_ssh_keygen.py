"""`ssh-keygen -Y verify` and ours on generated allowed_signers files: they agree, but for differences with a name."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.allowed_signers import parse_allowed_signers
from nexus_control.evidence.formats.sshsig import parse_ssh_signature
from tests.evidence.signers_files import DIFFERENCES, MESSAGE, File, Signer, generated, signers
from tests.evidence.ssh import NAMESPACE, keygen, needs_ssh_keygen
from tests.support.amounts import number_of
from tests.support.places import REPOSITORY

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
SEED, PARTS, FILES = 20261123, number_of(4, few=1), 130
PAGE = REPOSITORY / "docs" / "reference" / "signatures.md"

pytestmark = needs_ssh_keygen


@cache
def known() -> dict[str, Signer]:
    return signers()


def files(part: int) -> list[File]:
    random = Random(SEED + part)
    return [generated(random, known()) for _ in range(FILES)]


def ours(content: bytes, principal: str, signature: str) -> bool:
    allowed = parse_allowed_signers(content)
    try:
        read = parse_ssh_signature(signature)
        signer = allowed.signer_for(principal, read.key, NAMESPACE, NOW)
        if signer is None:
            return False
        read.require_over(MESSAGE, NAMESPACE)
        if signer.verify_required:
            read.require_verified_user()
    except NexusControlError as refused:
        assert refused.code is ErrorCode.SIGNATURE_INVALID
        return False
    return True


def theirs(folder: Path, content: bytes, principal: str, signature: str, zone: str = "WEST+5") -> bool:
    """What ssh-keygen says, in a zone in which a time without Z is another one."""
    folder.joinpath("allowed").write_bytes(content)
    folder.joinpath("signature").write_text(signature, encoding="utf-8")
    named = ("-f", folder / "allowed", "-s", folder / "signature", "-I", principal, "-n", NAMESPACE)
    time = f"-Overify-time={NOW:%Y%m%d%H%M%SZ}"
    return keygen("-Y", "verify", *named, time, stdin=MESSAGE, zone=zone).returncode == 0


@pytest.mark.parametrize("part", range(PARTS))
def test_both_say_the_same_of_generated_files(tmp_path: Path, part: int) -> None:
    made = files(part)
    verdicts = [
        (
            ours(file.content, file.principal, file.signature),
            theirs(tmp_path, file.twin, file.principal.casefold(), file.signature),
        )
        for file in made
    ]
    differing = [file for file, (one, other) in zip(made, verdicts, strict=True) if one is not other]
    assert differing == []
    plain = [one for file, (one, _) in zip(made, verdicts, strict=True) if not file.classes]
    assert len(plain) >= 75  # of these ssh-keygen read the very bytes that ours did
    assert min(plain.count(True), plain.count(False)) >= 20


EXAMPLES: dict[str, tuple[str, str]] = {
    "case": ("BOB {ed25519}", "ed25519"),
    "characters": ("b??b {ed25519}", "ed25519"),
    "zone": ('bob valid-after="20261123120000" {ed25519}', "ed25519"),
    "verify-required": ("bob verify-required {sk-ecdsa}", "sk-ecdsa"),
    "calendar": ('bob valid-after="20260230Z" {ed25519}', "ed25519"),
    "control": ("bob {ed25519} a\0b", "ed25519"),
    "hidden": ("\u200bcarol,bob {ed25519}", "ed25519"),
    "weak key": ("bob {weak}", "weak"),
    "web site": ("bob {web site}", "web site"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_a_difference_is_one_and_its_reason_is_written_where_people_read(tmp_path: Path, name: str) -> None:
    line, key = EXAMPLES[name]
    content = line.format_map({each: signer.key.text.decode() for each, signer in known().items()}).encode()
    signature, principal = known()[key].signature, "b\u00f6b" if name == "characters" else "bob"
    said = theirs(tmp_path, content, principal, signature)
    assert said is not ours(content, principal, signature)
    prose = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert DIFFERENCES[name] in prose
