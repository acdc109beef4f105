"""The commands of auditors: export, import, audit, verify, report."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools, verify_audit_package
from nexus_control.canonical_json import canonical_json
from tests.cli.running import Commands
from tests.support.places import REPOSITORY

VECTORS = sorted((REPOSITORY / "tests" / "vectors" / "control").glob("*.json"))
CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.write]
argv = ["sh", "-c", 'printf "%s" "$1" > "$2"', "sh", "{text}", "{file}"]
"""


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


def executed(commands: Commands) -> str:
    """A decision that was executed with the adapters of adapters.toml."""
    config = commands.folder / "adapters.toml"
    config.write_text(CONFIG)
    call = {"tool": "files", "method": "write", "args": {"text": "new", "file": str(commands.folder / "f")}}
    plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
    asked = commands.answer("request", "write it", "--mode", "apply", "--plan", plan, "--as", "human:alice")
    commands.run("approve", asked["request_id"], "--yes", "--as", "human:bob")
    commands.run("execute", asked["request_id"], "--adapter", "subprocess:files", "--config", str(config))
    return asked["request_id"]


def test_a_bundle_goes_to_another_store_and_authorises_nothing_there(
    commands: Commands, tmp_path: Path
) -> None:
    asked = commands.answer("request", "g", "--as", "human:alice")["request_id"]
    commands.run("approve", asked, "--yes", "--as", "human:bob")
    written = commands.answer("export", asked, "-o", str(tmp_path / "bundle.json"))
    printed = json.loads(commands.run("export", asked))
    assert printed["integrity"] == json.loads((tmp_path / "bundle.json").read_bytes())["integrity"]
    other = Commands(tmp_path, "other.db")
    imported = other.answer("import", str(tmp_path / "bundle.json"))["imported"]
    assert (imported["decision_id"], imported["events_imported"]) == (asked, 3)
    reasons = other.answer("status", asked)["blocking_reasons"]
    assert [each["code"] for each in reasons] == ["IMPORTED_APPROVALS"]
    assert other.answer("import", str(tmp_path / "bundle.json"), code=1)["code"] == "DECISION_EXISTS"
    assert other.answer("export", asked)["digest"] == written["digest"]


def test_an_audit_package_embeds_the_run_and_verifies(commands: Commands, tmp_path: Path) -> None:
    request_id = executed(commands)
    package = tmp_path / "package.json"
    config = ("--embed", "--config", str(tmp_path / "adapters.toml"))
    written = commands.answer("audit", request_id, *config, "-o", str(package))
    assert verify_audit_package(package.read_bytes()).ok
    verified = commands.answer("verify", str(package))
    assert (verified["ok"], verified["kind"], verified["digest"]) == (True, "package", written["digest"])
    assert {check["name"] for check in verified["checks"]} >= {
        "binding_digest",
        "router_digest",
        "state_machine",
    }
    run = tmp_path / "run.json"
    run.write_text(canonical_json(json.loads(package.read_bytes())["router"]["bundle"]))
    again = commands.answer("audit", request_id, "--run-bundle", str(run))
    assert again["digest"] == written["digest"]
    assert commands.answer("verify", str(run))["kind"] == "run bundle"
    reference = commands.answer("audit", request_id)
    assert reference["package"]["router"]["mode"] == "reference"
    assert commands.answer("audit", request_id, "--embed", code=1)["code"] == "ROUTER_NOT_CONFIGURED"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
def test_what_1_0_exported_verifies(commands: Commands, vector: Path) -> None:
    assert "Verified." in commands.run("verify", str(vector))
    checks = commands.answer("verify", str(vector))["checks"]
    assert {check["status"] for check in checks} <= {"pass", "info", "skipped"}
    assert checks[-1]["name"] == "digest_beside"


def test_a_real_routers_run_bundle_verifies_and_a_changed_one_does_not(
    commands: Commands, tmp_path: Path
) -> None:
    vector = REPOSITORY / "tests" / "vectors" / "router" / "router-bundle-apply.json"
    assert commands.answer("verify", str(vector))["kind"] == "run bundle"
    changed = tmp_path / "changed.json"
    changed.write_text(vector.read_text().replace("demo apply", "demo apple"))
    assert [each["status"] for each in commands.answer("verify", str(changed), code=3)["checks"]] == ["fail"]


def forge(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "failing"),
    [
        ('"id":"bob"', '"id":"eve"', {"control_bundle_digest"}),
        ('"min_approvals":1', '"min_approvals":2', {"control_bundle_digest", "event_digests"}),
        ('"status":"COMPLETED"', '"status":"FAILED"', {"control_bundle_digest", "header_equals_replay"}),
        ('"seq":3', '"seq":9', {"control_bundle_digest", "event_sequence"}),
        ("EXECUTION_STARTED", "POLICY_ATTACHED", {"state_machine", "control_bundle_digest"}),
        ('"package_version":"0.6"', '"package_version":"0.7"', {"schema"}),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "fails",
)
def test_a_forged_package_exits_3_and_names_every_check_that_fails(
    commands: Commands, old: str, new: str, failing: set[str], tmp_path: Path
) -> None:
    package = tmp_path / "package.json"
    commands.answer("audit", executed(commands), "-o", str(package))
    forge(package, old, new)
    verified = commands.answer("verify", str(package), code=3)
    assert verified["ok"] is False
    assert failing <= {each["name"] for each in verified["checks"] if each["status"] == "fail"}
    shown = commands.run("verify", str(package), code=3)
    assert "Failed." in shown
    page = tmp_path / "report.html"
    commands.run("report", str(package), "-o", str(page), code=3)
    assert "does not hold together" in page.read_text()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda path: path.stem)
