"""adapter list, show, check and pin: what is declared, and whether it would run."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from nexus_control.configuration import FILE_NAME
from nexus_control.execution.config import load_adapters
from tests.cli.running import Commands, at_a_terminal

DOWNSTREAM = Path(__file__).parent.parent / "execution" / "downstream.py"

DECLARED = """
[adapters.keys]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
timeout_seconds = 1
env = { TOKEN = "s3cret", REGION = "eu-1" }
[adapters.keys.tools.rotate]
argv = ["./rotate.sh", "--service", "{service}", "--in={region}"]
dry_run_argv = ["echo", "--", "{service}"]
[adapters.old]
kind = "subprocess"
capabilities = ["apply"]
protocol = "call"
command = ["sh", "tool.sh"]
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    monkeypatch.chdir(tmp_path)
    (tmp_path / FILE_NAME).write_text(DECLARED)
    return Commands(tmp_path)


def script(folder: Path, mode: int = 0o755) -> None:
    (folder / "rotate.sh").write_text("#!/bin/sh\n")
    (folder / "rotate.sh").chmod(mode)


def test_the_list_has_each_adapter_with_its_methods(commands: Commands) -> None:
    shown = commands.run("adapter", "list")
    assert str(commands.folder / FILE_NAME) in shown
    rows = [line.split() for line in shown.splitlines()[-2:]]
    assert rows[0] == ["subprocess:keys", "rotate(region,", "service)", "apply,", "dry_run"]
    assert rows[1] == ["subprocess:old", "any", "apply"]
    listed = commands.answer("adapter", "list")["adapters"]
    assert [each["adapter_id"] for each in listed] == ["subprocess:keys", "subprocess:old"]


@pytest.mark.parametrize("name", ["keys", "subprocess:keys"])
def test_an_adapter_is_shown_with_all_that_decides_what_runs(commands: Commands, name: str) -> None:
    shown = commands.run("adapter", "show", name)
    for line in (
        "rotate (region, service)",
        "    apply:   ./rotate.sh --service '{service}' '--in={region}'",
        "    dry run: echo -- '{service}'",
        "For at most 1 second; 1000000 bytes of output are kept.",
        str(commands.folder),
        str(load_adapters(FILE_NAME).digest("subprocess:keys")),
    ):
        assert line in shown
    assert "REGION, TOKEN" in " ".join(shown.split())
    data = commands.answer("adapter", "show", name)
    assert (data["env"], data["timeout_seconds"]) == (["REGION", "TOKEN"], 1)
    assert "s3cret" not in shown + json.dumps(data)


def test_an_adapter_that_only_its_command_knows_is_shown_with_that_command(commands: Commands) -> None:
    shown = commands.run("adapter", "show", "old")
    assert "apply:   sh tool.sh call TOOL METHOD --json-args-file FILE" in shown


def test_an_adapter_that_is_not_declared_is_refused_with_those_that_are(commands: Commands) -> None:
    refused = commands.answer("adapter", "show", "kyes", code=1)
    assert refused["code"] == "ADAPTER_UNKNOWN"
    assert refused["message"].startswith(
        "'kyes' is not declared (did you mean 'subprocess:keys'?); declared in"
    )
    assert "subprocess:keys, subprocess:old" in refused["message"]


@pytest.mark.parametrize("command", [("list",), ("show", "keys"), ("check",)], ids=" ".join)
def test_where_no_file_declares_any_it_says_where_it_looked(
    commands: Commands, command: tuple[str, ...]
) -> None:
    (commands.folder / FILE_NAME).unlink()
    refused = commands.answer("adapter", *command, code=1)
    assert refused["code"] == "ROUTER_NOT_CONFIGURED"
    assert "/etc/nexus-control" in refused["message"]


