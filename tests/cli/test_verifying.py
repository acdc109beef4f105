"""verify: what it is told to trust, what it then reaches, and what it says of that."""

import json
import os
import pty
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus_control.canonical_json import canonical_json
from nexus_control.evidence.formats.keys import generate
from nexus_control.evidence.formats.note import Verifier
from nexus_control.evidence.formats.tlog_proof import parse_log_proof
from tests.artifacts.samples import VECTORS
from tests.cli.office import field
from tests.cli.running import Commands, nexus_control
from tests.cli.test_artifacts import executed
from tests.evidence.forgeries import no_approvals
from tests.evidence.openssl import authority_in, issued_in, needs_openssl, stamped
from tests.evidence.signed_packages import ALLOWED_SIGNERS, PACKAGE_KEY, WITNESS, signed_package

INTEROP = VECTORS / "evidence" / "interop"
STRANGER = generate()


@dataclass(frozen=True)
class Desk:
    """A verifier's folder: a package that everybody signed who can, its envelope, and the keys of those people."""

    folder: Path

    @property
    def package(self) -> Path:
        return self.folder / "package.json"

    def options(self, *left_out: str) -> list[str]:
        """Whom the verifier trusts, but for these."""
        (log_key,) = signed_package().trust.log_keys
        given = {
            "--allowed-signers": str(self.folder / "allowed_signers"),
            "--package-key": str(self.folder / "key.pem"),
            "--log-key": log_key,
            "--witness": str(WITNESS),
        }
        return [word for option, value in given.items() if option not in left_out for word in (option, value)]

    def answer(self, *options: str, code: int = 0) -> dict[str, Any]:
        return json.loads(self.run(*options, "--json", code=code))

    def run(self, *options: str, code: int = 0) -> str:
        return Commands(self.folder).run("verify", str(self.package), *options, code=code)

    def shown(self, *options: str, code: int = 0) -> str:
        """What people read, on one line."""
        return " ".join(self.run(*options, code=code).split())


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    signed = signed_package()
    (tmp_path / "package.json").write_bytes(signed.package)
    (tmp_path / "package.dsse.json").write_text(signed.envelope)
    (tmp_path / "allowed_signers").write_text(ALLOWED_SIGNERS)
    (tmp_path / "key.pem").write_text(PACKAGE_KEY.public.to_pem())
    return Desk(tmp_path)


def status(answered: dict[str, Any], name: str) -> str:
    return next(check["status"] for check in answered["checks"] if check["name"] == name)


def test_a_package_that_everybody_signed_reaches_every_level(desk: Desk) -> None:
    before = sorted(desk.folder.iterdir())
    answered = desk.answer(*desk.options(), "--require", "L5")
    assert (answered["ok"], answered["level"], answered["required"]) == (True, "L5", "L5")
    assert (answered["reached"], answered["missing"]) == (["L0", "L1", "L2", "L3", "L4", "L5"], [])
    assert (answered["kind"], answered["digest"]) == ("package", desk_digest(desk))
    assert "Verified." in desk.run(*desk.options(), "--require", "L5")
    assert sorted(desk.folder.iterdir()) == before


def desk_digest(desk: Desk) -> str:
    return json.loads(desk.package.read_bytes())["integrity"]["binding_digest"]


@pytest.mark.parametrize(
    ("left_out", "missing", "level"),
    [
        ("--allowed-signers", ["approval_signatures"], "L3"),
        ("--package-key", ["package_signature"], "L2"),
        ("--witness", ["witness_quorum", "timestamp"], "L4"),
    ],
)
def test_what_nobody_is_trusted_for_is_missing_for_its_level(
    desk: Desk, left_out: str, missing: list[str], level: str
) -> None:
    options = desk.options(left_out)
    answered = desk.answer(*options, "--require", "L5", code=3)
    assert (answered["ok"], answered["level"], answered["missing"]) == (False, level, missing)
    shown = desk.shown(*options, "--require", "L5", code=3)
    assert f"L5 is required, and checks are missing for it: {' or '.join(missing)}." in shown
    assert desk.answer(*options, "--require", level)["ok"] is True


def test_a_level_above_a_gap_is_named_beside_the_one_that_is_reached(desk: Desk) -> None:
    shown = desk.shown(*desk.options("--package-key"))
    assert "L2: it is in a log that you trust." in shown
    assert "The checks of L4, L5 hold too, but not all of the levels below." in shown


