import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.evidence.formats.allowed_signers import AllowedSigner, parse_allowed_signers
from nexus_control.evidence.formats.ssh_keys import parse_ssh_key_blob
from nexus_control.evidence.formats.sshsig import parse_ssh_signature
from nexus_control.values.actors import fold_id, id_problem
from tests.artifacts.samples import VECTORS
from tests.evidence.ssh import (
    NAMESPACE,
    SK_ED25519,
    Authenticator,
    ed25519,
    keygen,
    needs_ssh_keygen,
    public_line,
    signed,
    verified_by_ssh_keygen,
)

INTEROP = VECTORS / "evidence" / "interop"
MESSAGE = b"a message"
BOB = "bob@example.com"
BLOB = ed25519(3)[0]
KEY = public_line(BLOB)
OTHER = public_line(ed25519(4)[0])
SK = public_line(Authenticator(SK_ED25519).blob)
NOW = "20261123120000Z"


def instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def allowed(
    text: str, principal: str = BOB, namespace: str = NAMESPACE, at: str = NOW, key: bytes = BLOB
) -> AllowedSigner | None:
    return parse_allowed_signers(text).signer_for(principal, parse_ssh_key_blob(key), namespace, instant(at))


def refusal(text: str, principal: str = BOB, namespace: str = NAMESPACE, at: str = NOW) -> str:
    return parse_allowed_signers(text).refusal(principal, parse_ssh_key_blob(BLOB), namespace, instant(at))


@pytest.mark.parametrize(
    ("at", "valid"),
    [
        ("20250101000000Z", False),
        ("20251231235959Z", False),
        ("20260101000000Z", True),
        ("20261123000000Z", True),
        ("20270101000000Z", True),
        ("20270101000001Z", False),
    ],
)
@needs_ssh_keygen
def test_the_signer_of_anothers_file_is_found_while_the_line_is_valid(
    tmp_path: Path, at: str, valid: bool
) -> None:
    text = (INTEROP / "allowed_signers").read_text(encoding="utf-8")
    armored = (INTEROP / "approval.json.sig").read_text(encoding="utf-8")
    message = (INTEROP / "approval.json").read_bytes()
    signature = parse_ssh_signature(armored)
    signature.require_over(message, NAMESPACE)
    signers = parse_allowed_signers(text)
    signer = signers.signer_for(BOB, signature.key, NAMESPACE, instant(at))
    assert (signer is not None) is valid
    assert ("not valid at" in signers.refusal(BOB, signature.key, NAMESPACE, instant(at))) is not valid
    assert verified_by_ssh_keygen(tmp_path, text, armored, message, f"-Overify-time={at}") is valid
    assert signers.signer_for("carol@example.com", signature.key, NAMESPACE, instant(at)) is None