def test_every_vector_becomes_a_page_without_anything_active(
    commands: Commands, vector: Path, tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    made = commands.answer("report", str(vector), "-o", str(page))
    html = page.read_text()
    assert (made["ok"], made["bytes"]) == (True, len(html.encode()))
    assert "holds together" in html
    assert "default-src 'none'" in html
    for active in ("<script", "<img", "<link", "<iframe", "url(", "@import", "http://", "https://"):
        assert active not in html
    assert commands.run("report", str(vector)) == html


UNREADABLE: dict[str, tuple[bytes | None, str]] = {
    "is missing": (None, "INVALID_ARGUMENT"),
    "is no JSON": (b"no", "JSON_INVALID"),
    "is another document": (b'{"hello": "world"}', "INVALID_ARGUMENT"),
    "is a list": (b"[1]", "INVALID_ARGUMENT"),
    "says a key twice": (b'{"package_version": "0.6", "package_version": "0.6"}', "JSON_INVALID"),
}


def test_a_page_names_padding(commands: Commands, tmp_path: Path) -> None:
    plan = f"1. look{chr(10) * 3000}2. delete"
    request_id = commands.answer("request", f"tidy{' ' * 4000}up", "--plan", plan)["request_id"]
    commands.run("export", request_id, "-o", str(tmp_path / "bundle.json"))
    commands.run("report", str(tmp_path / "bundle.json"), "-o", str(tmp_path / "page.html"))
    page = (tmp_path / "page.html").read_text()
    assert "tidy … 4000 blanks … up" in page
    assert "1. look\n… 2999 empty lines …\n2. delete" in page


@pytest.mark.parametrize("command", ["verify", "report"])
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_that_is_no_evidence_exits_2(
    commands: Commands, command: str, name: str, tmp_path: Path
) -> None:
    content, code = UNREADABLE[name]
    file = tmp_path / "file.json"
    if content is not None:
        file.write_bytes(content)
    assert commands.answer(command, str(file), code=2)["code"] == code


def test_a_file_that_cannot_be_written_is_named(commands: Commands, tmp_path: Path) -> None:
    asked = commands.answer("request", "g")["request_id"]
    refused = commands.answer("export", asked, "-o", str(tmp_path / "nowhere" / "bundle.json"), code=2)
    assert refused["details"]["fields"][0]["field"] == "--output"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".writing")] == []


def test_an_unchecked_import_is_evidence_only(commands: Commands, tmp_path: Path) -> None:
    vector: dict[str, Any] = json.loads(VECTORS[2].read_bytes())
    vector["bundle"]["decision"]["goal"] = "another goal"
    file = tmp_path / "bundle.json"
    file.write_text(canonical_json(vector["bundle"]))
    assert commands.answer("import", str(file), code=1)["code"] == "INTEGRITY_MISMATCH"
    imported = commands.answer("import", str(file), "--forensic")["imported"]
    assert imported["forensic"] is True
    tools = NexusControlTools(db_path=commands.folder / "store.db")
    codes = [each["code"] for each in tools.status(imported["decision_id"]).data["blocking_reasons"]]
    assert "FORENSIC_IMPORT" in codes


@pytest.mark.parametrize("obstacle", ["a folder", "a full device"])
@pytest.mark.parametrize("which", ["package.json", "package.dsse.json"])
def test_a_signed_package_of_which_a_file_cannot_be_written_says_what_is(
    commands: Commands, tmp_path: Path, which: str, obstacle: str
) -> None:
    request_id, key, obstructed = executed(commands), tmp_path / "key", tmp_path / which
    commands.run("key", "generate", str(key))
    package, envelope = tmp_path / "package.json", tmp_path / "package.dsse.json"
    for each in (package, envelope):
        each.write_text("old")
    obstructed.unlink()
    if obstacle == "a folder":
        obstructed.mkdir()
    else:
        try:
            os.mknod(obstructed, 0o600 | stat.S_IFCHR, os.makedev(1, 7))
            obstructed.open("wb").close()
        except OSError as error:
            pytest.skip(f"no nodes can be made or opened here: {error}")
    refused = commands.answer("audit", request_id, "--sign", str(key), "-o", str(package), code=2)
    assert which in refused["message"]
    is_half = obstructed == package and obstacle != "a folder"
    assert (f"{envelope} is written" in refused["next"]) == is_half
    assert ("nothing was written" in refused["next"]) != is_half
    other = envelope if obstructed == package else package
    assert (other.read_text() == "old") != is_half