def test_a_log_that_only_signs_for_itself_proves_nothing_of_who(desk: Desk) -> None:
    shown = desk.shown()
    assert "Verified." in shown
    assert "L2: self-signed; an operator can rewrite history until a checkpoint leaves this machine." in shown
    answered = desk.answer()
    assert (answered["required"], answered["level"]) == ("L1", "L2")
    assert desk.answer("--require", "L3", code=3)["missing"] == ["package_signature"]


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        (b"carol", b"mallo", None),
        (b'"exported_at":"2026', b'"exported_at":"2025', "L2"),
    ],
    ids=["an approver", "what only the signature covers"],
)
def test_a_changed_package_exits_3(desk: Desk, old: bytes, new: bytes, level: str | None) -> None:
    assert old in desk.package.read_bytes()
    desk.package.write_bytes(desk.package.read_bytes().replace(old, new))
    answered = desk.answer(*desk.options(), code=3)
    assert (answered["ok"], answered["level"]) == (False, level)
    assert status(answered, "package_signature") == "fail"
    shown = desk.shown(*desk.options(), code=3)
    assert "Failed." in shown
    assert "Verified." not in shown


def test_only_the_bytes_that_were_signed_are_what_was_signed(desk: Desk) -> None:
    package = json.loads(desk.package.read_bytes())
    desk.package.write_text(json.dumps(package, indent=2))
    assert desk.answer(*desk.options("--package-key"))["ok"] is True
    assert status(desk.answer(*desk.options(), code=3), "package_signature") == "fail"
    desk.package.write_text(canonical_json({"package": package, "digest": desk_digest_of(package)}))
    answer_of_a_tool = desk.answer()
    assert (answer_of_a_tool["level"], status(answer_of_a_tool, "digest_beside")) == ("L2", "pass")
    assert status(desk.answer(*desk.options(), code=3), "package_signature") == "fail"


def desk_digest_of(package: dict[str, Any]) -> str:
    return package["integrity"]["binding_digest"]


def test_the_envelope_is_the_one_that_is_named_or_else_the_one_beside_the_package(desk: Desk) -> None:
    options = (*desk.options(), "--require", "L3")
    beside = desk.folder / "package.dsse.json"
    elsewhere = beside.rename(desk.folder / "elsewhere")
    assert desk.answer(*options, code=3)["missing"] == ["package_signature"]
    assert desk.answer(*options, "--envelope", str(elsewhere))["ok"] is True
    beside.write_text("nonsense")
    assert status(desk.answer(*options, code=3), "package_signature") == "fail"
    assert desk.answer(*options, "--envelope", str(elsewhere))["ok"] is True


@pytest.mark.parametrize("form", ["json", "lines"])
def test_a_remembered_checkpoint_holds_a_later_package_to_one_history(tmp_path: Path, form: str) -> None:
    commands, remembered, proof = Commands(tmp_path), tmp_path / "remembered", tmp_path / "proof"
    for goal in ("one", "two"):
        commands.run("request", goal)
    commands.run("log", "checkpoint", "-o", str(remembered))
    package = tmp_path / "package.json"
    commands.run("audit", executed(commands), "-o", str(package))
    size = parse_log_proof(json.loads(package.read_text())["evidence"]["log_proof"]).note.split("\n")[1]
    commands.run("request", "what comes later is no part of the proof")
    consistency = commands.run("log", "consistency", str(remembered), "--size", size, "--json")
    log_key = commands.answer("key", "export")["key"]
    proof.write_text(consistency if form == "json" else "\n".join(json.loads(consistency)["proof"]))
    verify = (
        "verify",
        str(package),
        "--log-key",
        log_key,
        "--require",
        "L2",
        "--checkpoint",
        str(remembered),
    )
    unproved = commands.answer(*verify, code=3)
    assert (unproved["level"], status(unproved, "consistency")) == ("L1", "skipped")
    assert unproved["missing"] == ["consistency"]
    proved = commands.answer(*verify, "--consistency", str(proof))
    assert (proved["level"], status(proved, "consistency")) == ("L2", "pass")
    other = Commands(tmp_path, "other.db")
    other.run("request", "another history")
    other.run("log", "checkpoint", "-o", str(remembered))
    assert status(commands.answer(*verify, code=3), "consistency") == "fail"