@pytest.mark.sample(20)
@pytest.mark.parametrize(
    ("line", "principal", "expected"),
    [
        pytest.param(f"{BOB} {KEY}", BOB, True, id="plain"),
        pytest.param(f'{BOB} {KEY} a comment, with = and "', BOB, True, id="comment"),
        pytest.param(f" \t{BOB}\t {KEY}\t", BOB, True, id="blanks"),
        pytest.param(f"{BOB} {KEY}\r", BOB, True, id="CR at the end"),
        pytest.param(f"# {BOB} {KEY}", BOB, False, id="a comment line"),
        pytest.param(f"  # a comment\n\n \t\n{BOB} {KEY}", BOB, True, id="comments and empty lines"),
        pytest.param(f"{BOB} {OTHER}\n{BOB} {KEY}", BOB, True, id="the second key"),
        pytest.param(f"{BOB} {OTHER}", BOB, False, id="another key"),
        pytest.param(f"carol {KEY}", BOB, False, id="another principal"),
        pytest.param(f"carol,{BOB} {KEY}", BOB, True, id="one of two"),
        pytest.param(f"*@example.com {KEY}", BOB, True, id="a star"),
        pytest.param(f"* {KEY}", BOB, True, id="everybody"),
        pytest.param(f"b*b*@*.com {KEY}", BOB, True, id="three stars"),
        pytest.param(f"*@example.co {KEY}", BOB, False, id="a star, and less"),
        pytest.param(f"*bob@example.com* {KEY}", BOB, True, id="stars for nothing"),
        pytest.param(f"b?b@example.com {KEY}", BOB, True, id="a question mark"),
        pytest.param(f"bob?@example.com {KEY}", BOB, False, id="a question mark for nothing"),
        pytest.param(f"*,!bob@* {KEY}", BOB, False, id="negated"),
        pytest.param(f"!bob@*,* {KEY}", BOB, False, id="negated first"),
        pytest.param(f"!carol {KEY}", BOB, False, id="a negation alone"),
        pytest.param(f"*,!carol {KEY}", BOB, True, id="another negated"),
        pytest.param(f'"bob smith" {KEY}', "bob smith", True, id="quoted, with a space"),
        pytest.param(f'"bob smith,carol" {KEY}', "carol", True, id="two in quotes"),
        pytest.param(f'"bob smith" namespaces="n*" {KEY}', "bob smith", True, id="quoted, with options"),
        pytest.param(f'{BOB} namespaces="{NAMESPACE}" {KEY}', BOB, True, id="its namespace"),
        pytest.param(f'{BOB} NameSpaces="{NAMESPACE}" {KEY}', BOB, True, id="an option in capitals"),
        pytest.param(f'{BOB} namespaces="file" {KEY}', BOB, False, id="another namespace"),
        pytest.param(f'{BOB} namespaces="file,nexus-*" {KEY}', BOB, True, id="a pattern of namespaces"),
        pytest.param(f'{BOB} namespaces="*,!nexus-*" {KEY}', BOB, False, id="a negated namespace"),
        pytest.param(f'{BOB} namespaces="NEXUS-*" {KEY}', BOB, False, id="a namespace in capitals"),
        pytest.param(f'{BOB} namespaces="" {KEY}', BOB, False, id="no namespace"),
        pytest.param(f'{BOB} namespaces="a \\" b,{NAMESPACE}" {KEY}', BOB, True, id="an escaped quote"),
        pytest.param(f'{BOB} namespaces="a\\b,{NAMESPACE}" {KEY}', BOB, True, id="a backslash"),
        pytest.param(f'{BOB} valid-after="20261123120000Z" {KEY}', BOB, True, id="from now"),
        pytest.param(f'{BOB} valid-after="20261123120001Z" {KEY}', BOB, False, id="from the next second"),
        pytest.param(f'{BOB} valid-before="20261123120000Z" {KEY}', BOB, True, id="until now"),
        pytest.param(f'{BOB} valid-before="20261123115959Z" {KEY}', BOB, False, id="until the last second"),
        pytest.param(f'{BOB} valid-before="202611231200Z" {KEY}', BOB, True, id="to the minute"),
        pytest.param(f'{BOB} valid-before="20261123Z" {KEY}', BOB, False, id="to the day"),
        pytest.param(f'{BOB} valid-after="20261123" {KEY}', BOB, True, id="without Z, in UTC"),
        pytest.param(f'{BOB} valid-after="20261123z" {KEY}', BOB, True, id="a small z"),
        pytest.param(f'{BOB} valid-after="20261123UTC" {KEY}', BOB, True, id="UTC for Z"),
        pytest.param(f'{BOB} ,namespaces="*",,valid-after="20260101Z" {KEY}', BOB, True, id="commas"),
        pytest.param(f"{BOB},,carol {KEY}", BOB, True, id="an empty principal"),
        pytest.param(f'"carol, {BOB}" {KEY}', BOB, False, id="a space after a comma"),
        pytest.param(f'"{BOB}"{KEY}', BOB, True, id="no space after a quote"),
        pytest.param(f'bo"b smith" {KEY}', "bob smith", True, id="a quote within a principal"),
        pytest.param(f'"bob"@example.com {KEY}', BOB, False, id="a quote that ends within one"),
        pytest.param(f'"" {KEY}', BOB, False, id="nothing in quotes"),
        pytest.param(f"\ufeff{BOB} {KEY}", BOB, False, id="a byte order mark"),
        pytest.param("x" * 1_022 + f",{BOB} {KEY}", BOB, True, id="the longest pattern"),
        pytest.param(f"{BOB} {KEY} {'x' * 100_000}", BOB, True, id="a long comment"),
        pytest.param(
            f'{BOB} valid-after="20260101Z",valid-before="20270101Z",namespaces="n*" {KEY}',
            BOB,
            True,
            id="three options",
        ),
        pytest.param(
            f'{BOB} valid-before="20260101Z" {KEY}\n{BOB} valid-after="20260101Z" {KEY}',
            BOB,
            True,
            id="two times of one key",
        ),
    ],
)
@needs_ssh_keygen
def test_ssh_keygen_says_the_same(tmp_path: Path, line: str, principal: str, expected: bool) -> None:
    assert (allowed(line, principal) is not None) is expected
    assert (refusal(line, principal) == "") is expected
    armored, time = signed(3, MESSAGE), f"-Overify-time={NOW}"
    verdict = verified_by_ssh_keygen(tmp_path, f"{line}\n", armored, MESSAGE, time, principal=principal)
    assert verdict is expected


