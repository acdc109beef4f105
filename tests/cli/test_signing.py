"""Verdicts that their approvers sign with their own SSH keys, by commands and with the real ssh-keygen."""

import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from nexus_control.bundle import DecisionBundle
from nexus_control.cli import deciding
from nexus_control.events import compute_event_digest
from tests.cli.office import Office, by, field
from tests.cli.running import Commands, at_a_terminal, environment, nexus_control
from tests.evidence.openssl import needs_openssl, openssl
from tests.evidence.ssh import NAMESPACE, keygen, needs_ssh_keygen, verified_by_ssh_keygen
from tests.support.governed import data_of

pytestmark = needs_ssh_keygen


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def test_two_people_sign_it_is_executed_and_verified_by_a_reader_who_trusts_their_keys(
    office: Office,
) -> None:
    bob, carol = office.key("bob"), office.key("carol", "ecdsa")
    trusting = ("--allowed-signers", str(office.signers))
    request_id = office.requested(approvals=2)
    unsigned = office.in_a_process("approve", request_id, *by("bob"), code=1)
    assert (unsigned["code"], office.written_to(request_id)) == ("ASSURANCE_TOO_LOW", 0)
    office.in_a_process("approve", request_id, *by("bob"), "--sign", str(bob), *trusting)
    approved = office.in_a_process("approve", request_id, *by("carol"), "--sign", str(carol), *trusting)
    assert approved["is_approved"] is True

    execute = office.execution(request_id)
    assert office.in_a_process(*execute, code=1)["code"] == "POLICY_NOT_SATISFIED"
    office.in_a_process(*execute, *trusting)
    key, public, package = (office.folder / name for name in ("owner.key", "owner.key.pub", "package.json"))
    assert office.in_a_process("key", "generate", str(key))["key"] == public.read_text()
    audited = office.in_a_process("audit", request_id, "-o", str(package), "--sign", str(key))
    assert audited["envelope"] == str(office.folder / "package.dsse.json")
    assert json.loads(package.read_bytes())["evidence"]

    verify = ("verify", str(package), "--package-key", str(public), "--json")
    whole = nexus_control(*verify, *trusting, "--require", "L4")
    assert (whole.returncode, json.loads(whole.stdout)["level"]) == (0, "L4")
    blind = nexus_control(*verify, "--require", "L4")
    assert (blind.returncode, json.loads(blind.stdout)["level"]) == (3, "L3")
    assert nexus_control(*verify, "--require", "L3").returncode == 0
    package.write_bytes(package.read_bytes().replace(b"bob@example.com", b"eve@example.com"))
    assert nexus_control(*verify, *trusting, "--require", "L4").returncode == 3


def signed_by(office: Office, request_id: str, person: str = "bob") -> None:
    key = office.folder / f"{person}_ed25519"
    office.answer("approve", request_id, *by(person), "--sign", str(key))


def test_ssh_keygen_verifies_what_is_stored(office: Office, tmp_path: Path) -> None:
    office.key("bob")
    request_id = office.requested()
    signed_by(office, request_id)
    stored = office.events(request_id)[-1]["payload"]["signed"]
    allowed, statement = office.signers.read_text(), stored["statement"].encode()
    assert verified_by_ssh_keygen(tmp_path, allowed, stored["signature"], statement)
    assert not verified_by_ssh_keygen(tmp_path, allowed, stored["signature"], statement + b"\n")


def test_the_next_approver_is_told_to_sign_where_signatures_are_demanded(office: Office) -> None:
    key = office.key("bob")
    office.key("carol")
    request_id = office.requested(approvals=2)
    told = office.run("approve", request_id, *by("bob"), "--sign", str(key))
    (line,) = [each for each in told.splitlines() if " approve " in each]
    assert " --sign " in line
    assert f" --allowed-signers {office.signers}" in line


