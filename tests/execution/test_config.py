from pathlib import Path

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.execution.adapter import Adapters
from nexus_control.execution.config import load_adapters
from nexus_control.execution.local_router import LocalRouter
from nexus_control.execution.python_adapter import PythonAdapter
from nexus_control.integrity import is_prefixed
from tests.execution.support import plan, step

DESIGNED = """
[adapters.keys]                       # adapter id "subprocess:keys"
kind = "subprocess"
capabilities = ["apply", "dry_run", "timeout"]
cwd = "."                             # relative to this file
timeout_seconds = 30
max_output_bytes = 1_000_000
env = { REGION = "eu-1" }             # added to a minimal environment
[adapters.keys.tools.rotate]
argv = ["./rotate.sh", "--service", "{service}"]
dry_run_argv = ["./rotate.sh", "--plan", "{service}"]
"""
HEAD = '[adapters.keys]\nkind = "subprocess"\ncapabilities = ["apply"]\n'
TOOL = '[adapters.keys.tools.t]\nargv = ["true"]\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "nexus-control.toml"
    path.write_text(text, encoding="utf-8")
    return path


def digest(folder: Path, text: str) -> str | None:
    return load_adapters(write(folder, text)).digest("subprocess:keys")


def test_the_file_of_the_design_runs_its_script(tmp_path: Path) -> None:
    script = tmp_path / "rotate.sh"
    script.write_text('#!/bin/sh\necho "$REGION $1 $2"\n', encoding="utf-8")
    script.chmod(0o755)
    with LocalRouter(load_adapters(write(tmp_path, DESIGNED))) as router:
        assert router.get_adapter_capabilities("subprocess:keys") == {"apply", "dry_run", "timeout"}
        text = plan(step("rotate", service="a b; c"))
        applied = router.run("rotate", "subprocess:keys", dry_run=False, plan=text)
        rehearsed = router.run("rotate", "subprocess:keys", dry_run=True, plan=text)
    assert applied["results"][0]["output"]["stdout"] == "eu-1 --service a b; c\n"
    assert rehearsed["results"][0]["output"]["stdout"] == "eu-1 --plan a b; c\n"


def test_a_file_without_adapters_declares_none(tmp_path: Path) -> None:
    assert load_adapters(write(tmp_path, "")).ids() == ()


REFUSED = {
    "not TOML": ("[adapters", "not TOML"),
    "an unknown table": ("[server]\n", "server"),
    "an unknown kind": ('[adapters.keys]\nkind = "ssh"\ncapabilities = []\n', "adapters.keys.kind"),
    "a kind in capitals": (
        '[adapters.keys]\nkind = "MCP"\n',
        "adapters.keys.kind must be one of subprocess, mcp (did you mean 'mcp'?)",
    ),
    "a key that is nearly one": (
        HEAD + "timeout_secs = 3\n" + TOOL,
        "Unknown field: adapters.keys.timeout_secs (did you mean 'timeout_seconds'?)",
    ),
    "no kind": ("[adapters.keys]\ncapabilities = []\n", "adapters.keys.kind"),
    "no capabilities": ('[adapters.keys]\nkind = "subprocess"\n', "adapters.keys.capabilities"),
    "an unknown key": (HEAD + "retries = 3\n" + TOOL, "adapters.keys.retries"),
    "a fraction of a second": (HEAD + "timeout_seconds = 0.5\n" + TOOL, "adapters.keys.timeout_seconds"),
    "no time at all": (HEAD + "timeout_seconds = 0\n" + TOOL, "adapters.keys.timeout_seconds"),
    "true for a number": (HEAD + "max_output_bytes = true\n" + TOOL, "adapters.keys.max_output_bytes"),
    "a folder that is not there": (HEAD + 'cwd = "nowhere"\n' + TOOL, "adapters.keys.cwd"),
    "a number in env": (HEAD + "env = { A = 1 }\n" + TOOL, "adapters.keys.env"),
    "an odd name in env": (HEAD + 'env = { "A=B" = "1" }\n' + TOOL, "adapters.keys.env"),
    "no tools": (HEAD, "adapters.keys.tools"),
    "an unknown protocol": (HEAD + 'protocol = "rpc"\n' + TOOL, "adapters.keys.protocol"),
    "a call without a command": (HEAD + 'protocol = "call"\n', "adapters.keys.command"),
    "a call with tools": (HEAD + 'protocol = "call"\ncommand = ["x"]\n' + TOOL, "adapters.keys.command"),
    "tools with a command": (HEAD + 'command = ["x"]\n' + TOOL, "adapters.keys.tools"),
    "an empty command": (HEAD + 'protocol = "call"\ncommand = []\n', "adapters.keys.command"),
    "an unknown key of a tool": (HEAD + TOOL + "shell = true\n", "adapters.keys.tools.t.shell"),
    "a tool without argv": (HEAD + "[adapters.keys.tools.t]\n", "adapters.keys.tools.t.argv"),
    "argv as text": (HEAD + '[adapters.keys.tools.t]\nargv = "true"\n', "adapters.keys.tools.t.argv"),
    "an empty argv": (HEAD + "[adapters.keys.tools.t]\nargv = []\n", "adapters.keys.tools.t.argv"),
    "an open brace": (HEAD + '[adapters.keys.tools.t]\nargv = ["x", "{"]\n', "adapters.keys.tools.t.argv"),
    "a value that a shell parses": (
        HEAD + '[adapters.keys.tools.t]\nargv = ["bash", "-c", "rotate {x}"]\n',
        "adapters.keys.tools.t.argv must not have a placeholder in what bash parses",
    ),
    "a value that ssh runs in a dry run": (
        HEAD + '[adapters.keys.tools.t]\nargv = ["rotate", "{x}"]\ndry_run_argv = ["ssh", "host", "{x}"]\n',
        "adapters.keys.tools.t.dry_run_argv must not have a placeholder in what ssh parses",
    ),
    "a dry run with more": (
        HEAD + TOOL + 'dry_run_argv = ["x", "{y}"]\n',
        "adapters.keys.tools.t.dry_run_argv",
    ),
    "an adapter with an odd name": ('[adapters."a b"]\nkind = "subprocess"\n', "adapters.a b"),
}