@pytest.mark.sample(12)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(BOB, id="no key"),
        pytest.param(f"{BOB} ssh-ed25519", id="a type alone"),
        pytest.param(f"{BOB} {KEY[:-4]}", id="a key cut short"),
        pytest.param(f"{BOB} ssh-dss AAAAB3NzaC1kc3M=", id="a type that is not taken"),
        pytest.param(f"{BOB} unknown {KEY}", id="an unknown flag"),
        pytest.param(f'{BOB} unknown="x" {KEY}', id="an unknown option"),
        pytest.param(f"{BOB} namespaces {KEY}", id="an option without its value"),
        pytest.param(f"{BOB} namespaces=file {KEY}", id="a value without quotes"),
        pytest.param(f'{BOB} namespaces="file {KEY}', id="a quote that does not end"),
        pytest.param(f'{BOB} namespaces="file\\" {KEY}', id="an escaped quote at the end"),
        pytest.param(f'{BOB} namespaces="*"namespaces="*" {KEY}', id="no comma"),
        pytest.param(f'{BOB} namespaces="*",namespaces="*" {KEY}', id="an option twice"),
        pytest.param(f'{BOB} namespaces="*" valid-after="20260101Z" {KEY}', id="a space for a comma"),
        pytest.param(f'{BOB} valid-after="2026-01-01" {KEY}', id="a time with dashes"),
        pytest.param(f'{BOB} valid-after="2026010124Z" {KEY}', id="an hour without minutes"),
        pytest.param(f'{BOB} valid-after="202601012400Z" {KEY}', id="hour 24"),
        pytest.param(f'{BOB} valid-after="" {KEY}', id="no time"),
        pytest.param(f'{BOB} valid-after="20260101Z",valid-before="20260101Z" {KEY}', id="no time between"),
        pytest.param(f'"bob smith {KEY}', id="a principal whose quote does not end"),
        pytest.param(f"{BOB} verify-required {KEY}", id="verify-required of a plain key"),
        pytest.param(f'{BOB} namespaces="*", {KEY}', id="a comma at the end"),
        pytest.param(f"{BOB} , {KEY}", id="a comma alone"),
        pytest.param(f'{BOB} namespaces="*" verify-required {KEY}', id="an option after a space"),
        pytest.param(f'{BOB} valid-after="00000101Z" {KEY}', id="the year 0"),
        pytest.param(f'{BOB} valid-after="19700101Z" {KEY}', id="the beginning of time"),
        pytest.param(f"{BOB} no-touch-required {KEY}", id="an option of other files"),
        pytest.param(f"\uff0a {KEY}", id="a wide star"),
        pytest.param("x" * 1_023 + f",{BOB} {KEY}", id="a pattern that is too long"),
        pytest.param(f'{BOB} namespaces="{"x" * 1_023},*" {KEY}', id="a namespace that is too long"),
        pytest.param(f"{BOB} ssh-mldsa-65 AAAAC3NzaC1tbGRzYQ==", id="a type of the future"),
        pytest.param(f"{BOB} cert-authority {KEY}", id="cert-authority"),
        pytest.param(f'{BOB} namespaces="*",Cert-Authority {KEY}', id="cert-authority among others"),
    ],
)
@needs_ssh_keygen
def test_a_line_that_cannot_be_used_is_skipped_by_both_and_the_others_count(
    tmp_path: Path, line: str
) -> None:
    signers = parse_allowed_signers(f"# a comment\n{line}\n{BOB} {KEY}\n")
    assert [each.line for each in signers.signers] == [3]
    assert [each.line for each in signers.skipped] == [2]
    assert signers.skipped[0].why
    armored, time = signed(3, MESSAGE), f"-Overify-time={NOW}"
    assert not verified_by_ssh_keygen(tmp_path, f"{line}\n", armored, MESSAGE, time)
    assert verified_by_ssh_keygen(tmp_path, f"{line}\n{BOB} {KEY}\n", armored, MESSAGE, time)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        pytest.param(f'{BOB} valid-after="20260230Z" {KEY}', "valid-after", id="the 30th of February"),
        pytest.param(f'{BOB} valid-after="20260228235960Z" {KEY}', "valid-after", id="second 60"),
        pytest.param(f'{BOB} valid-after="2026 1 1Z" {KEY}', "valid-after", id="blanks for digits"),
        pytest.param(f"{BOB} {KEY} a\0b", "control", id="NUL"),
        pytest.param(f"{BOB} {KEY} a\rcarol {OTHER}", "control", id="CR within"),
        pytest.param(f"{BOB} {KEY[:40]}\v{KEY[40:]}", "control", id="a control character within a key"),
        pytest.param(f"{BOB} {KEY} \x1b[2K", "control", id="an escape"),
        pytest.param(f"b\u200bob,{BOB} {KEY}", "invisible", id="an invisible character"),
        pytest.param(f"\uff0a,{BOB} {KEY}", "NFKC", id="a wide star"),
    ],
)
@needs_ssh_keygen
def test_what_a_person_would_read_otherwise_is_skipped_here_and_taken_by_ssh_keygen(
    tmp_path: Path, line: str, why: str
) -> None:
    signers = parse_allowed_signers(line)
    assert signers.signers == ()
    assert why in signers.skipped[0].why
    time = f"-Overify-time={NOW}"
    assert verified_by_ssh_keygen(tmp_path, f"{line}\n", signed(3, MESSAGE), MESSAGE, time)