@pytest.mark.parametrize("named", [False, True], ids=["found beside it", "named"])
def test_a_statement_is_signed_where_the_key_is_and_handed_in(office: Office, named: bool) -> None:
    key = office.key("bob")
    request_id = office.requested("--label", "d\N{LATIN SMALL LETTER E WITH ACUTE}ploiement")
    file = office.folder / "approval.json"
    stated = office.answer("statement", request_id, *by("bob")[1:], "-o", str(file))
    assert (file.read_text(), stated["path"]) == (stated["statement"], str(file))
    assert keygen("-Y", "sign", "-f", key, "-n", NAMESPACE, file).returncode == 0
    signature = office.folder / "approval.json.sig"
    options = ("--signature", str(signature))
    if named:
        signature, options = signature.rename(office.folder / "s"), ("--signature", str(office.folder / "s"))
        refused = office.answer("approve", request_id, *by("bob"), *options, code=2)
        assert (field(refused), office.written_to(request_id)) == ("--statement", 0)
        options = (*options, "--statement", str(file))
    office.answer("approve", request_id, *by("bob"), *options)
    granted = office.events(request_id)[-1]["payload"]
    assert (granted["assurance"], granted["signed"]["statement"]) == ("signed", file.read_text())
    again = office.answer("approve", request_id, *by("bob"), *options, code=1)
    assert again["code"] == "ALREADY_APPROVED"


def test_a_statement_on_standard_output_is_its_bytes_alone_and_what_to_do_is_said_beside(
    office: Office,
) -> None:
    request_id = office.requested()
    ran = nexus_control("statement", request_id, "--as", "human:bob@example.com", "--db", office.database)
    assert ran.returncode == 0
    statement = json.loads(ran.stdout)
    assert (statement["approver"], statement["verdict"]) == ("bob@example.com", "approve")
    assert ran.stdout == json.dumps(statement, sort_keys=True, separators=(",", ":"))
    said = [line.strip() for line in ran.stderr.splitlines()]
    file = Path("approval.json").absolute()
    assert f"ssh-keygen -Y sign -f ~/.ssh/id_ed25519 -n {NAMESPACE} {file}" in said
    handed_in = (
        f" approve {request_id} --db {office.database} --signature {file}.sig --as human:bob@example.com"
    )
    assert any(line.endswith(handed_in) for line in said)


def test_a_statement_that_makes_no_sense_is_not_made(office: Office) -> None:
    request_id = office.requested()
    later = ("--expires-at", "2999-01-01T00:00:00Z")
    refused = office.answer("statement", request_id, "--verdict", "deny", *later, code=2)
    assert field(refused) == "--expires-at"
    office.run("statement", request_id, "--verdict", "maybe", code=2)
    assert office.answer("statement", "nothing", code=1)["code"] == "DECISION_NOT_FOUND"


def test_an_approval_runs_out_when_its_statement_says(office: Office) -> None:
    key, later = office.key("bob"), "2999-01-01T00:00:00+00:00"
    request_id = office.requested()
    office.answer("approve", request_id, *by("bob"), "--sign", str(key), "--expires-at", later)
    granted = office.events(request_id)[-1]["payload"]
    stated = json.loads(granted["signed"]["statement"])["expires_at"]
    assert stated == granted["expires_at"] == "2999-01-01T00:00:00.000000+00:00"


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("command", "state"), [("deny", "denied"), ("revoke", "pending_approval")], ids=["deny", "revoke"]
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "elsewhere"])
def test_denials_and_revocations_are_signed_too(
    office: Office, command: str, state: str, elsewhere: bool
) -> None:
    key = office.key("bob")
    request_id = office.requested()
    if command == "revoke":
        signed_by(office, request_id)
    options = ("--sign", str(key))
    if elsewhere:
        file = office.folder / "verdict"
        office.run("statement", request_id, "--verdict", command, *by("bob")[1:], "-o", str(file))
        assert keygen("-Y", "sign", "-f", key, "-n", NAMESPACE, file).returncode == 0
        options = ("--signature", f"{file}.sig")
    ended = office.answer(command, request_id, *by("bob"), "--reason", "not now", *options)
    signed = office.events(request_id)[-1]["payload"]["signed"]
    assert (ended["state"], json.loads(signed["statement"])["verdict"]) == (state, command)


