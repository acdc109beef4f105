"""report: it takes what verify takes, a file or a request of the store, and says on the page what was checked."""

import html
from pathlib import Path

import pytest

from tests.cli.office import field
from tests.cli.running import Commands
from tests.cli.test_artifacts import executed
from tests.evidence.signed_packages import ALLOWED_SIGNERS, PACKAGE_KEY, WITNESS, signed_package


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with a package that everybody signed who can, its envelope beside it, and the keys of those people."""
    signed = signed_package()
    (tmp_path / "package.json").write_bytes(signed.package)
    (tmp_path / "package.dsse.json").write_text(signed.envelope)
    (tmp_path / "allowed_signers").write_text(ALLOWED_SIGNERS)
    (tmp_path / "key.pem").write_text(PACKAGE_KEY.public.to_pem())
    return tmp_path


def trusted(desk: Path) -> list[str]:
    (log_key,) = signed_package().trust.log_keys
    files = ["--allowed-signers", str(desk / "allowed_signers"), "--package-key", str(desk / "key.pem")]
    return [*files, "--log-key", log_key, "--witness", str(WITNESS)]


def test_the_page_is_of_the_same_checks_as_verify(desk: Path) -> None:
    commands, package, page = Commands(desk), str(desk / "package.json"), desk / "report.html"
    verified = commands.answer("verify", package, *trusted(desk), "--require", "L5")
    made = commands.answer("report", package, *trusted(desk), "--require", "L5", "-o", str(page))
    assert (made["ok"], made["level"], made["digest"]) == (True, verified["level"], verified["digest"])
    text = html.unescape(page.read_text())
    assert "36 of 37 checks were made, none failed. 1 check was skipped" in text
    assert "L5: others saw the log" in text
    assert all(check["detail"] in text for check in verified["checks"])


def test_without_trust_the_page_says_what_was_skipped_and_what_the_next_level_needs(desk: Path) -> None:
    commands, page = Commands(desk), desk / "report.html"
    made = commands.answer("report", str(desk / "package.json"), "-o", str(page))
    assert (made["ok"], made["level"]) == (True, "L2")
    text = html.unescape(page.read_text())
    assert "33 of 37 checks were made" in text
    assert "L3 needs package_signature (nobody is trusted to sign packages" in text
    short = commands.answer("report", str(desk / "package.json"), "--require", "L3", "-o", str(page), code=3)
    assert short["ok"] is False
    assert "holds together, but L3 is not reached" in page.read_text()


def test_an_envelope_that_is_not_beside_the_package_is_named(desk: Path) -> None:
    commands, key = Commands(desk), ["--package-key", str(desk / "key.pem"), "--require", "L3"]
    log_key = ["--log-key", *signed_package().trust.log_keys]
    elsewhere = (desk / "package.dsse.json").rename(desk / "elsewhere")
    commands.run("report", str(desk / "package.json"), *key, *log_key, code=3)
    commands.run("report", str(desk / "package.json"), *key, *log_key, "--envelope", str(elsewhere))


@pytest.mark.parametrize("option", ["--package-key", "--envelope", "--checkpoint", "--timestamp"])
def test_a_file_that_is_not_there_blames_its_option(desk: Path, option: str) -> None:
    refused = Commands(desk).answer("report", str(desk / "package.json"), option, str(desk / "no"), code=2)
    assert field(refused) == option
    assert str(desk / "no") in refused["message"]


def test_the_page_never_replaces_a_file_that_it_is_made_from(desk: Path) -> None:
    key, package = desk / "key.pem", desk / "package.json"
    before = key.read_bytes(), package.read_bytes()
    for output in (key, package):
        Commands(desk).run("report", str(package), "--package-key", str(key), "-o", str(output), code=2)
    assert (key.read_bytes(), package.read_bytes()) == before


def test_a_request_of_the_store_is_named_by_the_beginning_of_its_id(tmp_path: Path) -> None:
    commands, page = Commands(tmp_path), tmp_path / "report.html"
    request_id = executed(commands)
    made = commands.answer("report", request_id[:8], "-o", str(page))
    assert (made["ok"], made["level"]) == (True, "L2")
    text = page.read_text()
    assert "<h1>Decision completed</h1>" in text
    assert "The steps of the apply at" in text
    assert "exit code 0" in text


def test_the_page_of_an_open_request_says_what_is_missing(tmp_path: Path) -> None:
    commands, page = Commands(tmp_path), tmp_path / "report.html"
    request_id = commands.answer("request", "g", "--as", "human:alice")["request_id"]
    commands.run("report", request_id, "-o", str(page))
    text = page.read_text()
    assert "<h1>Decision pending approval</h1>" in text
    assert "0 of 1 approval counted here. Not executable: Missing 1 approval (0 of 1)." in text
    commands.run("approve", request_id, "--yes", "--as", "human:bob")
    commands.run("report", request_id, "-o", str(page))
    assert "Nothing keeps it from being executed." in page.read_text()


def test_a_file_is_taken_before_a_request_and_a_name_that_is_neither_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = Commands(tmp_path)
    request_id = commands.answer("request", "g")["request_id"]
    monkeypatch.chdir(tmp_path)
    Path(request_id).write_text("{")
    assert commands.answer("report", request_id, code=2)["code"] == "JSON_INVALID"
    Path(request_id).unlink()
    assert commands.answer("report", request_id)["ok"] is True
    refused = commands.answer("report", "unheard", code=1)
    assert refused["code"] == "DECISION_NOT_FOUND"
    assert "There is no file 'unheard' here." in refused["message"]
    assert field(commands.answer("report", "unheard.json", code=2)) == "FILE"
