import hashlib
import json
import os
import pty
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nexus_control import (
    DecisionStore,
    EvidenceReport,
    NexusControlTools,
    Trust,
    __version__,
    verify_audit_package,
    verify_evidence,
)
from nexus_control.audit_package import router_bundle_digest
from nexus_control.evidence.run_bundle import run_bundle_digest
from nexus_control.integrity import prefixed
from tests.cli.running import environment, nexus_control
from tests.support.cpu import by_children

STEPS = [
    "The platform team agrees on rules",
    "An agent asks",
    "The agent does not wait",
    "People decide",
    "A rehearsal",
    "Somebody edits the adapter after the approvals",
    "The execution",
    "Once only",
    "The audit package",
    "Forged copies",
]


@dataclass(frozen=True)
class Kept:
    folder: Path
    report: dict[str, Any]

    def step(self, title: str) -> dict[str, Any]:
        return next(step for step in self.report["steps"] if step["title"] == title)

    def read(self, name: str) -> Any:
        return json.loads((self.folder / name).read_bytes())


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("demo") / "kept"
    ran = nexus_control("demo", "--json", "--keep", str(folder))
    assert (ran.returncode, ran.stderr) == (0, "")
    return Kept(folder, json.loads(ran.stdout))


def test_the_demo_goes_from_request_to_forged_copies_at_the_cost_of_15_starts(tmp_path: Path) -> None:
    with by_children() as start:
        nexus_control("--version")
    with by_children() as spent:
        ran = nexus_control("demo", changes={"TMPDIR": str(tmp_path)})
    assert spent.seconds < 15 * start.seconds
    assert (ran.returncode, ran.stderr) == (0, "")
    assert [line for line in ran.stdout.splitlines() if line[:1].isdigit() and ". " in line[:4]] == [
        f"{number}. {title}" for number, title in enumerate(STEPS, start=1)
    ]


def test_without_keep_nothing_is_left_behind(tmp_path: Path) -> None:
    ran = nexus_control("demo", folder=tmp_path, changes={"TMPDIR": str(tmp_path)})
    assert ran.returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sample(1)
@pytest.mark.parametrize(("said", "width"), [({}, 80), ({"COLUMNS": "120"}, 120)])
def test_piped_output_is_plain_text_that_fits(said: dict[str, str], width: int) -> None:
    lines = nexus_control("demo", changes=said).stdout.splitlines()
    assert max(len(line) for line in lines if not is_command(line)) <= width
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_a_pipe_stays_plain_whatever_the_shell_says_of_colour() -> None:
    assert "\x1b" not in nexus_control("demo", changes={"FORCE_COLOR": "1", "TERM": "xterm-256color"}).stdout