def test_a_verdict_is_not_taken_for_another(office: Office) -> None:
    key = office.key("bob")
    request_id = office.requested()
    file = office.folder / "verdict"
    office.run("statement", request_id, *by("bob")[1:], "-o", str(file))
    assert keygen("-Y", "sign", "-f", key, "-n", NAMESPACE, file).returncode == 0
    options = ("--reason", "no", "--signature", f"{file}.sig")
    assert office.answer("deny", request_id, *by("bob"), *options, code=3)["code"] == "SIGNATURE_INVALID"
    assert office.written_to(request_id) == 0


@pytest.mark.parametrize("whose", ["a stranger's", "somebody else's"])
def test_a_key_that_is_not_the_approvers_is_refused_and_nothing_is_written(
    office: Office, whose: str
) -> None:
    office.key("bob")
    key = office.key("carol", trusted=whose == "somebody else's")
    request_id = office.requested()
    refused = office.answer("approve", request_id, *by("bob"), "--sign", str(key), code=3)
    assert (refused["code"], office.written_to(request_id)) == ("SIGNATURE_INVALID", 0)


def missing_key(_office: Office) -> tuple[str, ...]:
    return ("--sign", "/nowhere/id_ed25519")


def no_key(office: Office) -> tuple[str, ...]:
    (office.folder / "key").write_text("nonsense")
    return ("--sign", str(office.folder / "key"))


def both(office: Office) -> tuple[str, ...]:
    return ("--sign", str(office.key("carol")), "--signature", "s.sig")


def statement_alone(_office: Office) -> tuple[str, ...]:
    return ("--statement", "s")


def missing_signature(_office: Office) -> tuple[str, ...]:
    return ("--signature", "/nowhere/s.sig", "--statement", os.devnull)


def missing_statement(office: Office) -> tuple[str, ...]:
    (office.folder / "s.sig").write_text("signature")
    return ("--signature", str(office.folder / "s.sig"))


UNUSABLE: dict[str, tuple[Callable[[Office], tuple[str, ...]], str]] = {
    "a key that is not there": (missing_key, "--sign"),
    "a file that is no key": (no_key, "--sign"),
    "a key and a signature": (both, "--sign"),
    "a statement without its signature": (statement_alone, "--statement"),
    "a signature that is not there": (missing_signature, "--signature"),
    "a statement that is not there": (missing_statement, "--statement"),
}


@pytest.mark.sample(4)
@pytest.mark.parametrize("command", ["approve", "deny"])
@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_signed_blames_the_option_and_writes_nothing(
    office: Office, command: str, name: str
) -> None:
    office.key("bob")
    request_id = office.requested()
    options, option = UNUSABLE[name]
    reason = ("--reason", "no") if command == "deny" else ()
    refused = office.answer(command, request_id, *by("bob"), *reason, *options(office), code=2)
    assert (field(refused), office.written_to(request_id)) == (option, 0)


def test_without_ssh_keygen_the_person_is_told_what_to_do(office: Office) -> None:
    key = office.key("bob")
    request_id = office.requested()
    options = ("--sign", str(key), "--allowed-signers", str(office.signers))
    nowhere = {"PATH": str(office.folder)}
    refused = office.in_a_process("approve", request_id, *by("bob"), *options, changes=nowhere, code=2)
    assert (field(refused), office.written_to(request_id)) == ("--sign", 0)
    assert "nexus-control statement" in refused["message"]


def test_a_signature_needs_somebody_to_say_whose_keys_count(office: Office) -> None:
    key = office.key("bob")
    request_id = office.requested()
    refused = office.plainly.answer("approve", request_id, *by("bob"), "--sign", str(key), code=2)
    assert (field(refused), office.written_to(request_id)) == ("--allowed-signers", 0)
    office.signers.write_text("#" * 1_000_001)
    refused = office.answer("approve", request_id, *by("bob"), "--sign", str(key), code=2)
    assert (field(refused), office.written_to(request_id)) == ("--allowed-signers", 0)


