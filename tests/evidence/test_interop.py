"""A package that others signed and logged with their own tools: it verifies, and nothing of it can be changed."""

import re

from nexus_control import Trust
from nexus_control.errors import NexusControlError
from nexus_control.evidence.formats.keys import public_from_pem
from nexus_control.evidence.formats.note import Verifier, open_note, parse_checkpoint
from tests.artifacts.samples import VECTORS
from tests.evidence.signed_packages import Signed
from tests.support.amounts import sample_of

INTEROP = VECTORS / "evidence" / "interop"
OPERATOR = public_from_pem((INTEROP / "operator.pub").read_text())
THEIR_LOG = Verifier(name="nexus-control.example/8f14e45f", key=OPERATOR)
THEIRS = Signed(
    package=(INTEROP / "package.json").read_bytes(),
    envelope=(INTEROP / "package.dsse.json").read_text(),
    trust=Trust(package_keys=[OPERATOR.to_pem()], log_keys=[str(THEIR_LOG)]),
)
THEIR_PROOF = (INTEROP / "package.tlog-proof").read_text(encoding="utf-8")


def test_a_package_that_others_signed_and_logged_verifies() -> None:
    report = THEIRS.verified(log_proof=THEIR_PROOF, require="L1")
    found = {check.name: check.status for check in report.checks}
    passing = ("chain", "package_signature", "log_inclusion", "checkpoint_signature")
    assert {found[name] for name in passing} == {"pass"}
    assert (report.ok, report.level) == (True, "L3")
    alone = THEIRS.verified(require="L1")  # it names no chain hash itself
    assert (alone.ok, alone.reached) == (True, ("L0", "L1", "L3"))


def flipped(text: str, position: int) -> str:
    return text[:position] + chr(ord(text[position]) ^ 1) + text[position + 1 :]


def test_no_byte_of_what_others_signed_can_be_changed() -> None:
    for position in sample_of(range(0, len(THEIRS.package), 7), 60):
        spoiled = bytearray(THEIRS.package)
        spoiled[position] ^= 1
        assert not THEIRS.but(package=bytes(spoiled)).verified(log_proof=THEIR_PROOF, require="L0").ok, (
            position
        )
    hint = re.search('"keyid": *"([^"]*)"', THEIRS.envelope)
    assert hint is not None
    for position in sample_of(range(len(THEIRS.envelope)), 120):
        if position not in range(*hint.span(1)):
            spoiled = THEIRS.but(envelope=flipped(THEIRS.envelope, position))
            assert "L3" not in spoiled.verified(log_proof=THEIR_PROOF).reached, position


def test_no_character_of_the_proof_of_others_can_be_changed_but_those_of_a_witness_who_is_not_known() -> None:
    unknown = THEIR_PROOF.index("\N{EM DASH} witness.example")
    for position in sample_of(range(unknown), 120):
        report = THEIRS.verified(log_proof=flipped(THEIR_PROOF, position), require="L0")
        assert not report.ok, position


def test_the_checkpoint_of_others_is_signed_by_their_log_and_no_byte_of_it_can_be_changed() -> None:
    note = (INTEROP / "checkpoint").read_text(encoding="utf-8")
    opened = open_note(note, [THEIR_LOG])
    assert [signature.verifier for signature in opened.signatures] == [THEIR_LOG]
    assert opened.unknown == ("witness.example/w1",)
    checkpoint = parse_checkpoint(opened.text)
    assert (checkpoint.origin, checkpoint.size) == ("nexus-control.example/8f14e45f", 47)
    for position in range(note.index("\N{EM DASH} witness.example")):
        try:
            again = open_note(flipped(note, position), [THEIR_LOG])
        except NexusControlError:
            continue
        assert again.signatures == (), position