def test_the_check_names_every_problem_with_its_key(commands: Commands) -> None:
    broken = DECLARED.replace("timeout_seconds = 1", "timeout_seconds = 0").replace("{service}", "{service")
    (commands.folder / "broken.toml").write_text(f"{broken}shell = true\nretries = 3\n")
    checked = commands.answer("adapter", "check", "broken.toml", code=2)
    assert checked["problems"] == [
        "adapters.keys.timeout_seconds must be 1 to 86400",
        "adapters.keys.tools.rotate.argv has braces without a placeholder in '{service'; write a brace twice",
        "adapters.keys.tools.rotate.dry_run_argv has braces without a placeholder in '{service'; write a brace"
        " twice",
        "Unknown field: adapters.old.shell",
        "Unknown field: adapters.old.retries",
    ]
    shown = " ".join(commands.run("adapter", "check", "broken.toml", code=2).split())
    assert "5 problems in this file:" in shown
    assert str(commands.folder / "broken.toml") in shown
    two = DECLARED.replace("{service}", "{service").replace('"sh", ', '"", ')
    (commands.folder / "two.toml").write_text(two)
    problems = commands.answer("adapter", "check", "two.toml", code=2)["problems"]
    assert [each.split()[0] for each in problems] == [
        "adapters.keys.tools.rotate.argv",
        "adapters.keys.tools.rotate.dry_run_argv",
        "adapters.old.command",
    ]


def test_the_check_says_which_programs_cannot_be_started(commands: Commands) -> None:
    assert commands.answer("adapter", "check", code=1)["obstacles"] == {
        "subprocess:keys": ["there is no program './rotate.sh'"],
        "subprocess:old": [],
    }
    script(commands.folder, 0o644)
    (obstacle,) = commands.answer("adapter", "check", code=1)["obstacles"]["subprocess:keys"]
    assert "chmod +x" in obstacle
    script(commands.folder)
    checked = commands.answer("adapter", "check")
    assert (checked["ok"], checked["problems"]) == (True, [])


def test_the_check_names_open_requests_that_are_bound_to_an_earlier_declaration(commands: Commands) -> None:
    script(commands.folder)
    call = {"tool": "keys", "method": "rotate", "args": {"service": "a", "region": "b"}}
    plan = json.dumps([{"step_id": "s1", "intent": "i", "call": call}])

    def asked(*options: str) -> str:
        made: dict[str, Any] = commands.answer("request", "g", "--plan", plan, *options)
        return made["request_id"]

    bound = asked("--adapter", "subprocess:keys")
    ended = asked("--adapter", "subprocess:keys")
    asked("--key", "unbound")
    commands.run("withdraw", ended, "--reason", "r", "--yes")
    assert commands.answer("adapter", "check")["bound_otherwise"] == []
    (commands.folder / FILE_NAME).write_text(DECLARED.replace("eu-1", "eu-2"))
    expected = [{"request_id": bound, "adapter_id": "subprocess:keys"}]
    assert commands.answer("adapter", "check")["bound_otherwise"] == expected
    assert f"{bound} subprocess:keys" in commands.run("adapter", "check")


SECRETS = """
[secrets.BILLING]
file = "billing.token"
[secrets.OTHER]
command = ["touch", "ran"]
[adapters.keys]
kind = "subprocess"
capabilities = ["apply"]
timeout_seconds = 60
env = { REGION_TOKEN = "{secret:OTHER}" }
[adapters.keys.tools.rotate]
argv = ["true", "{service}"]
args = { service = "str", token = "secret" }
env = { API_TOKEN = "{token}" }
timeout_seconds = 300
[adapters.keys.tools.read]
argv = ["true"]
args = { token = "secret" }
stdin = "{token}"
[adapters.keys.tools.load]
argv = ["true"]
args = { token = "secret" }
files = { TOKEN_FILE = "{token}" }
"""


def test_the_check_says_which_secrets_cannot_be_read_here(commands: Commands) -> None:
    (commands.folder / "secrets.toml").write_text(SECRETS)
    checked = commands.answer("adapter", "check", "secrets.toml", code=1)
    (obstacle,) = checked["obstacles"]["subprocess:keys"]
    assert obstacle == "the secret BILLING cannot be read: the file billing.token: No such file or directory"
    assert [each["readable"] for each in checked["secrets"]["subprocess:keys"]] == [False, None]
    assert obstacle in " ".join(commands.run("adapter", "check", "secrets.toml", code=1).split())
    (commands.folder / "billing.token").write_text("tok_4f9a8c7d6e5b")
    shown = " ".join(commands.run("adapter", "check", "secrets.toml").split())
    assert "secrets that can be read here: BILLING." in shown
    assert "secrets that a command prints, which was not run: OTHER." in shown
    assert "tok_" not in shown + json.dumps(commands.answer("adapter", "check", "secrets.toml"))
    assert not (commands.folder / "ran").exists()