def test_bytes_that_are_no_utf_8_harm_a_comment_as_little_as_ssh_keygen() -> None:
    content = f"# M\xfcller\n{BOB} {KEY} M\xfcller\nM\xfcller {OTHER}\n".encode("latin-1")
    signers = parse_allowed_signers(content)
    assert ([each.line for each in signers.signers], [each.line for each in signers.skipped]) == ([2], [3])


def test_the_refusal_of_a_signer_names_their_lines_that_are_not_supported() -> None:
    text = f"*@example.com ssh-dss AAAAB3NzaC1kc3M= old\ncarol {OTHER}\ncarol cert-authority {OTHER}\n"
    said = refusal(text)
    assert f"line 1 of the file names '{BOB}', and is not supported: key is of type 'ssh-dss'" in said
    assert "line 3" not in said
    assert "line 3 of the file names 'carol'" in refusal(text, "carol")
    signers = parse_allowed_signers(text)
    assert signers.refusal_of_every_key("carol", NAMESPACE, instant(NOW)) == ""
    assert "line 1" in signers.refusal_of_every_key(BOB, NAMESPACE, instant(NOW))
    assert "cert-authority" in signers.skipped_in_words


def test_principals_compare_folded_as_ids_do() -> None:
    assert allowed(f"BOB@Example.com {KEY}") is not None
    assert allowed(f"bob@* {KEY}", "Bob@EXAMPLE.com") is not None
    assert allowed(f"*,!BOB@* {KEY}") is None
    assert allowed(f"stra\u00dfe {KEY}", "STRASSE") is not None


def test_no_character_of_an_id_folds_into_one_that_patterns_read() -> None:
    for character in map(chr, range(sys.maxunicode + 1)):
        if character not in "*?!," and id_problem(character) is None:
            assert not set("*?!,") & set(fold_id(character)), hex(ord(character))


@needs_ssh_keygen
def test_a_time_without_z_is_in_utc_whatever_the_zone_of_the_machine(tmp_path: Path) -> None:
    line = f'{BOB} valid-after="20261123120000" {KEY}'
    assert allowed(line) is not None
    armored, time = signed(3, MESSAGE), f"-Overify-time={NOW}"
    verdicts = {
        zone: verified_by_ssh_keygen(tmp_path, line, armored, MESSAGE, time, zone=zone)
        for zone in ("UTC0", "WEST+5")
    }
    assert verdicts == {"UTC0": True, "WEST+5": False}


def test_an_instant_counts_to_the_second_in_any_zone() -> None:
    signers = parse_allowed_signers(f'{BOB} valid-after="{NOW}",valid-before="20261123120001Z" {KEY}')
    key = parse_ssh_key_blob(BLOB)
    last = instant(NOW) + timedelta(seconds=1, microseconds=999_999)
    assert signers.signer_for(BOB, key, NAMESPACE, last) is not None
    assert signers.signer_for(BOB, key, NAMESPACE, last + timedelta(microseconds=1)) is None
    west = instant(NOW).astimezone(timezone(timedelta(hours=-5)))
    assert signers.signer_for(BOB, key, NAMESPACE, west) is not None
    assert signers.signer_for(BOB, key, NAMESPACE, west - timedelta(microseconds=1)) is None
    for ask in (signers.signer_for, signers.refusal):
        with pytest.raises(NexusControlError) as caught:
            ask(BOB, key, NAMESPACE, last.replace(tzinfo=None))
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT


