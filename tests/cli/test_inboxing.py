"""The command `inbox`: what it prints, where it refuses to listen, and how it keeps its token."""

import json
import socket
import stat
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from nexus_control import Actor, NexusControlTools
from tests.cli.running import environment, nexus_control
from tests.web.served import LONGEST, served

ALICE = Actor("human", "alice")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with NexusControlTools(tmp_path / "store.db") as tools:
        assert tools.request("Rotate the keys", ALICE)
    return tmp_path / "store.db"


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
    file, addresses = tmp_path / "token", list[str]()
    for _ in range(2):
        with served(database, "--token-file", str(file)) as inbox:
            addresses.append(inbox.query)
    assert addresses == [f"token={file.read_text().strip()}"] * 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("a-token-of-sixteen\n", 0o644, "alone"), ("short\n", 0o600, "16 to 200"), ("", 0o600, "16 to 200"),
     ("with a space in it\n", 0o600, "16 to 200"), ("x" * 2000, 0o600, "cannot be read")],
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
    words = ["--json", "inbox", "--db", str(database), "--listen", "127.0.0.1:0"]
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_control", *words],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("\n}"):
            text += process.stdout.readline()
        process.terminate()
        assert process.wait(LONGEST) == 0
        assert process.stdout.read() == ""
    told: dict[str, object] = json.loads(text)
    address = urlsplit(str(told["address"]))
    assert told == {
        "address": told["address"],
        "origins": [f"http://localhost:{address.port}"],
        "rp_id": "localhost",
        "may_decide": True,
    }
    assert len(parse_qs(address.query)["token"][0]) == 32


def test_the_configuration_names_its_origins(database: Path, tmp_path: Path) -> None:
    file = tmp_path / "nexus-control.toml"
    file.write_text('[inbox]\norigins = ["https://approve.example.org"]\n')
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_control", "inbox", "--db", str(database), "--listen", "0.0.0.0:0",
         "--config", str(file)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith("https://approve.example.org/?token=")
        process.terminate()
        assert process.wait(LONGEST) == 0


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