@pytest.mark.sample(1)
@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_colours_and_lines_that_fit(width: int) -> None:
    reader, writer = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "nexus_control", "demo"],
        env=environment(TERM="xterm-256color", COLUMNS=str(width), LANG="C.UTF-8"),
        stdin=subprocess.DEVNULL,
        stdout=writer,
    )
    os.close(writer)
    shown = b""
    with process, os.fdopen(reader, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(65536):
                shown += part
        except OSError:
            pass  # Linux says EIO when the last writer is gone
    assert process.returncode == 0
    text = shown.decode()
    assert "\x1b[32m" in text
    plain = [strip_colours(line) for line in text.split("\r\n")]
    assert "\x1b" not in "".join(plain)
    assert max(len(line) for line in plain if not is_command(line)) <= width


def is_command(line: str) -> bool:
    """A command is on one line, however long, so that it can be copied."""
    return line.startswith(f"    {sys.executable} ")


def strip_colours(line: str) -> str:
    before, *coloured = line.split("\x1b[")
    return before + "".join(part.partition("m")[2] for part in coloured)


def test_the_report_has_every_step_and_says_where_things_are(kept: Kept) -> None:
    assert kept.report["ok"] is True
    assert kept.report["version"] == __version__
    assert Path(kept.report["folder"]) == kept.folder
    assert [step["title"] for step in kept.report["steps"]] == STEPS


def test_json_is_accepted_before_the_command_too() -> None:
    ran = nexus_control("--json", "demo")
    assert ran.returncode == 0
    assert json.loads(ran.stdout)["folder"] is None


def test_the_early_execution_is_refused_with_every_reason_and_writes_nothing(kept: Kept) -> None:
    step = kept.step("The agent does not wait")
    reasons = step["refusal"]["details"]["reasons"]
    assert [reason["code"] for reason in reasons] == [
        "MISSING_APPROVALS",
        "CAPABILITIES_MISSING",
        "ADAPTER_MISMATCH",
    ]
    assert step["event_count"] == 2


def test_only_two_different_eligible_people_are_recorded(kept: Kept) -> None:
    answers = [(each["actor"]["id"], each["success"]) for each in kept.step("People decide")["answers"]]
    assert answers == [
        ("ops-agent", False),
        ("alice@example.com", True),
        ("Alice@Example.com", False),
        ("bob@example.com", True),
    ]
    assert [actor for actor, event in recorded(kept) if event == "APPROVAL_GRANTED"] == [
        "alice@example.com",
        "bob@example.com",
    ]


def recorded(kept: Kept) -> list[tuple[str, str]]:
    events = kept.read("audit-package.json")["control_bundle"]["events"]
    return [(event["actor"]["id"], event["type"]) for event in events]


def test_the_rehearsal_changes_no_file_and_the_execution_really_does(kept: Kept) -> None:
    rehearsed, executed = kept.step("A rehearsal"), kept.step("The execution")
    before, after = executed["files_before"], executed["files_after"]
    assert rehearsed["files"] == before
    assert rehearsed["execution"]["steps_executed"] == executed["execution"]["steps_executed"] == 3
    assert before["billing.env"] != after["billing.env"]
    assert set(after) - set(before) == {"rotations.log"}
    on_disk = {
        path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in (kept.folder / "service").iterdir()
    }
    assert on_disk == after


def test_no_shell_reads_what_a_plan_says(kept: Kept) -> None:
    assert (
        kept.folder / "service" / "rotations.log"
    ).read_text() == "keys of billing replaced; $(id) is text\n"


def test_no_key_is_in_the_evidence_or_in_the_report(kept: Kept) -> None:
    settings = (kept.folder / "service" / "billing.env").read_text().splitlines()
    keys = [line.partition("=")[2] for line in settings if not line.startswith("SERVICE=")]
    assert len(keys) == 2
    told = json.dumps(kept.report) + (kept.folder / "audit-package.json").read_text()
    assert [key for key in keys if key in told] == []


def test_an_adapter_edited_after_the_approvals_is_refused(kept: Kept) -> None:
    step = kept.step("Somebody edits the adapter after the approvals")
    assert [each["code"] for each in step["refusal"]["details"]["reasons"]] == ["ADAPTER_CHANGED"]


def test_a_second_execution_is_refused(kept: Kept) -> None:
    step = kept.step("Once only")
    assert [each["code"] for each in step["refusal"]["details"]["reasons"]] == ["ALREADY_EXECUTED"]
    assert [event for _, event in recorded(kept)].count("EXECUTION_COMPLETED") == 2  # one of them rehearsed


def with_keys(kept: Kept, package: str) -> EvidenceReport:
    """What the auditor finds who got both keys beforehand."""
    trust = Trust(
        package_keys=[(kept.folder / "auditor" / "package.pub").read_text()],
        log_keys=[(kept.folder / "auditor" / "log.key").read_text()],
    )
    envelope = (kept.folder / "audit-package.dsse.json").read_bytes()
    content = (kept.folder / package).read_bytes()
    return verify_evidence(content, trust=trust, envelope=envelope, require="L3")


def failing(report: EvidenceReport) -> list[str]:
    return [check.name for check in report.checks if check.status == "fail"]


def test_the_kept_package_verifies_and_embeds_the_run_that_was_recorded(kept: Kept) -> None:
    report = with_keys(kept, "audit-package.json")
    assert (report.ok, report.level) == (True, "L3")
    assert verify_audit_package((kept.folder / "audit-package.json").read_bytes()).ok
    run = kept.read("run-bundle.json")
    assert kept.read("audit-package.json")["router"] == {"mode": "embedded", "bundle": run}
    assert router_bundle_digest(run) == prefixed(run_bundle_digest(run))


def test_the_kept_database_exports_the_same_package_again(kept: Kept) -> None:
    request_id = kept.step("An agent asks")["request"]["request_id"]
    with DecisionStore(kept.folder / "decisions.db") as store:
        again = NexusControlTools(store).export_audit_package(
            request_id, embed_router_bundle=True, router_bundle=kept.read("run-bundle.json")
        )
    assert again.data["digest"] == kept.step("The audit package")["digest"]


@pytest.mark.parametrize(
    ("name", "check"), [("approver", "control_bundle_digest"), ("quorum", "policy_within_template")]
)
def test_a_forged_copy_fails_its_check_without_any_key(kept: Kept, name: str, check: str) -> None:
    assert check in failing(verify_evidence((kept.folder / f"forged-{name}.json").read_bytes()))


@pytest.mark.parametrize(("name", "level"), [("resealed", "L1"), ("relogged", "L2")])
def test_a_consistent_forgery_passes_without_keys_and_fails_with_them(
    kept: Kept, name: str, level: str
) -> None:
    alone = verify_evidence((kept.folder / f"forged-{name}.json").read_bytes())
    assert (failing(alone), alone.level) == ([], level)
    assert "package_signature" in failing(with_keys(kept, f"forged-{name}.json"))


def test_the_command_that_the_demo_ends_with_verifies_the_package(kept: Kept) -> None:
    key = (kept.folder / "auditor" / "log.key").read_text().strip()
    options = ("--require", "L3", "--package-key", "auditor/package.pub", "--log-key", key)
    for package, code in (("audit-package.json", 0), ("forged-relogged.json", 3)):
        ran = nexus_control("verify", package, *options, folder=kept.folder)
        assert ran.returncode == code, ran.stdout + ran.stderr


def test_a_folder_that_is_not_empty_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    ran = nexus_control("demo", "--keep", str(tmp_path))
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is not empty: name a folder that is new or empty" in " ".join(ran.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_file_in_place_of_a_folder_is_refused_in_json_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    ran = nexus_control("demo", "--json", "--keep", str(tmp_path / "file"))
    assert ran.returncode == 2
    answer = json.loads(ran.stdout)
    assert answer["ok"] is False
    assert "cannot be used" in answer["error"]


def test_a_step_that_goes_otherwise_ends_the_demo_with_1_and_says_which(tmp_path: Path) -> None:
    ran = nexus_control("demo", "--json", changes={"PATH": str(tmp_path)})  # no sh to rotate the keys with
    report = json.loads(ran.stdout)
    assert (ran.returncode, report["ok"], len(report["steps"])) == (1, False, 4)
    assert report["error"].startswith("step 5: it was refused: ROUTER_NOT_READY")
    told = nexus_control("demo", changes={"PATH": str(tmp_path)})
    assert told.returncode == 1
    assert "nexus-control demo: step 5: it was refused: ROUTER_NOT_READY" in told.stderr


def test_a_reader_that_goes_away_ends_the_demo_quietly() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "nexus_control", "demo"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(240) == -signal.SIGPIPE
