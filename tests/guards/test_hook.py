"""The hook, as a process, on what hosts gave: judged, asked for, claimed, recorded; and denied whatever fails."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from nexus_control import NexusControlTools
from tests.support.governed import BOB, data_of
from tests.support.hooking import ALLOWING, ATTENDED, DENYING, HEADLESS, Bench, names, saved

BASH = saved("claude_code-PreToolUse-Bash")
RAN = saved("claude_code-PostToolUse-Bash")
CODEX = saved("codex-PreToolUse-Bash")
CODEX_RAN = saved("codex-PostToolUse-Bash")
PRE = names("PreToolUse")
POST = [*names("PostToolUse"), *names("PostToolUseFailure")]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def without_a_store(folder: Path, book: str) -> tuple[Bench, list[str]]:
    bench = Bench(folder, book)
    return bench, ["--db", str(folder / "missing.db"), "--config", str(bench.book)]


# --- the rule book --------------------------------------------------------------------------------------------------


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", [*PRE, *POST])
def test_the_hook_has_no_opinion_on_a_call_that_the_book_allows_and_opens_no_store(
    name: str, tmp_path: Path
) -> None:
    bench, options = without_a_store(tmp_path, ALLOWING)
    assert bench.hook(saved(name), options=options).is_silent


@pytest.mark.sample(8)
@pytest.mark.parametrize("name", PRE)
def test_a_call_that_the_book_denies_is_denied_and_no_store_is_opened(name: str, tmp_path: Path) -> None:
    bench, options = without_a_store(tmp_path, DENYING)
    given = saved(name)
    assert f"the rules deny {given['tool_name']} (default)" in bench.hook(given, options=options).denial


def test_after_the_tool_there_is_nothing_to_say_of_a_call_that_the_book_denies(tmp_path: Path) -> None:
    bench, options = without_a_store(tmp_path, DENYING)
    assert bench.hook(RAN, options=options).is_silent


@pytest.mark.parametrize(
    ("book", "said"),
    [
        ("", "there is no rule book. A person writes one into /etc/nexus-control/nexus-control.toml"),
        ("default = ", "is not TOML"),
        ('default = "maybe"', "default must be one of allow, deny"),
        ('[[rules]]\ntool = "Bash"\nverdict = "allow"', "default is required"),
    ],
)
def test_without_a_book_that_can_be_read_every_call_is_denied(book: str, said: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path, book)
    assert said in bench.hook(BASH).denial


def test_a_book_that_is_not_there_denies(bench: Bench) -> None:
    options = ["--db", str(bench.path), "--config", str(bench.folder / "missing.toml")]
    assert "cannot be read" in bench.hook(BASH, options=options).denial


def test_a_projects_own_file_is_not_read(bench: Bench) -> None:
    (bench.folder / "nexus-control.toml").write_text(ALLOWING, encoding="utf-8")
    assert "there is no rule book" in bench.hook(BASH, options=["--db", str(bench.path)]).denial


def test_a_rule_that_cannot_be_evaluated_denies(tmp_path: Path) -> None:
    bench = Bench(
        tmp_path, 'default = "allow"\n[[rules]]\narguments = { "/amount" = { gt = 5 } }\nverdict = "deny"\n'
    )
    assert "rules[0].arguments./amount cannot be evaluated" in bench.hook(BASH).denial
    assert bench.hook(RAN).is_silent


# --- Claude Code without a person -----------------------------------------------------------------------------------


def test_a_call_that_needs_approval_is_deferred_and_people_see_its_arguments_and_folder(bench: Bench) -> None:
    waiting = bench.hook(BASH)
    for each in (waiting, bench.hook(BASH)):
        assert (each.code, each.verdict) == (0, "defer")
    (request_id,) = bench.requests()
    status = bench.status(request_id)
    assert json.loads(status["plan"]) == {
        "tool": "Bash",
        "arguments": BASH["tool_input"],
        "folder": "/home/dana/work",
    }
    assert (status["template_name"], status["adapter_id"]) == ("one", "tool:Bash")
    assert request_id in waiting.decision["permissionDecisionReason"]


def test_an_approved_call_is_allowed_once_and_what_it_gave_is_recorded(bench: Bench) -> None:
    bench.hook(BASH)
    request_id = bench.approve()
    allowed = bench.hook(BASH)
    assert (allowed.code, allowed.verdict, allowed.stderr) == (0, "allow", "")
    assert bench.state(request_id) == "executing"
    assert "is being executed by another call" in bench.hook(BASH).denial
    assert bench.hook(RAN).is_silent
    assert bench.state(request_id) == "completed"
    with NexusControlTools(bench.path) as tools:
        assert data_of(tools.result(request_id))["answer"] == {"output": RAN["tool_response"]}
    assert "was already executed" in bench.hook(BASH).denial
    assert bench.hook(RAN).is_silent
    assert bench.requests() == [request_id]


def test_a_fork_finds_the_request_of_the_call_it_was_forked_with(bench: Bench) -> None:
    bench.hook(BASH)
    bench.approve()
    assert bench.hook(BASH).verdict == "allow"
    fork = {**BASH, "session_id": "00000000-0000-4000-8000-00000000000f"}
    assert "is being executed" in bench.hook(fork).denial


def test_a_denied_call_is_told_who_denied_it_and_why(bench: Bench) -> None:
    bench.hook(BASH)
    (request_id,) = bench.requests()
    with NexusControlTools(bench.path) as tools:
        data_of(tools.deny(request_id, BOB, "not on a Friday"))
    assert "denied by bob: not on a Friday" in bench.hook(BASH).denial


@pytest.mark.parametrize(
    "changes", [{"tool_input": {"command": "rm -rf /"}}, {"tool_name": "Write"}, {"cwd": "/"}]
)
def test_other_content_under_the_same_id_is_denied_also_after_the_approval(
    changes: dict[str, Any], bench: Bench
) -> None:
    bench.hook(BASH)
    bench.approve()
    assert "people were asked about another content" in bench.hook({**BASH, **changes}).denial


def test_the_folder_of_a_server_s_tool_is_no_part_of_it(bench: Bench) -> None:
    given = saved("claude_code-PreToolUse-mcp-text")
    bench.hook(given)
    bench.approve()
    assert bench.hook({**given, "cwd": "/"}).verdict == "allow"


def test_of_two_calls_one_after_the_other_only_the_first_waits(bench: Bench) -> None:
    assert bench.hook(BASH).verdict == "defer"
    second = {**BASH, "tool_use_id": "toolu_second"}
    assert "only one call at a time can wait" in bench.hook(second).denial
    assert len(bench.requests()) == 1
    bench.approve()
    assert bench.hook(BASH).verdict == "allow"
    assert bench.hook(second).verdict == "defer"


def test_of_calls_at_the_same_time_one_is_deferred_and_one_request_waits(bench: Bench) -> None:
    calls = [json.dumps({**BASH, "tool_use_id": f"toolu_{n}"}).encode() for n in range(4)]
    started = [(bench.start(), raw) for raw in calls]
    for process, raw in started:
        assert process.stdin
        process.stdin.write(raw)
        process.stdin.close()
        process.stdin = None
    said = [bench.said(process, raw) for process, raw in started]
    assert [each.verdict for each in said].count("defer") == 1
    for each in said:
        assert each.verdict == "defer" or "only one call at a time can wait" in each.denial
    assert len(bench.requests(state="pending_approval")) == 1


def test_of_two_hooks_at_once_for_one_approved_call_one_lets_it_run(bench: Bench) -> None:
    bench.hook(BASH)
    bench.approve()
    started = [bench.start() for _ in range(3)]
    for process in started:
        assert process.stdin
        process.stdin.write(json.dumps(BASH).encode())
        process.stdin.close()
        process.stdin = None
    said = [bench.said(process, b"") for process in started]
    assert sorted(each.verdict or "" for each in said) == ["allow", "deny", "deny"]


# --- where a call cannot be deferred --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "environment", "passes"),
    [
        (BASH, RAN, ATTENDED, "allow"),
        (BASH, RAN, {}, "allow"),
        (
            saved("claude_code-PreToolUse-in-subagent"),
            saved("claude_code-PostToolUse-in-subagent"),
            HEADLESS,
            "allow",
        ),
        (CODEX, CODEX_RAN, {}, None),
        (CODEX, CODEX_RAN, HEADLESS, None),
        (
            saved("codex-PreToolUse-program-apply_patch"),
            saved("codex-PostToolUse-program-apply_patch"),
            {},
            None,
        ),
    ],
    ids=["attended", "unknown", "subagent", "codex", "codex in claude code", "codex program"],
)
def test_a_call_that_waits_is_denied_and_its_retry_runs_once_it_is_approved(
    before: dict[str, Any],
    after: dict[str, Any],
    environment: dict[str, str],
    passes: str | None,
    bench: Bench,
) -> None:
    changes = {"PATH": "/usr/bin", **environment}
    for call_id in ("first", "second"):
        said = bench.hook({**before, "tool_use_id": call_id}, changes).denial
        assert "waiting for approval" in said
    request_id = bench.approve()
    approved = bench.hook({**before, "tool_use_id": "third"}, changes)
    assert (approved.code, approved.verdict) == (0, passes)
    assert bench.hook({**before, "tool_use_id": "fourth"}, changes).denial
    assert bench.hook({**after, "tool_use_id": "third"}, changes).is_silent
    assert bench.state(request_id) == "completed"
    assert "waiting for approval" in bench.hook({**before, "tool_use_id": "fifth"}, changes).denial
    assert len(bench.requests()) == 2


def test_a_deferred_call_that_a_person_resumes_at_a_terminal_finds_its_request(bench: Bench) -> None:
    bench.hook(BASH)
    bench.approve()
    assert bench.hook(BASH, ATTENDED).verdict == "allow"
    assert "is being executed" in bench.hook(BASH, ATTENDED).denial


def test_the_same_call_in_another_session_is_another_request(bench: Bench) -> None:
    bench.hook(BASH, ATTENDED)
    bench.approve()
    other = {**BASH, "session_id": "other", "tool_use_id": "toolu_other"}
    assert "waiting for approval" in bench.hook(other, ATTENDED).denial


# --- after the tool -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "state"),
    [
        *[(name, {}, "completed") for name in POST if name.partition("-")[0] == "codex"],
        ("claude_code-PostToolUse-Write", {}, "completed"),
        ("claude_code-PostToolUse-mcp-text", {}, "completed"),
        ("claude_code-PostToolUse-mcp-structured", {}, "completed"),
        ("claude_code-PostToolUse-Bash-background", {}, "outcome_unknown"),
        ("claude_code-PostToolUse-Agent", {}, "outcome_unknown"),
        ("claude_code-PostToolUse-Bash", {"tool_response": {"interrupted": True}}, "outcome_unknown"),
        ("claude_code-PostToolUse-Bash", {"tool_response": "\ud800"}, "completed"),
        ("claude_code-PostToolUse-Bash", {"tool_response": {"a": 1.5, "b": 2**80}}, "completed"),
        ("claude_code-PostToolUse-Bash", {"tool_input": {"command": "other"}}, "outcome_unknown"),
        ("claude_code-PostToolUse-Bash", {"cwd": "/home/dana/work/inner"}, "completed"),
        ("claude_code-PostToolUseFailure-Bash-failed", {}, "failed"),
        ("claude_code-PostToolUseFailure-mcp-failed", {}, "failed"),
        ("claude_code-PostToolUseFailure-Bash-failed", {"is_interrupt": True}, "outcome_unknown"),
        ("claude_code-PostToolUseFailure-Bash-failed", {"error": {"odd": 1}}, "failed"),
        ("codex-PostToolUse-mcp-text", {"tool_response": {"isError": True}}, "failed"),
    ],
)
@pytest.mark.sample(12)
def test_what_became_of_an_approved_call_is_recorded(
    name: str, changes: dict[str, Any], state: str, bench: Bench
) -> None:
    after = saved(name)
    before = {**after, "hook_event_name": "PreToolUse"}
    bench.hook(before)
    request_id = bench.approve()
    approved = bench.hook(before)
    assert (approved.code, approved.verdict in ("allow", None)) == (0, True)
    assert bench.hook({**after, **changes}).is_silent
    assert bench.state(request_id) == state


def test_the_error_of_a_tool_is_kept_and_its_effect_is_unknown(bench: Bench) -> None:
    after = saved("claude_code-PostToolUseFailure-Bash-failed")
    before = {**after, "hook_event_name": "PreToolUse"}
    bench.hook(before)
    request_id = bench.approve()
    bench.hook(before)
    bench.hook(after)
    (execution,) = bench.status(request_id)["executions"]
    assert (execution["error_message"], execution["effect"]) == ("Exit code 3\nno", "unknown")
    assert "was executed and failed" in bench.hook(before).denial


@pytest.mark.parametrize("name", POST)
@pytest.mark.sample(4)
def test_a_call_that_nobody_claimed_leaves_no_record(name: str, bench: Bench) -> None:
    assert bench.hook(saved(name)).is_silent
    assert bench.requests() == []


def test_the_event_of_another_call_of_the_same_tool_records_nothing(bench: Bench) -> None:
    bench.hook(BASH)
    request_id = bench.approve()
    bench.hook(BASH)
    assert bench.hook({**RAN, "tool_use_id": "toolu_other"}).is_silent
    assert bench.state(request_id) == "executing"


def test_an_outcome_that_cannot_be_recorded_is_told_and_denies_nothing(bench: Bench) -> None:
    said = bench.hook(RAN, options=["--db", str(bench.folder / "missing.db"), "--config", str(bench.book)])
    assert (said.code, said.stdout) == (1, "")
    assert "could not record what became of this call" in said.stderr


FAILED = saved("claude_code-PostToolUseFailure-Bash-failed")


@pytest.mark.parametrize("environment", [HEADLESS, ATTENDED], ids=["deferred", "denied"])
def test_another_outcome_than_the_recorded_one_is_told_and_the_same_one_again_is_not(
    environment: dict[str, str], bench: Bench
) -> None:
    before = {**FAILED, "hook_event_name": "PreToolUse"}
    forged = {**before, "hook_event_name": "PostToolUse", "tool_response": {"stdout": "forged"}}
    bench.hook(before, environment)
    request_id = bench.approve()
    bench.hook(before, environment)
    assert bench.hook(forged, environment).is_silent
    assert bench.hook(forged, environment).is_silent
    said = bench.hook(FAILED, environment)
    assert (said.code, said.stdout) == (1, "")
    assert f"could not record what became of this call (request {request_id}" in said.stderr
    assert bench.state(request_id) == "completed"


def test_the_event_of_another_session_of_codex_records_nothing_and_that_is_told(bench: Bench) -> None:
    bench.hook(CODEX)
    request_id = bench.approve()
    bench.hook(CODEX)
    said = bench.hook({**CODEX_RAN, "tool_use_id": CODEX["tool_use_id"], "session_id": "another"})
    assert (said.code, said.stdout) == (1, "")
    assert "was made in another session" in said.stderr
    assert bench.state(request_id) == "executing"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("mode", [0o700, 0o755])
def test_a_systems_book_that_may_not_be_looked_at_is_not_passed_over_for_the_users(
    mode: int, bench: Bench
) -> None:
    # Another user asks, in a process of their own: the system's file allows nothing, their own one everything.
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        system, home = folder / "etc", folder / "home"
        for place, book in ((system, DENYING), (home, ALLOWING)):
            place.mkdir()
            (place / "nexus-control.toml").write_text(book, encoding="utf-8")
        os.chown(home, OTHER, OTHER)
        os.chown(home / "nexus-control.toml", OTHER, OTHER)
        system.chmod(mode)
        words = [sys.executable, "-c", AS_ANOTHER, str(OTHER), str(system), str(home)]
        ended = subprocess.run(words, input=json.dumps(BASH), capture_output=True, text=True, check=True)
    said = "cannot be read (Permission denied)" if mode == 0o700 else "the rules deny Bash (default)"
    assert (ended.stdout.startswith("deny "), said in ended.stdout) == (True, True), ended.stdout


OTHER = 12_345
AS_ANOTHER = """
import os, sys
from functools import partial
from pathlib import Path
from nexus_control.guards import hook, hook_asking
user, system, home = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
name = "nexus-control.toml"
hook.look = partial(hook.look, system=system / name, user=home / name)
os.setgroups([]); os.setgid(user); os.setuid(user)
reply = hook.reply(sys.stdin.buffer.read(), hook.Places())
print(reply.verdict, reply.text)
"""