def test_a_newer_proof_is_taken_before_the_one_in_the_package(tmp_path: Path) -> None:
    commands, package, proof = Commands(tmp_path), tmp_path / "package.json", tmp_path / "proof"
    request_id = executed(commands)
    commands.run("audit", request_id, "-o", str(package))
    commands.run("request", "something else")
    commands.run("log", "prove", request_id, "-o", str(proof))
    size = parse_log_proof(proof.read_text()).note.splitlines()[1]
    answered = commands.answer("verify", str(package), "--log-proof", str(proof))
    details = {check["name"]: check["detail"] for check in answered["checks"]}
    assert f"of {size} in" in details["log_inclusion"]
    proof.write_text(proof.read_text().replace("index ", "index 1"))
    refused = commands.answer("verify", str(package), "--log-proof", str(proof), code=3)
    assert status(refused, "log_inclusion") == "fail"


@needs_openssl
def test_a_timestamp_of_a_trusted_authority_stands_in_for_a_witness(desk: Desk) -> None:
    root = authority_in(desk.folder)
    between = issued_in(desk.folder, "between", root, "basicConstraints=critical,CA:TRUE")
    authority = issued_in(desk.folder, "stamper", between)
    note = parse_log_proof(json.loads(desk.package.read_bytes())["evidence"]["log_proof"]).note
    token = desk.folder / "token"
    token.write_bytes(stamped(desk.folder, authority, note.encode(), certificates=False))
    options = [*desk.options("--witness"), "--require", "L5", "--timestamp", str(token)]
    assert desk.answer(*options, code=3)["level"] == "L4"
    options += ["--timestamp-root", str(root.certificate)]
    assert status(desk.answer(*options, code=3), "timestamp") == "fail"
    for certificate in (between, authority):
        options += ["--timestamp-certificate", str(certificate.certificate)]
    assert desk.answer(*options)["level"] == "L5"


def test_a_witness_quorum_is_of_different_witnesses(desk: Desk) -> None:
    options = (*desk.options(), "--witness", str(WITNESS), "--require", "L5")
    answered = desk.answer(*options, "--witness-quorum", "2", code=3)
    assert answered["missing"] == ["witness_quorum", "timestamp"]
    assert desk.answer(*options, "--witness-quorum", "1")["ok"] is True