@pytest.mark.sample(4)
@pytest.mark.parametrize("given", ["", ".", "nowhere"])
@pytest.mark.parametrize("verb", ["status", "inspect", "approve", "execute", "list"])
def test_signers_that_were_named_and_cannot_be_read_are_refused_though_nothing_is_signed(
    verb: str, given: str, office: Office
) -> None:
    request_id = office.requested()
    rest = {"approve": [*by("bob"), "--yes"], "execute": ["--adapter", "subprocess:keys"]}
    words = [verb, *([] if verb == "list" else [request_id]), *rest.get(verb, [])]
    refused = office.plainly.answer("--allowed-signers", given, *words, code=2)
    assert (field(refused), office.written_to(request_id)) == ("--allowed-signers", 0)
    changes = {"NEXUS_CONTROL_ALLOWED_SIGNERS": str(office.folder / "nowhere")}
    ran = nexus_control("status", request_id, "--db", office.database, changes=changes)
    assert (ran.returncode, "NEXUS_CONTROL_ALLOWED_SIGNERS" in ran.stderr) == (0, True)


def test_a_private_key_in_the_place_of_signers_is_told_of(office: Office) -> None:
    key, request_id = office.key("bob"), office.requested("--min-assurance", "declared")
    given = ("--db", office.database, "--allowed-signers", str(key))
    ran = nexus_control("approve", request_id, *by("bob"), "--yes", "--json", *given)
    assert (ran.returncode, json.loads(ran.stdout)["request_id"]) == (0, request_id)
    assert f"Nolineof{key}canbeused;line1:" in "".join(ran.stderr.split())
    office.signers.write_text("# nobody yet\n")
    ran = nexus_control("status", request_id, *given[:-1], str(office.signers))
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.fixture
def agent(tmp_path: Path) -> Generator[dict[str, str]]:
    """An ssh-agent of its own; its variables."""
    if shutil.which("ssh-agent") is None or shutil.which("ssh-add") is None:
        pytest.skip("ssh-agent is not installed")
    socket = tmp_path / "agent"
    process = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()  # it prints once it listens
    yield {"SSH_AUTH_SOCK": str(socket)}
    process.terminate()
    process.wait(240)
    process.stdout.close()


def test_a_public_key_signs_with_the_private_half_in_ssh_agent(office: Office, agent: dict[str, str]) -> None:
    key = office.key("bob")
    added = subprocess.run(
        ["ssh-add", "-q", str(key)], env=environment(**agent), capture_output=True, timeout=60
    )
    assert added.returncode == 0, added.stderr
    key.unlink()
    request_id = office.requested()
    options = ("--sign", f"{key}.pub", "--allowed-signers", str(office.signers))
    refused = office.in_a_process("approve", request_id, *by("bob"), *options, code=2)
    assert (field(refused), office.written_to(request_id)) == ("--sign", 0)
    approved = office.in_a_process("approve", request_id, *by("bob"), *options, changes=agent)
    assert approved["is_approved"] is True


AT_ITS_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


