"""The command `inbox`: what it prints, where it refuses to listen, and how it keeps its token."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import TextIO
from urllib.parse import parse_qs, urlsplit

import pytest

from nexus_control import Actor, NexusControlTools
from tests.cli.running import environment, nexus_control
from tests.web.served import LONGEST, Served, served

ALICE = Actor("human", "alice")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with NexusControlTools(tmp_path / "store.db") as tools:
        assert tools.request("Rotate the keys", ALICE)
    return tmp_path / "store.db"


def started(
    *words: str, stdout: int = subprocess.PIPE, stderr: TextIO | None = None
) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "nexus_control", *words],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        text=True,
    )


def document(process: "subprocess.Popen[str]") -> dict[str, object]:
    """The JSON document that it prints first."""
    assert process.stdout is not None
    text = ""
    while not text.rstrip().endswith("\n}"):
        text += process.stdout.readline()
    return json.loads(text)


REFUSED = {
    "no port": (["--listen", "127.0.0.1"], "must be an address and a port"),
    "no address": (["--listen", ":8737"], "must be an address and a port"),
    "a name": (["--listen", "example.org:8737"], "must be an address and a port"),
    "a large port": (["--listen", "127.0.0.1:65536"], "must be an address and a port"),
    "another machine's address": (["--listen", "192.0.2.1:0"], "cannot be listened on"),
    "every address, without TLS": (["--listen", "0.0.0.0:0"], "is not https"),
    "every IPv6 address, without TLS": (["--listen", "[::]:0"], "is not https"),
    "one origin without TLS": (
        ["--listen", "0.0.0.0:0", "--origin", "https://a.localhost", "--origin", "http://a.localhost:1"],
        "is not https",
    ),
    "an address as origin": (["--listen", "127.0.0.1:0", "--origin", "http://127.0.0.1:8737"], "--origin"),
    "origins of two hosts": (
        ["--listen", "127.0.0.1:0", "--origin", "https://a.example.org", "--origin", "https://b.example.org"],
        "RP ID",
    ),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_it_cannot_serve_is_refused(database: Path, options: list[str], said: str) -> None:
    ended = nexus_control("--json", "inbox", "--db", str(database), *options)
    answer = json.loads(ended.stdout)
    assert (ended.returncode, answer["code"]) == (2, "INVALID_ARGUMENT")
    assert said in answer["message"]


def test_a_port_in_use_is_named(database: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        place = f"127.0.0.1:{other.getsockname()[1]}"
        ended = nexus_control("inbox", "--db", str(database), "--listen", place)
    assert ended.returncode == 2
    assert f"{place}, where another program listens" in " ".join(ended.stderr.split())


def test_each_start_has_a_new_token(database: Path) -> None:
    addresses = list[str]()
    for _ in range(2):
        with served(database) as inbox:
            addresses.append(inbox.query)
    assert len(set(addresses)) == 2


def test_a_token_file_is_made_for_its_owner_and_kept(database: Path, tmp_path: Path) -> None:
    file, tokens = tmp_path / "token", set[str]()
    for _ in range(2):
        with served(database, "--token-file", str(file)) as inbox:
            tokens.add(file.read_text().strip())
            assert inbox.send(f"GET /?token={file.read_text().strip()}").status == 200
    assert len(tokens) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_token_that_is_in_a_file_is_not_printed_where_it_is_kept(
    database: Path, tmp_path: Path, options: list[str]
) -> None:
    file, errors = tmp_path / "token", tmp_path / "errors"
    words = ["inbox", "--db", str(database), "--listen", "127.0.0.1:0", "--token-file", str(file), *options]
    with errors.open("w") as said, started(*words, stderr=said) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        while "http" not in line:
            line = process.stdout.readline()
        process.terminate()
        printed = line + process.stdout.read()
        assert process.wait(LONGEST) == 0
    assert file.read_text().strip() not in printed + errors.read_text()
    assert str(file) in "".join(errors.read_text().split())


def test_a_token_that_is_in_a_file_is_printed_at_a_terminal(database: Path, tmp_path: Path) -> None:
    file, (ours, theirs) = tmp_path / "token", os.openpty()
    words = ["inbox", "--db", str(database), "--listen", "127.0.0.1:0", "--token-file", str(file)]
    with started(*words, stdout=theirs) as process, os.fdopen(ours) as screen:
        os.close(theirs)
        assert screen.readline().strip().endswith(f"/?token={file.read_text().strip()}")
        process.terminate()
        assert process.wait(LONGEST) == 0


def test_a_configured_rp_id_is_kept_for_named_origins(database: Path, tmp_path: Path) -> None:
    file = tmp_path / "nexus-control.toml"
    file.write_text('[inbox]\norigins = ["https://approve.example.org"]\nrp_id = "example.org"\n')
    words = ["--json", "inbox", "--db", str(database), "--listen", "127.0.0.1:0", "--config", str(file)]
    with started(*words, "--origin", "https://other.example.org") as process:
        told = document(process)
        process.terminate()
        assert process.wait(LONGEST) == 0
    assert (told["origins"], told["rp_id"]) == (["https://other.example.org"], "example.org")
    ended = nexus_control(*words, "--origin", "http://localhost:8737")
    answer = json.loads(ended.stdout)
    assert (ended.returncode, answer["code"]) == (2, "INVALID_ARGUMENT")
    assert "the configured RP ID example.org" in answer["message"]


NOTED: dict[str, tuple[list[str], str]] = {
    "no signers": ([], "so nothing can be decided here"),
    "no origin": (["--allowed-signers", "{signers}"], "--origin http://localhost:"),
    "signers and origin": (["--allowed-signers", "{signers}", "--origin", "https://a.localhost"], ""),
    "another port": (
        ["--allowed-signers", "{signers}", "--origin", "http://localhost:8737"],
        "It listens at port",
    ),
}


@pytest.mark.parametrize("name", NOTED)
def test_a_start_after_which_no_approval_would_count_or_come_is_noted(
    database: Path, tmp_path: Path, name: str
) -> None:
    signers, errors = tmp_path / "signers", tmp_path / "errors"
    signers.touch()
    options, said = NOTED[name]
    with served(database, *(each.format(signers=signers) for each in options), errors=errors):
        pass
    noted = " ".join(errors.read_text().split())
    assert said in noted
    assert bool(noted) == bool(said)


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("a-token-of-sixteen\n", 0o644, "alone"), ("short\n", 0o600, "16 to 200"), ("", 0o600, "16 to 200"),
     ("with a space in it\n", 0o600, "16 to 200"), ("x" * 2000, 0o600, "16 to 200")],
)  # fmt: skip
def test_a_token_file_that_does_not_serve_is_refused(
    database: Path, tmp_path: Path, content: str, mode: int, said: str
) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(mode)
    ended = nexus_control(
        "inbox", "--db", str(database), "--listen", "127.0.0.1:0", "--token-file", str(file)
    )
    assert ended.returncode == 2
    assert said in " ".join(ended.stderr.split())
    assert file.read_text() == content


def test_with_json_it_prints_one_document(database: Path) -> None:
    with started("--json", "inbox", "--db", str(database), "--listen", "127.0.0.1:0") as process:
        told = document(process)
        process.terminate()
        assert process.wait(LONGEST) == 0
        assert process.stdout is not None
        assert process.stdout.read() == ""
    address = urlsplit(str(told["address"]))
    assert told == {
        "address": told["address"],
        "origins": [f"http://localhost:{address.port}"],
        "rp_id": "localhost",
        "may_decide": False,
    }
    assert len(parse_qs(address.query)["token"][0]) == 32


def test_the_configuration_names_its_origins(database: Path, tmp_path: Path) -> None:
    file = tmp_path / "nexus-control.toml"
    file.write_text('[inbox]\norigins = ["https://approve.example.org"]\n')
    words = ["inbox", "--db", str(database), "--listen", "0.0.0.0:0", "--config", str(file)]
    with started(*words) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("https://approve.example.org/?token=")
        process.terminate()
        assert process.wait(LONGEST) == 0


@pytest.mark.parametrize("seen_by", ["a page", "an open page"])
def test_it_ends_when_another_store_takes_the_place_of_its_own(
    database: Path, tmp_path: Path, seen_by: str
) -> None:
    errors = tmp_path / "errors"
    with errors.open("w") as said:
        process = started("inbox", "--db", str(database), "--listen", "127.0.0.1:0", stderr=said)
    try:
        assert process.stdout is not None
        inbox = Served(process, process.stdout.readline().strip())
        with inbox.connect() as page:
            if seen_by == "an open page":
                page.sendall(
                    f"GET /live?{inbox.query} HTTP/1.1\r\nHost: localhost:{inbox.port}\r\n\r\n".encode()
                )
                assert any(line.startswith(b"retry") for line in page.makefile("rb"))
            shutil.copy(database, tmp_path / "copy.db")
            (tmp_path / "copy.db").replace(database)
            if seen_by == "a page":
                assert inbox.get("/").status == 503
            assert process.wait(LONGEST) == 1
    finally:
        process.kill()
        process.communicate()
    assert "STORE_REPLACED" in errors.read_text()


def test_localhost_is_served_at_both_of_its_addresses(database: Path) -> None:
    with served(database) as inbox:
        for address in ("127.0.0.1", "::1"):
            if address == "::1" and not _has_ipv6():
                continue
            with (
                pytest.raises(OSError, match="in use"),
                socket.create_server(
                    (address, inbox.port), family=socket.AF_INET6 if ":" in address else socket.AF_INET
                ),
            ):
                pass


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False
