"""The systemd units in the documents are ones that systemd takes, and that let a run end in peace."""

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nexus_control.values.instants import parse_duration
from tests.support import documents
from tests.support.places import REPOSITORY

PAGE = (REPOSITORY / "docs/howto/run-a-worker.md").read_text(encoding="utf-8")
UNITS = {name: text for name, text in documents.files(PAGE).items() if name.endswith((".service", ".timer"))}
SERVICES = [name for name in UNITS if name.endswith(".service")]
PROGRAM = "/opt/nexus-control/bin/nexus-control"


def service(name: str) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None)
    vars(parser)["optionxform"] = str  # the names of systemd keep their case
    parser.read_string(UNITS[name])
    return parser["Service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace(PROGRAM, sys.executable))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    ours = [line for line in ran.stderr.splitlines() if "nexus-control" in line or str(tmp_path) in line]
    assert (ran.returncode, ours) == (0, [])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_a_user_of_its_own_whose_runs_may_end_in_peace(name: str) -> None:
    unit = service(name)
    assert {key: unit[key] for key in ("User", "KillMode", "NoNewPrivileges", "ProtectSystem")} == {
        "User": "nexus-control",
        "KillMode": "mixed",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
    }
    assert unit["LoadCredential"].startswith("keys:")
    assert unit["StateDirectory"] == "nexus-control"
    words = unit["ExecStart"].split()
    assert words[:2] == [PROGRAM, "worker"]
    grace = words[words.index("--grace") + 1] if "--grace" in words else "30s"
    assert int(unit["TimeoutStopSec"]) > parse_duration(grace).total_seconds() + 30
