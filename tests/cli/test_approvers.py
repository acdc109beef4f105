"""approver add, list and check: the allowed signers file, as ssh-keygen reads it too."""

import fcntl
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_control.evidence.statement import NAMESPACE
from tests.cli.office import Office, field
from tests.cli.running import environment, nexus_control
from tests.evidence.ssh import keygen, needs_ssh_keygen

pytestmark = needs_ssh_keygen


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def public(office: Office, person: str, kind: str = "ed25519") -> Path:
    return office.key(person, kind, trusted=False).with_suffix(".pub")


def fingerprint(key: Path) -> str:
    return keygen("-lf", key).stdout.split()[1].decode()


def is_verified(office: Office, approver: str, key: Path) -> bool:
    """Whether ssh-keygen itself accepts what this key signs as this approver's."""
    signed = office.folder / "statement"
    signed.write_text("{}")
    Path(f"{signed}.sig").unlink(missing_ok=True)
    keygen("-q", "-Y", "sign", "-f", key.with_suffix(""), "-n", NAMESPACE, signed)
    words = ["ssh-keygen", "-Y", "verify", "-f", str(office.signers), "-I", approver, "-n", NAMESPACE]
    ran = subprocess.run([*words, "-s", f"{signed}.sig"], input=b"{}", capture_output=True, check=False)
    return ran.returncode == 0


def test_who_was_added_can_sign_for_us_and_for_ssh_keygen(office: Office) -> None:
    key = public(office, "alice")
    assert not office.answer("approver", "check", "alice@example.com", code=1)["may_sign"]
    added = office.answer("approver", "add", "alice@example.com", str(key))
    kind, blob, _ = key.read_text().split()
    line = f'alice@example.com namespaces="{NAMESPACE}" {kind} {blob}'
    assert (added["line"], office.signers.read_text()) == (line, f"{line}\n")
    checked = office.answer("approver", "check", "alice@example.com")
    assert [each["fingerprint"] for each in checked["keys"]] == [fingerprint(key)]
    assert is_verified(office, "alice@example.com", key)
    request_id = office.requested()
    by_alice = ("--yes", "--as", "human:alice@example.com", "--sign", str(key.with_suffix("")))
    assert office.answer("approve", request_id, *by_alice)["is_approved"]


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_keys_of_other_kinds_are_listed_with_the_fingerprint_of_ssh_keygen(office: Office, kind: str) -> None:
    key = public(office, "alice", kind)
    office.run("approver", "add", "alice b", str(key), "--valid-before", "2999-01-01T02:00:00+02:00")
    (line,) = office.answer("approver", "list")["approvers"]
    assert line["ids"] == ["alice b"]
    assert line["fingerprint"] == fingerprint(key)
    assert line["namespaces"] == [NAMESPACE]
    assert line["valid_before"] == "2999-01-01T00:00:00Z"
    assert is_verified(office, "alice b", key)
    shown = office.run("approver", "list")
    assert f"for {NAMESPACE}, until 2999-01-01T00:00:00Z" in " ".join(shown.split())
    assert f"    {fingerprint(key)}\n" in shown


def test_a_key_that_is_not_valid_now_cannot_sign(office: Office) -> None:
    key = public(office, "alice")
    office.run("approver", "add", "alice@example.com", str(key), "--valid-after", "2999-01-01T00:00:00Z")
    checked = office.answer("approver", "check", "alice@example.com", code=1)
    assert (checked["may_sign"], checked["keys"]) == (False, [])
    assert not is_verified(office, "alice@example.com", key)


def test_lines_that_are_there_stay_as_they_are_and_so_does_the_mode(office: Office) -> None:
    before = b"# ours\n\nbob@example.com nonsense"
    office.signers.write_bytes(before)
    office.signers.chmod(0o640)
    link = office.folder / "link"
    link.symlink_to(office.signers)
    key = public(office, "alice")
    office.plainly.run("--allowed-signers", str(link), "approver", "add", "alice", str(key))
    assert office.signers.read_bytes().startswith(before + b"\nalice namespaces=")
    assert stat.S_IMODE(office.signers.stat().st_mode) == 0o640
    assert link.is_symlink()
    (skipped,) = office.answer("approver", "list")["skipped"]
    assert skipped["line"] == 3
    assert "Line 3 is not used" in office.run("approver", "list")