@pytest.mark.parametrize(("text", "says"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_refused_naming_file_and_key(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(NexusControlError) as refused:
        load_adapters(path)
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert str(path) in refused.value.message
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ('"MCP"', " (did you mean 'mcp'?)"),
        ('"subproces"', " (did you mean 'subprocess'?)"),
        ("1", ""),
        ("[]", ""),
    ],
)
def test_a_wrong_kind_is_the_only_problem_that_is_told(tmp_path: Path, kind: str, hint: str) -> None:
    with pytest.raises(NexusControlError) as refused:
        load_adapters(write(tmp_path, f'[adapters.keys]\nkind = {kind}\ncommand = "x"\ntools = ["t"]\n'))
    assert refused.value.details["problems"] == [f"adapters.keys.kind must be one of subprocess, mcp{hint}"]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")
    for name in ("nothing.toml", "latin.toml", "."):
        with pytest.raises(NexusControlError) as refused:
            load_adapters(tmp_path / name)
        assert refused.value.code is ErrorCode.CONFIG_INVALID


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"--service"', '"--svc"'),
        ("timeout_seconds = 30", "timeout_seconds = 31"),
        ('"eu-1"', '"eu-2"'),
        ('"--plan"', '"--dry"'),
        (', "timeout"]', "]"),
        ("1_000_000", "2_000_000"),
        ('cwd = "."', 'cwd = ".."'),
    ],
)
def test_the_digest_is_of_everything_that_decides_what_a_call_does(
    tmp_path: Path, before: str, after: str
) -> None:
    original = digest(tmp_path, DESIGNED)
    assert is_prefixed(original)
    assert digest(tmp_path, DESIGNED + "# a comment\n") == original
    assert digest(tmp_path, DESIGNED.replace(before, after)) != original


def test_registered_adapters_join_those_of_the_file_and_ids_are_unique(tmp_path: Path) -> None:
    declared = load_adapters(write(tmp_path, DESIGNED))
    python = PythonAdapter("keys", {"rotate": lambda: None})
    assert Adapters([*declared, python]).ids() == ("python:keys", "subprocess:keys")
    assert Adapters([*declared, python]).digest("python:nobody") is None
    with pytest.raises(NexusControlError) as refused:
        Adapters([python, python])
    assert refused.value.code is ErrorCode.CONFIG_INVALID