def test_an_adapter_is_shown_with_types_limits_and_where_its_secrets_go(commands: Commands) -> None:
    (commands.folder / "secrets.toml").write_text(SECRETS)
    shown = commands.run("adapter", "show", "keys", "--config", "secrets.toml")
    for line in (
        "rotate (service: str, token: secret)",
        "    gets:    API_TOKEN = {token}",
        "    gets:    standard input = {token}",
        "    gets:    TOKEN_FILE (a file) = {token}",
        "    limit:   300 seconds",
        "    REGION_TOKEN = {secret:OTHER}",
        "A plan names the secret of an argument: {secret:NAME}.",
    ):
        assert line in shown


def test_the_check_of_one_adapter_looks_at_no_other(commands: Commands) -> None:
    assert list(commands.answer("adapter", "check", "subprocess:old")["obstacles"]) == ["subprocess:old"]
    named = ("adapter", "check", "old", "--config", FILE_NAME)
    assert list(commands.answer(*named)["obstacles"]) == ["subprocess:old"]
    assert commands.answer("adapter", "check", "subprocess:nobody", code=1)["code"] == "ADAPTER_UNKNOWN"


@pytest.mark.parametrize("command", [("list",), ("show", "keys"), ("pin", "keys")], ids=" ".join)
def test_each_command_names_every_problem_of_the_file_as_the_check_does(
    commands: Commands, command: tuple[str, ...]
) -> None:
    file = commands.folder / "typo.toml"
    file.write_text(DECLARED.replace("env =", "envi =").replace("capabilities", "capability"))
    expected = commands.run("adapter", "check", str(file), code=2)
    assert "did you mean 'env'?" in " ".join(expected.split())
    assert commands.run("adapter", *command, "--config", str(file), code=2) == expected
    refused = commands.answer("adapter", *command, "--config", str(file), code=2)
    assert len(refused["details"]["problems"]) == 5


def test_the_check_makes_no_store(commands: Commands) -> None:
    script(commands.folder)
    commands.run("adapter", "check")
    assert not (commands.folder / commands.database).exists()


@pytest.fixture
def server(tmp_path: Path, commands: Commands) -> Path:
    """The file that declares an MCP server; what the server does is in the file `mode` beside it."""
    words = ["-I", "-S", str(DOWNSTREAM), str(tmp_path)]
    file = tmp_path / FILE_NAME
    file.write_text(
        '[adapters.files]\nkind = "mcp"\ncapabilities = ["apply"]\ntools = ["put"]\n'
        f"command = {json.dumps(sys.executable)}\nargs = {json.dumps(words)}\n"
    )
    return file


def test_a_tool_is_shown_whole_then_pinned_then_checked(commands: Commands, server: Path) -> None:
    assert "not pinned" in commands.run("adapter", "check", str(server), code=1)
    pinned = commands.answer("adapter", "pin", "mcp:files", "--yes", "--config", str(server))
    assert pinned["tools"][0]["definition"]["description"] == "Appends a line to the file"
    assert Path(pinned["file"]).is_file()
    assert "each tool is as it was pinned" in commands.run("adapter", "check", str(server))
    shown = commands.answer("adapter", "show", "files")
    assert shown["methods"][0]["args"] == ["text", "count"]
    assert shown["methods"][0]["pin"] == pinned["tools"][0]["digest"]