WORDS = ("--log-key", "--witness", "--require")
FILES = ("--allowed-signers", "--package-key", "--timestamp-root", "--timestamp-certificate")
UNUSABLE: dict[str, tuple[str, str | None]] = {
    **{f"{option}, not there": (option, None) for option in FILES},
    **{f"{option}, not there": (option, None) for option in ("--checkpoint", "--consistency", "--envelope")},
    **{f"{option}, not there": (option, None) for option in ("--log-proof", "--timestamp")},
    **{f"{option}, nonsense": (option, "nonsense") for option in (*WORDS, *FILES[1:], "--consistency")},
    "too many signers": ("--allowed-signers", "#" * 1_000_001),
    "a private key for a public one": ("--package-key", STRANGER.to_pem().decode()),
    "no list of hashes": ("--consistency", '{"proof": "AAAA"}'),
    "a list of something else": ("--consistency", '{"proof": [1]}'),
    "another document": ("--consistency", "{}"),
    "broken JSON": ("--consistency", "{"),
    "a broken hash": ("--consistency", "AAAA\n????"),
    "a witness for a log": ("--log-key", str(WITNESS)),
    "a log for a witness": ("--witness", str(Verifier(name="log", key=STRANGER.public))),
    "a level beyond": ("--require", "L6"),
    "no level": ("--require", ""),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_trust_that_cannot_be_used_blames_its_option(desk: Desk, name: str) -> None:
    option, content = UNUSABLE[name]
    file = desk.folder / "given"
    if content is not None:
        file.write_text(content)
    value = content if content is not None and option in WORDS else str(file)
    assert field(desk.answer(option, value, code=2)) == option


@pytest.mark.parametrize("quorum", ["0", "-1", "many"])
def test_a_quorum_is_a_number_of_witnesses(desk: Desk, quorum: str) -> None:
    desk.run("--witness-quorum", quorum, code=2)


BUNDLES = {
    "bundle": VECTORS / "control" / "bundle-executed.json",
    "run bundle": VECTORS / "router" / "router-bundle-apply.json",
}


@pytest.mark.parametrize("kind", BUNDLES)
def test_what_is_attached_to_a_package_is_refused_beside_a_bundle(desk: Desk, kind: str) -> None:
    options = ["--require", "L0", *desk.options(), "--envelope", str(desk.folder / "package.dsse.json")]
    taken = {"--require", "--allowed-signers", "--log-key"} if kind == "bundle" else set[str]()
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option in taken:
            Commands(desk.folder).answer("verify", str(BUNDLES[kind]), option, value)
            continue
        refused = Commands(desk.folder).answer("verify", str(BUNDLES[kind]), option, value, code=2)
        assert field(refused) == option
        assert kind in refused["message"]
    signers = {"NEXUS_CONTROL_ALLOWED_SIGNERS": str(desk.folder / "allowed_signers")}
    plain = nexus_control("verify", str(BUNDLES[kind]), "--json", changes=signers)
    answered = json.loads(plain.stdout)
    level, reached = ("L1", ["L0", "L1"]) if kind == "bundle" else (None, [])
    assert (plain.returncode, answered["level"], answered["reached"]) == (0, level, reached)
    assert "who wrote it" in Commands(desk.folder).run("verify", str(BUNDLES[kind]))


def bundle_of_the_desk(desk: Desk) -> Path:
    file = desk.folder / "bundle.json"
    file.write_text(json.dumps(signed_package().data["control_bundle"]))
    return file


def test_a_bundle_reaches_l1_and_says_what_it_cannot_show(desk: Desk) -> None:
    commands, file = Commands(desk.folder), str(bundle_of_the_desk(desk))
    answered = commands.answer("verify", file, "--require", "L1")
    assert (answered["ok"], answered["kind"], answered["level"]) == (True, "bundle", "L1")
    assert (answered["required"], answered["missing"]) == ("L1", [])
    trusted = commands.answer("verify", file, *desk.options("--package-key", "--witness"))
    assert trusted["reached"] == ["L0", "L1", "L4"]
    beyond = commands.answer("verify", file, "--require", "L2", code=3)
    assert (beyond["ok"], beyond["level"]) == (False, "L1")
    assert "log_inclusion" in beyond["missing"]
    assert "it ran as it had been approved" in " ".join(commands.run("verify", file).split())


def test_a_bundle_whose_approvals_were_cut_does_not_verify(desk: Desk) -> None:
    file = bundle_of_the_desk(desk)
    file.write_text(json.dumps(no_approvals()["control_bundle"]))
    answered = Commands(desk.folder).answer("verify", str(file), "--require", "L1", code=3)
    assert (answered["ok"], answered["level"], status(answered, "policy_satisfied")) == (False, "L0", "fail")
    shown = Commands(desk.folder).run("verify", str(file), code=3)
    assert "Failed." in shown
    assert "Verified." not in shown


def test_what_others_made_with_their_own_tools_verifies(tmp_path: Path) -> None:
    files = {
        "--package-key": "operator.pub",
        "--log-proof": "package.tlog-proof",
        "--timestamp": "ts.tsr",
        "--timestamp-root": "ca.pem",
    }
    options = [word for option, name in files.items() for word in (option, str(INTEROP / name))]
    answered = Commands(tmp_path).answer("verify", str(INTEROP / "package.json"), *options)
    assert (answered["level"], answered["reached"]) == ("L1", ["L0", "L1", "L3", "L5"])


def test_the_environment_names_the_verifiers_signers(desk: Desk) -> None:
    signers = {"NEXUS_CONTROL_ALLOWED_SIGNERS": str(desk.folder / "allowed_signers")}
    options = (*desk.options("--allowed-signers"), "--require", "L4", "--json")
    assert nexus_control("verify", str(desk.package), *options, changes=signers).returncode == 0
    assert nexus_control("verify", str(desk.package), *options).returncode == 3


def test_a_report_is_made_of_a_signed_package(desk: Desk) -> None:
    page = desk.folder / "report.html"
    made = Commands(desk.folder).answer("report", str(desk.package), "-o", str(page))
    assert (made["ok"], "holds together" in page.read_text()) == (True, True)


def test_at_a_terminal_a_long_reading_says_that_it_goes_on(desk: Desk) -> None:
    pipe = desk.folder / "pipe"
    os.mkfifo(pipe)
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "nexus_control", "verify", str(pipe)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        told = os.read(ours, 65536).decode()  # nothing is written to the pipe before
        pipe.write_bytes(desk.package.read_bytes())
        shown, _ = process.communicate()
    os.close(ours)
    assert "Still checking" in told
    assert (process.returncode, shown.startswith(b"Verified.")) == (0, True)