def test_a_new_file_is_made(office: Office) -> None:
    file = office.folder / "new"
    key = public(office, "alice")
    office.plainly.run("--allowed-signers", str(file), "approver", "add", "alice", str(key))
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_an_id_or_key_that_is_there_already_is_refused(office: Office) -> None:
    key, other = public(office, "alice"), public(office, "bob")
    office.run("approver", "add", "alice@example.com", str(key))
    before = office.signers.read_bytes()
    assert field(office.answer("approver", "add", "ALICE@example.com", str(other), code=2)) == "ID"
    assert field(office.answer("approver", "add", "bob@example.com", str(key), code=2)) == "KEY.pub"
    assert office.signers.read_bytes() == before


def test_another_key_of_an_approver_is_added_when_that_is_meant(office: Office) -> None:
    keys = [public(office, name) for name in ("alice", "bob")]
    office.run("approver", "add", "alice@example.com", str(keys[0]))
    office.run("approver", "add", "alice@example.com", str(keys[1]), "--another")
    assert len(office.answer("approver", "check", "alice@example.com")["keys"]) == 2
    again = office.answer("approver", "add", "alice@example.com", str(keys[1]), "--another", code=2)
    assert field(again) == "KEY.pub"


@pytest.mark.parametrize(
    "name",
    ["*@example.com", "a,b", "!bob", 'a"b', "#bob", "?", "human:bob", "", " bob", "b\u200bob", "b\u043eb"],
)
def test_an_id_that_is_a_pattern_or_nobodys_name_is_refused(office: Office, name: str) -> None:
    key = public(office, "bob")
    assert field(office.answer("approver", "add", name, str(key), code=2)) == "ID"
    assert office.signers.read_bytes() == b""


def test_a_private_key_and_what_is_no_key_are_refused(office: Office) -> None:
    key = public(office, "alice")
    rubbish = office.folder / "rubbish"
    rubbish.write_text("hello")
    for file in (key.with_suffix(""), rubbish, office.folder / "nowhere"):
        refused = office.answer("approver", "add", "alice", str(file), code=2)
        assert field(refused) == "KEY.pub"
    assert "private key" in office.answer("approver", "add", "a", str(key.with_suffix("")), code=2)["message"]
    small = office.folder / "small"
    keygen("-q", "-t", "rsa", "-b", "1024", "-N", "", "-f", small)
    if small.exists():
        assert field(office.answer("approver", "add", "alice", f"{small}.pub", code=2)) == "KEY.pub"
    assert office.signers.read_bytes() == b""


def test_a_file_of_the_store_is_not_written(office: Office) -> None:
    office.requested()
    before = Path(office.database).read_bytes()
    key = public(office, "alice")
    words = ("--allowed-signers", office.database, "approver", "add", "alice", str(key))
    assert field(office.plainly.answer(*words, code=2)) == "--allowed-signers"
    assert Path(office.database).read_bytes() == before


def test_without_a_file_it_says_where_one_is_named(office: Office) -> None:
    refused = office.plainly.answer("approver", "list", code=2)
    assert field(refused) == "--allowed-signers"
    assert "config show" in refused["message"]


def test_the_configuration_names_the_file(office: Office) -> None:
    (office.folder / "team.toml").write_text('allowed_signers = "allowed_signers"\n')
    office.run("approver", "add", "alice@example.com", str(public(office, "alice")))
    shown = nexus_control("config", "show", "--config", str(office.folder / "team.toml"))
    assert str(office.signers) in shown.stdout


def test_of_many_at_once_no_line_is_lost(office: Office) -> None:
    keys = [public(office, f"person{number}") for number in range(6)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nexus_control", "approver", "add", key.stem, str(key)],
            env=environment(NEXUS_CONTROL_ALLOWED_SIGNERS=str(office.signers)),
            stdout=subprocess.DEVNULL,
        )
        for key in keys
    ]
    assert [process.wait(240) for process in processes] == [0] * len(keys)
    assert len(office.answer("approver", "list")["approvers"]) == len(keys)


def test_who_keeps_the_folder_locked_is_not_waited_for_for_ever(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexus_control.cli.approvers._PATIENCE_SECONDS", 0.02)
    key = public(office, "dana")
    folder = os.open(office.folder, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH)  # any user who may read the folder can do this
        refused = office.answer("approver", "add", "dana@example.com", str(key), code=2)
    finally:
        os.close(folder)
    assert field(refused) == "--allowed-signers"
    assert "somebody keeps it locked" in refused["message"]