def test_a_passphrase_is_typed_into_ssh_keygen_at_the_terminal(office: Office) -> None:
    key = office.key("bob", passphrase="open sesame")
    request_id = office.requested()
    ours, theirs = pty.openpty()
    given = ("--sign", str(key), "--allowed-signers", str(office.signers), "--db", office.database)
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            AT_ITS_TERMINAL,
            "-m",
            "nexus_control",
            "approve",
            request_id,
            *by("bob"),
            *given,
        ],
        env=environment(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = bytearray()
    while b"passphrase" not in shown:
        shown += os.read(ours, 65536)
    os.write(ours, b"open sesame\n")
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # everybody has left the terminal
        pass
    os.close(ours)
    assert process.wait(240) == 0, shown.decode()
    assert office.events(request_id)[-1]["payload"]["assurance"] == "signed"


@pytest.mark.parametrize(("typed", "code", "written"), [("y\n", 0, 1), ("n\n", 1, 0)], ids=["yes", "no"])
def test_a_signer_sees_the_request_and_is_asked_before_the_key_is_used(
    office: Office, typed: str, code: int, written: int
) -> None:
    key = office.key("bob")
    request_id = office.requested()
    given = ("--sign", str(key), "--allowed-signers", str(office.signers), "--db", office.database)
    shown = at_a_terminal("approve", request_id, *by("bob")[1:], *given, typed=typed)
    assert (shown.returncode, office.written_to(request_id)) == (code, written), shown.stdout
    assert "write it" in shown.stdout
    assert "Approve this request as human:bob@example.com (signed)?" in shown.stdout


def reasons(answered: dict[str, Any]) -> list[str]:
    return [each["code"] for each in answered["blocking_reasons"]]


def test_status_inspect_and_call_count_signed_approvals_where_signers_are_named(office: Office) -> None:
    office.key("bob")
    request_id = office.requested()
    signed_by(office, request_id)
    called = json.dumps({"request_id": request_id})
    for commands, expected in ((office, []), (office.plainly, ["IMPORTED_APPROVALS"])):
        assert reasons(commands.answer("status", request_id)) == expected
        assert ("[IMPORTED_APPROVALS]" in commands.run("inspect", request_id)) is bool(expected)
        answered = commands.run("call", "nexus-control.status", "--arguments", called)
        assert reasons(json.loads(answered)) == expected


def test_what_was_signed_for_another_log_is_evidence_after_an_import(office: Office, tmp_path: Path) -> None:
    office.key("bob")
    request_id = office.requested()
    signed_by(office, request_id)
    office.run("export", request_id, "-o", str(tmp_path / "bundle.json"))
    other = Commands(tmp_path, "other.db")
    other.run("import", str(tmp_path / "bundle.json"))
    trusting = ("--allowed-signers", str(office.signers))
    assert reasons(other.answer("status", request_id, *trusting)) == ["IMPORTED_APPROVALS"]


def test_after_the_command_outdoes_before_it_and_that_the_environment(office: Office) -> None:
    office.key("bob")
    request_id = office.requested()
    signed_by(office, request_id)
    nobody = office.folder / "nobody"
    nobody.write_text("")
    right, wrong = ("--allowed-signers", str(office.signers)), ("--allowed-signers", str(nobody))
    status = ("status", request_id)

    def blocked(*arguments: str, signers: Path, database: str = office.database) -> bool:
        changes = {"NEXUS_CONTROL_ALLOWED_SIGNERS": str(signers), "NEXUS_CONTROL_DB": database}
        ran = nexus_control(*arguments, "--json", changes=changes)
        assert ran.returncode == 0, ran.stdout
        return reasons(json.loads(ran.stdout)) != []

    assert not blocked(*status, signers=office.signers)
    assert not blocked(*right, *status, signers=nobody)
    assert not blocked(*wrong, *status, *right, signers=nobody)
    assert blocked(*right, *status, *wrong, signers=office.signers)
    elsewhere = str(office.folder / "elsewhere.db")
    assert not blocked("--db", office.database, *right, *status, signers=nobody, database=elsewhere)


ASKED = """#!/bin/sh
touch "$(dirname "$0")/asked"
exec {ssh_keygen} "$@"
"""
UNTRUSTED: dict[str, tuple[Callable[[Path], str], str]] = {
    "another key": (
        lambda _: "bob@example.com ssh-ed25519-cert-v01@openssh.com AAAA\n",
        "line 1 of the file",
    ),
    "a line that is skipped": (
        lambda key: f"bob@example.com cert-authority {key.with_suffix('.pub').read_text()}",
        "line 1 of the file names 'bob@example.com', and is not supported: cert-authority",
    ),
    "a line that ran out": (
        lambda key: f'bob@example.com valid-before="20200101Z" {key.with_suffix(".pub").read_text()}',
        "is not valid at",
    ),
    "another person's": (lambda key: f"carol {key.with_suffix('.pub').read_text()}", "is another's"),
}


@pytest.fixture
def asking(tmp_path: Path) -> Path:
    """A folder for PATH whose ssh-keygen leaves a mark, and is the real one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ssh-keygen").write_text(ASKED.format(ssh_keygen=shutil.which("ssh-keygen")))
    (folder / "ssh-keygen").chmod(0o755)
    return folder


@pytest.mark.sample(4)
@pytest.mark.parametrize("form", ["with its public half", "alone", "public"])
@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_key_whose_signature_could_not_count_is_refused_before_its_passphrase_is_asked(
    office: Office, asking: Path, name: str, form: str
) -> None:
    key = office.key("bob", passphrase="open sesame", trusted=False)
    line, why = UNTRUSTED[name]
    office.signers.write_text(line(key))
    public = key.with_suffix(".pub")
    if form == "alone":
        public.unlink()
    request_id = office.requested()
    options = ("--sign", str(public if form == "public" else key), "--allowed-signers", str(office.signers))
    path = {"PATH": f"{asking}:{os.environ['PATH']}"}
    refused = office.in_a_process("approve", request_id, *by("bob"), *options, changes=path, code=3)
    assert (refused["code"], office.written_to(request_id)) == ("SIGNATURE_INVALID", 0)
    assert why in refused["message"]
    assert not (asking / "asked").exists()


def test_a_key_that_nobody_can_read_needs_a_line_of_its_person(office: Office, asking: Path) -> None:
    key = office.key("bob", "ecdsa")
    public = key.with_suffix(".pub")
    public.unlink()
    assert keygen("-q", "-p", "-m", "PEM", "-N", "", "-f", key).returncode == 0  # it says nothing openly
    request_id = office.requested()
    options = ("--sign", str(key), "--allowed-signers", str(office.signers))
    path = {"PATH": f"{asking}:{os.environ['PATH']}"}
    refused = office.in_a_process("approve", request_id, *by("carol"), *options, changes=path, code=3)
    assert "no line lets 'carol@example.com' sign" in refused["message"]
    assert not (asking / "asked").exists()
    refused = office.in_a_process("approve", request_id, *by("bob"), *options, changes=path, code=2)
    assert field(refused) == "--sign"  # ssh-keygen finds no public half either
    assert (asking / "asked").exists()


def test_doctor_names_the_lines_of_signers_that_are_skipped(office: Office) -> None:
    office.key("bob")
    office.requested()
    assert office.plainly.answer("doctor")["allowed_signers"] is None
    with office.signers.open("a") as file:
        file.write("carol ssh-mldsa-65 AAAADHNzaC1tbGRzYS02NQ==\n")
    examined = office.answer("doctor")
    assert (examined["ok"], examined["allowed_signers"]["used"]) == (True, 1)
    (skipped,) = examined["allowed_signers"]["skipped"]
    assert (skipped["line"], "ssh-mldsa-65" in skipped["why"]) == (2, True)
    shown = " ".join(office.run("doctor").split())
    assert "is skipped: key is of type 'ssh-mldsa-65', which is not taken" in shown
    assert "Whole." in shown
    office.signers.unlink()
    assert "cannot be read" in office.answer("doctor")["allowed_signers"]["problem"]


def test_serve_says_at_once_that_signers_cannot_be_read(office: Office) -> None:
    office.signers.unlink()
    for content in (None, "#" * 1_000_001):
        if content is not None:
            office.signers.write_text(content)
        ran = nexus_control("serve", "--db", office.database, "--allowed-signers", str(office.signers))
        assert (ran.returncode, ran.stdout) == (2, "")
        assert "INVALID_ARGUMENT: --allowed-signers" in ran.stderr


def test_install_passes_on_whose_signatures_count(office: Office) -> None:
    command = office.answer("install", "--host", "codex")["command"]
    assert command[command.index("--allowed-signers") :] == ["--allowed-signers", str(office.signers)]


def executed(office: Office) -> str:
    office.key("bob")
    request_id = office.requested()
    signed_by(office, request_id)
    office.run(*office.execution(request_id))
    return request_id


@needs_openssl
@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_openssl_verifies_a_package_that_was_signed(office: Office, kind: str) -> None:
    request_id, key = executed(office), office.folder / "owner.key"
    if kind == "ed25519":
        office.run("key", "generate", str(key))
    else:
        options = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        assert openssl("genpkey", *options, "-out", key).returncode == 0
    audited = office.answer("audit", request_id, "-o", str(office.folder / "p.json"), "--sign", str(key))
    public, signed, signature = (office.folder / name for name in ("public.pem", "pae", "sig"))
    assert openssl("pkey", "-in", key, "-pubout", "-out", public).returncode == 0
    envelope = json.loads(Path(audited["envelope"]).read_bytes())
    for file, text in ((office.folder / "payload", "payload"), (signature, "sig")):
        encoded = envelope[text] if text == "payload" else envelope["signatures"][0][text]
        assert openssl("base64", "-d", "-A", "-out", file, stdin=encoded.encode()).returncode == 0
    payload = (office.folder / "payload").read_bytes()
    signed.write_bytes(b"DSSEv1 28 application/vnd.in-toto+json %d %b" % (len(payload), payload))
    given = ("-pubin", "-inkey", public, "-rawin", "-in", signed, "-sigfile", signature)
    digest = ("-digest", "sha256") if kind == "p256" else ()
    checked = openssl("pkeyutl", "-verify", *given, *digest)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    predicate = json.loads(payload)["predicate"]
    assert (predicate["assurance"], predicate["decision_id"]) == ("signed", request_id)
    assert predicate["producer"].startswith("nexus-control ")
    assert envelope["signatures"][0]["keyid"] == audited["signed_by"]


def test_a_package_is_signed_into_a_file_or_not_at_all(office: Office) -> None:
    request_id = executed(office)
    office.run("key", "generate", str(office.folder / "owner.key"))
    output = ("-o", str(office.folder / "package.json"))
    key = ("--sign", str(office.folder / "owner.key"))
    assert field(office.answer("audit", request_id, *key, code=2)) == "--sign"
    for wrong in ("/nowhere", str(office.folder / "bob_ed25519"), str(office.signers)):
        refused = office.answer("audit", request_id, "--sign", wrong, *output, code=2)
        assert field(refused) == "--sign"
    assert not (office.folder / "package.json").exists()
    shown = office.run("audit", request_id, *key, *output)
    assert f"    {office.folder / 'package.dsse.json'}\n    sha256:" in shown


def replaced(bundle: dict[str, Any], goal: str) -> str:
    """The bundle of another request under the same id."""
    first = bundle["events"][0]
    first["payload"]["goal"] = bundle["decision"]["goal"] = goal
    first["digest"] = compute_event_digest(first["type"], first["payload"])
    bundle["integrity"]["canonical_digest"] = DecisionBundle.from_dict(bundle).content_digest()
    return json.dumps(bundle)


def test_a_request_that_is_replaced_while_it_is_being_read_is_not_what_was_signed(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, request_id = office.key("bob"), office.requested()
    tools = NexusControlTools(db_path=office.database)
    bundle = replaced(data_of(tools.export_bundle(request_id))["bundle"], "delete everything")

    def replace_meanwhile(_question: str) -> str:
        data_of(tools.import_bundle(bundle, conflict_mode="overwrite", allow_rollback=True))
        return "y"

    def somebody_is_there(_given: str | None) -> None:
        pass

    monkeypatch.setattr(deciding, "_require_somebody_to_ask", somebody_is_there)
    monkeypatch.setattr(deciding, "_answer_to", replace_meanwhile)
    refused = office.answer(
        "approve", request_id, "--as", "human:bob@example.com", "--sign", str(key), code=1
    )
    assert refused["code"] == "BASIS_CHANGED"
    assert data_of(tools.status(request_id))["active_approvals"] == 0