def test_nothing_is_pinned_without_a_yes(commands: Commands, server: Path) -> None:
    pin = ("adapter", "pin", "files", "--config", str(server))
    refused = commands.answer(*pin, code=1)
    assert (refused["code"], "--yes is needed" in refused["message"]) == ("NOT_CONFIRMED", True)
    asked = at_a_terminal(*pin, typed="n\n", ahead="y\n", folder=commands.folder)
    assert (asked.returncode, "You answered no" in asked.stdout) == (1, True)
    assert asked.stdout.index("Appends a line to the file") < asked.stdout.index("Pin them?")
    assert not (commands.folder / "nexus-control.pins.toml").exists()
    assert at_a_terminal(*pin, typed="y\n", folder=commands.folder).returncode == 0
    assert (commands.folder / "nexus-control.pins.toml").exists()


def test_a_tool_that_is_not_pinned_is_shown_with_the_whole_command_that_pins_it(
    commands: Commands, server: Path
) -> None:
    command = f"adapter pin mcp:files --config {server}"
    shown = commands.run("adapter", "show", "files")
    assert "put (arguments not known until it is pinned)" in shown
    assert command in shown
    assert command in commands.run("adapter", "check", str(server), code=1)
    call = {"tool": "files", "method": "put", "args": {"text": "one"}}
    plan = json.dumps([{"step_id": "s1", "intent": "i", "call": call}])
    refused = commands.answer("request", "g", "--plan", plan, "--adapter", "mcp:files", code=1)
    assert refused["code"] == "PLAN_INVALID"
    assert refused["details"]["command"].endswith(command)
    assert "adapter pin" not in refused["message"] + refused["next"]


def test_the_advice_for_a_server_that_does_not_start_is_for_who_pins(
    commands: Commands, server: Path
) -> None:
    (commands.folder / "mode").write_text("exits at once")
    refused = commands.answer("adapter", "pin", "files", "--yes", "--config", str(server), code=1)
    assert refused["code"] == "ROUTER_NOT_READY"
    assert "execute" not in refused["next"]


def test_a_check_shows_which_words_of_a_definition_moved(commands: Commands, server: Path) -> None:
    commands.run("adapter", "pin", "files", "--yes", "--config", str(server))
    (commands.folder / "mode").write_text("other definition")
    shown = " ".join(commands.run("adapter", "check", str(server), code=1).split())
    assert "TOOL_DEFINITION_CHANGED" in shown
    assert "description: 'and tells others' is new" in shown
    again = commands.answer("adapter", "pin", "files", "--yes", "--config", str(server))
    assert again["tools"][0]["moved"] == ["description: 'and tells others' is new"]


def test_the_server_of_a_projects_file_is_started_only_where_the_file_is_named(
    commands: Commands, server: Path
) -> None:
    refused = commands.answer("adapter", "pin", "files", "--yes", code=2)
    assert refused["code"] == "INVALID_ARGUMENT"
    commands.run("adapter", "pin", "files", "--yes", "--config", str(server))
    (commands.folder / "mode").write_text("other definition")
    assert "was not started" in " ".join(commands.run("adapter", "check").split())


def test_pins_that_are_not_what_was_written_are_refused(commands: Commands, server: Path) -> None:
    file = Path(commands.answer("adapter", "pin", "files", "--yes", "--config", str(server))["file"])
    file.write_text(file.read_text().replace("Appends", "Deletes"))
    refused = commands.answer("adapter", "list", code=2)
    assert refused["code"] == "CONFIG_INVALID"
    assert "a digest that is not that of its definition" in refused["message"]


def test_pins_beside_a_file_that_was_found_must_not_be_writable_by_others(
    commands: Commands, server: Path
) -> None:
    file = Path(commands.answer("adapter", "pin", "files", "--yes", "--config", str(server))["file"])
    assert commands.answer("adapter", "list")["adapters"][0]["methods"][0]["pin"]
    file.chmod(0o666)
    refused = commands.answer("adapter", "list", code=2)
    assert refused["code"] == "CONFIG_INVALID"
    assert "is not used, because" in refused["message"]


def test_a_named_file_that_is_not_there_is_told_apart_from_one_with_a_wrong_entry(commands: Commands) -> None:
    refused = commands.answer("adapter", "list", "--config", "taem.toml", code=2)
    assert (refused["code"], refused["next"]) == (
        "CONFIG_INVALID",
        "Name a file that is there and may be read.",
    )