@needs_ssh_keygen
def test_verify_required_is_ours_alone(tmp_path: Path) -> None:
    device = Authenticator(SK_ED25519)
    strict = f'{BOB} namespaces="nexus-*",verify-required {SK}\n'
    signer = allowed(strict, key=device.blob)
    assert signer is not None
    assert signer.verify_required
    touched, verified = device.signed(MESSAGE, 0x01), device.signed(MESSAGE, 0x05)
    parse_ssh_signature(verified).require_over(MESSAGE, NAMESPACE)
    parse_ssh_signature(verified).require_verified_user()
    parse_ssh_signature(touched).require_over(MESSAGE, NAMESPACE)
    with pytest.raises(NexusControlError) as caught:
        parse_ssh_signature(touched).require_verified_user()
    assert caught.value.code is ErrorCode.SIGNATURE_INVALID
    plain = allowed(f"{BOB} {SK}\n", key=device.blob)
    assert plain is not None
    assert not plain.verify_required
    assert not verified_by_ssh_keygen(tmp_path, strict, verified, MESSAGE)


def test_a_refusal_says_what_to_change() -> None:
    fingerprint = parse_ssh_key_blob(BLOB).fingerprint
    lines = (
        f"# signers\ncarol {KEY}\n"
        f'dave namespaces="file" {KEY}\n'
        f'erin namespaces="nexus-*",valid-before="20260101Z" {KEY}\n'
    )
    assert refusal(f"{BOB} {OTHER}") == f"key {fingerprint} is not among the allowed signers"
    assert refusal("") == f"key {fingerprint} is not among the allowed signers"
    assert refusal(lines) == f"key {fingerprint} is another's: '{BOB}' is not named in line 2, 3, 4"
    assert refusal(lines, "dave") == (
        f"key {fingerprint} may not sign in the namespace '{NAMESPACE}': see line 3"
    )
    assert refusal(lines, "erin") == (
        f"key {fingerprint} is not valid at 2026-11-23T12:00:00+00:00: see line 4"
    )
    assert refusal(lines, "erin", at="20251231235959Z") == ""


def test_the_first_line_that_allows_it_is_the_one() -> None:
    text = f'{BOB} namespaces="file" {KEY}\n{BOB} valid-before="20260101Z" {KEY}\n* {KEY}\n{BOB} {KEY}\n'
    found = allowed(text)
    assert found is not None
    assert found.line == 3
    earlier = allowed(text, at="20251231000000Z")
    assert earlier is not None
    assert earlier.line == 2


def test_a_file_is_bounded_and_an_empty_one_trusts_nobody() -> None:
    assert parse_allowed_signers("").signers == ()
    assert parse_allowed_signers("\n" * 9_999).signers == ()
    for text in ("\n" * 10_000, "#" * 1_000_001):
        with pytest.raises(NexusControlError) as caught:
            parse_allowed_signers(text)
        assert caught.value.code is ErrorCode.INVALID_ARGUMENT


def test_no_pattern_takes_long() -> None:
    pattern = "*a" * 127 + "b"
    assert allowed(f"{pattern} {KEY}", "a" * 5_000) is None
    assert allowed(f"{pattern} {KEY}", "a" * 5_000 + "b") is not None


@needs_ssh_keygen
def test_a_certificate_in_the_file_is_skipped(tmp_path: Path) -> None:
    assert keygen("-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "ca").returncode == 0
    (tmp_path / "bob.pub").write_text(KEY, encoding="utf-8")
    assert keygen("-q", "-s", tmp_path / "ca", "-I", "b", "-n", "b", tmp_path / "bob.pub").returncode == 0
    signers = parse_allowed_signers(f"{BOB} {(tmp_path / 'bob-cert.pub').read_text(encoding='utf-8')}")
    assert signers.signers == ()
    assert "certificate" in signers.skipped[0].why


WORDS = [
    "bob",
    '"',
    "\\",
    ",",
    " ",
    "\t",
    "!",
    "*",
    "?",
    "=",
    "namespaces",
    "valid-after",
    "20260101Z",
    "\n",
    "#",
    KEY,
]


@given(st.text() | st.lists(st.sampled_from(WORDS) | st.text(max_size=3)).map("".join), st.text(), st.text())
def test_no_text_breaks_the_reader(text: str, principal: str, namespace: str) -> None:
    key = parse_ssh_key_blob(BLOB)
    try:
        signers = parse_allowed_signers(text)
    except NexusControlError as refused:
        assert refused.code is ErrorCode.INVALID_ARGUMENT
        return
    found = signers.signer_for(principal, key, namespace, instant(NOW))
    assert (found is None) == bool(signers.refusal(principal, key, namespace, instant(NOW)))
