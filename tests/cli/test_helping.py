"""The help, and what the shell completes."""

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nexus_control.cli.commands import COMMANDS, GROUPS
from nexus_control.cli.main import app
from tests.cli.office import CONFIG
from tests.cli.running import Commands, command_names, environment, nexus_control

NAMES = [(name,) for name in COMMANDS]


def help_of(*words: str) -> list[str]:
    ran = CliRunner().invoke(app, [*words, "-h"], prog_name="nexus-control")
    assert ran.exit_code == 0, ran.output
    return ran.stdout.splitlines()


def test_each_command_is_in_one_group_of_the_help() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert len(grouped) == len(set(grouped))
    assert set(COMMANDS) <= set(grouped)
    shown = help_of()
    for heading in GROUPS:
        assert f"{heading}:" in shown


@pytest.mark.parametrize(
    "words", [(), *NAMES, *(each for each in command_names(app) if len(each) > 1)], ids=" ".join
)
def test_each_help_and_each_groups_has_an_example_on_one_line(words: tuple[str, ...]) -> None:
    (example,) = [line for line in help_of(*words) if "Example:" in line]
    assert example.startswith(f"  Example: nexus-control {' '.join(words)}".rstrip())


def test_the_help_fills_the_terminals_width() -> None:
    for width, least in ((80, 60), (120, 81), (300, 81)):
        shown = nexus_control("request", "-h", changes={"COLUMNS": str(width)}).stdout.splitlines()
        assert least <= max(map(len, shown)) <= min(width, 120)


@pytest.mark.parametrize(
    ("words", "option", "choices"),
    [
        (("request",), "--mode", "<dry_run|apply>"),
        (("request",), "--min-assurance", "<declared|elicited|local|signed>"),
        (("template", "create"), "--allowed-mode", "<dry_run|apply>"),
        (("reconcile",), "--outcome", "<completed|failed>"),
        (("statement",), "--verdict", "<approve|deny|revoke>"),
        (("import",), "--conflict-mode", "<reject_on_conflict|new_decision_id|overwrite>"),
    ],
)
def test_the_help_lists_the_choices_of_an_option(words: tuple[str, ...], option: str, choices: str) -> None:
    assert f"{option} {choices}" in "\n".join(help_of(*words))


def test_a_wrong_choice_is_refused_with_the_right_ones(tmp_path: Path) -> None:
    refused = nexus_control("request", "g", "--mode", "wild", "--db", str(tmp_path / "s.db"))
    assert refused.returncode == 2
    assert "Invalid value for '--mode': 'wild' is not one of 'dry_run', 'apply'." in refused.stderr


@pytest.mark.parametrize(
    ("typed", "meant"), [("aprove", "approve"), ("statsu", "status"), ("template crate", "create")]
)
def test_a_wrong_command_suggests_the_nearest(typed: str, meant: str) -> None:
    ran = nexus_control(*typed.split())
    assert ran.returncode == 2
    assert f"Did you mean '{meant}'" in ran.stderr


def completed(folder: Path, *words: str) -> list[str]:
    """What the shell is offered for the last of these words."""
    variables = {
        "_NEXUS_CONTROL_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["nexus-control", *words]),
        "COMP_CWORD": str(len(words)),
    }
    ran = subprocess.run(
        [sys.executable, "-c", "from nexus_control.__main__ import main; main()"],
        cwd=folder,
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ran.stderr == ""
    return ran.stdout.split()


@pytest.fixture
def office(tmp_path: Path) -> Commands:
    commands = Commands(tmp_path, "nexus-control.db")
    commands.run("template", "create", "production")
    commands.run("template", "create", "--", "$(touch made)")
    (tmp_path / "nexus-control.toml").write_text(CONFIG)
    return commands


def test_the_shell_completes_commands_options_choices_requests_templates_and_adapters(
    office: Commands,
) -> None:
    request_id = office.answer("request", "g")["request_id"]
    folder = office.folder
    before = {each: each.read_bytes() for each in folder.iterdir()}
    assert completed(folder, "withd") == ["withdraw"]
    assert completed(folder, "template", "") == ["create", "get", "list"]
    assert completed(folder, "approve", "--fu") == ["--full"]
    assert completed(folder, "request", "--mode", "") == ["dry_run", "apply"]
    assert completed(folder, "approve", request_id[:4]) == [request_id]
    assert completed(folder, "request", "g", "--template", "") == ["production"]  # not what a shell would run
    assert completed(folder, "execute", request_id, "--adapter", "sub") == ["subprocess:files"]
    assert {each: each.read_bytes() for each in folder.iterdir()} == before


def test_where_there_is_no_store_nothing_is_completed_and_none_is_made(tmp_path: Path) -> None:
    assert completed(tmp_path, "approve", "") == []
    assert completed(tmp_path, "approve", "--db", "other.db", "") == []
    assert list(tmp_path.iterdir()) == []
