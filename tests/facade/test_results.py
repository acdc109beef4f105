"""What the steps of a run gave back, in every view, from another process, and after a crash."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nexus_control import LocalRouter, NexusControlTools, PythonAdapter, load_adapters
from nexus_control.errors import ErrorCode
from nexus_control.execution.subprocess_adapter import ArgvTool, CallAdapter, ProcessSettings
from nexus_control.log.upkeep import find_faults
from nexus_control.usecases.resulting import MAX_ANSWER_BYTES
from tests.concurrency.crashing import end_of, fork, in_nursery, kill_this_process
from tests.execution.support import keys_adapter, plan, step, tool
from tests.facade.flow import asked, require_refused
from tests.facade.routers import FakeRouter
from tests.support.governed import SCHEDULER, approved, data_of
from tests.support.places import REPOSITORY


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[NexusControlTools]:
    with NexusControlTools(tmp_path / "store.db") as tools:
        yield tools


def run_of_programs(tools: NexusControlTools, folder: Path, **programs: ArgvTool) -> tuple[str, Any]:
    """The id of a request whose plan runs each of these programs, and the result of its execution."""
    adapter = keys_adapter(folder, programs, max_output_bytes=1000)
    with LocalRouter([adapter], folder / "store.db.runs") as router:
        request_id = approved(tools, plan=plan(*(step(name, name) for name in programs)))
        return request_id, tools.execute(request_id, "subprocess:keys", SCHEDULER, router)


def run_of(tools: NexusControlTools, function: Any, **execute: Any) -> tuple[str, Any]:
    with LocalRouter([PythonAdapter("keys", {"call": function})]) as router:
        request_id = approved(tools, plan=plan(step("call")))
        return request_id, tools.execute(request_id, "python:keys", SCHEDULER, router, **execute)


def in_another_process(database: Path, call: str) -> Any:
    code = (
        "import sys, json; from nexus_control import NexusControlTools as T\n"
        f"print(json.dumps(T(db_path=sys.argv[1]).{call}.to_dict()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(database)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(ran.stdout)["data"]


def test_each_view_and_another_process_have_the_results_that_execute_answered(
    kept: NexusControlTools, tmp_path: Path
) -> None:
    written = tool("sh", "-c", "echo '[1, 2]'; echo careful >&2")
    said = tool("echo", "text")
    request_id, ran = run_of_programs(kept, tmp_path, written=written, said=said)
    results = data_of(ran)["results"]
    assert [(each["output"], each["exit_code"], each["effect"]) for each in results] == [
        ([1, 2], 0, "done"),
        ("text\n", 0, "done"),
    ]
    assert results[0]["stderr"] == "careful\n"
    result = in_another_process(tmp_path / "store.db", f"result({request_id!r})")
    assert (result["results"], result["truncated"], result["effect"]) == (results, False, "done")
    assert result["execution_id"] == data_of(ran)["execution_id"]
    assert result["run_id"] == data_of(ran)["run_id"]
    for line in (
        in_another_process(tmp_path / "store.db", f"status({request_id!r})")["executions"][0],
        data_of(kept.inspect(request_id))["execution"][0],
    ):
        assert (line["results"], line["response_digest"]) == (results, data_of(ran)["response_digest"])


def test_what_a_program_of_the_call_protocol_prints_is_its_output(
    tools: NexusControlTools, tmp_path: Path
) -> None:
    settings = ProcessSettings(base=tmp_path)
    command = ["sh", "-c", "echo '{\"rotated\": 3}'", "tool"]
    adapter = CallAdapter("keys", command, capabilities=["apply"], settings=settings)
    with LocalRouter([adapter]) as router:
        request_id = approved(tools, plan=plan(step("rotate")))
        data_of(tools.execute(request_id, "subprocess:keys", SCHEDULER, router))
    (line,) = data_of(tools.result(request_id))["results"]
    assert (line["output"], line["exit_code"], line["status"]) == ({"rotated": 3}, None, "ok")


@pytest.mark.parametrize("script", ["echo hunter2", "echo hunter2; exit 3"])
def test_an_adapter_that_records_digests_leaves_no_output_anywhere(
    kept: NexusControlTools, tmp_path: Path, script: str
) -> None:
    (tmp_path / "nexus-control.toml").write_text(
        '[adapters.keys]\nkind = "subprocess"\ncapabilities = ["apply"]\nrecord_output = "digest"\n'
        f'[adapters.keys.tools.say]\nargv = ["sh", "-c", "{script}"]\n'
    )
    with LocalRouter(load_adapters(tmp_path / "nexus-control.toml"), tmp_path / "store.db.runs") as router:
        request_id = approved(kept, plan=plan(step("say", "say")))
        kept.execute(request_id, "subprocess:keys", SCHEDULER, router)
    (line,) = data_of(kept.result(request_id))["results"]
    assert line["output"].keys() == {"sha256", "bytes", "exit_code"}
    assert line["exit_code"] == (3 if "exit" in script else 0)
    files = [each.read_bytes() for each in tmp_path.iterdir() if each.name.startswith("store.db")]
    assert len(files) > 1
    assert not any(b"hunter2" in content for content in files)


def test_an_output_that_was_cut_is_text_and_says_so(kept: NexusControlTools, tmp_path: Path) -> None:
    _, ran = run_of_programs(kept, tmp_path, long=tool("sh", "-c", "seq 1 1000"))
    (step,) = data_of(ran)["results"]
    assert step["truncated"] is True
    assert step["output"].startswith("1\n2\n")


@pytest.mark.parametrize("value", [None, True, 17, "text", [1, {"a": None}], {"k": "v"}], ids=repr)
def test_a_function_gives_back_its_own_value(tools: NexusControlTools, value: object) -> None:
    request_id, _ = run_of(tools, lambda: value)
    assert data_of(tools.result(request_id))["results"][0]["output"] == value


def test_a_step_that_failed_has_its_error_and_the_steps_before_it_their_output(
    kept: NexusControlTools, tmp_path: Path
) -> None:
    fails = tool("sh", "-c", "echo half; exit 3")
    request_id, ran = run_of_programs(kept, tmp_path, good=tool("echo", "1"), bad=fails)
    require_refused(ran, ErrorCode.ROUTER_ERROR)
    good, bad = ran.details["results"]
    assert (good["status"], good["output"]) == ("ok", 1)
    assert (bad["status"], bad["output"], bad["exit_code"]) == ("error", "half\n", 3)
    assert bad["error"]["code"] == "NONZERO_EXIT"
    assert data_of(kept.result(request_id))["results"] == [good, bad]


def test_a_rehearsal_is_shown_until_there_is_a_run_and_by_its_number_afterwards(
    tools: NexusControlTools,
) -> None:
    adapter = PythonAdapter("keys", {"call": lambda: "real"}, dry_run_methods={"call": lambda: "rehearsed"})
    with LocalRouter([adapter]) as router:
        request_id = approved(tools, plan=plan(step("call")))
        data_of(tools.execute(request_id, "python:keys", SCHEDULER, router, dry_run=True))
        rehearsal = data_of(tools.result(request_id))
        data_of(tools.execute(request_id, "python:keys", SCHEDULER, router))
    assert (rehearsal["rehearsal"], rehearsal["effect"]) == (True, "none")
    (step_of,) = rehearsal["results"]
    assert (step_of["output"], step_of["simulated"], step_of["effect"]) == ("rehearsed", True, "none")
    assert data_of(tools.result(request_id))["results"][0]["output"] == "real"
    assert data_of(tools.result(request_id, rehearsal["execution"])) == rehearsal


def test_a_dry_run_without_a_function_of_its_own_only_describes_the_call(tools: NexusControlTools) -> None:
    _, ran = run_of(tools, lambda: "real", dry_run=True)
    assert "would_call" in data_of(ran)["results"][0]["output"]


def test_what_was_not_executed_has_no_result(tools: NexusControlTools) -> None:
    request_id = asked(tools)
    require_refused(tools.result(request_id), ErrorCode.INVALID_STATE)
    ran, _ = run_of(tools, lambda: 1)
    require_refused(tools.result(ran, 0), ErrorCode.INVALID_ARGUMENT)


def test_the_whole_answer_of_a_router_that_lists_no_steps_is_given(tools: NexusControlTools) -> None:
    answer = {"run_id": "r1", "status": "completed", "said": "hello"}
    request_id = approved(tools)
    data_of(tools.execute(request_id, "any:thing", SCHEDULER, FakeRouter(answer)))
    result = data_of(tools.result(request_id))
    assert (result["results"], result["answer"]) == ([], answer)


@pytest.mark.parametrize("steps", [1, 3])
def test_an_answer_of_more_than_a_mebibyte_is_cut_and_says_so(tools: NexusControlTools, steps: int) -> None:
    with LocalRouter([PythonAdapter("keys", {"call": lambda: "é" * MAX_ANSWER_BYTES})]) as router:
        request_id = approved(tools, plan=plan(*(step("call", f"s{number}") for number in range(steps))))
        ran = data_of(tools.execute(request_id, "python:keys", SCHEDULER, router))
    result = data_of(tools.result(request_id))
    assert ran["truncated"] is result["truncated"] is True
    assert ran["results"] == result["results"]
    assert [each["step_id"] for each in result["results"]] == [f"s{number}" for number in range(steps)]
    for each in result["results"]:
        assert each["truncated"] is True
        assert set(each["output"]) == {"é"}
    with tools.store.reading() as session:
        answer = session.rows.answer(ran["response_digest"])
    assert answer is not None
    assert len(answer.content.encode()) <= MAX_ANSWER_BYTES


def test_an_answer_that_was_edited_in_the_database_is_not_shown(
    kept: NexusControlTools, tmp_path: Path
) -> None:
    request_id, _ = run_of(kept, lambda: "what was said")
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        changed = database.execute("UPDATE answers SET content = replace(content, 'said', 'made up')")
        assert changed.rowcount == 1
        database.commit()
    assert data_of(kept.result(request_id))["results"] == []
    assert data_of(kept.status(request_id))["executions"][0]["results"] is None


def test_a_part_of_an_answer_that_was_forged_in_the_database_is_not_shown(
    kept: NexusControlTools, tmp_path: Path
) -> None:
    forged = json.dumps(
        {"results": [{"step_id": "call", "status": "ok", "output": {"result": "all is well"}}]}
    )
    for said in ("short", "é" * MAX_ANSWER_BYTES):
        request_id, _ = run_of(kept, lambda said=said: said)
        with closing(sqlite3.connect(tmp_path / "store.db")) as database:
            database.execute("UPDATE answers SET truncated = 1, content = ?", (forged,))
            database.commit()
        assert data_of(kept.result(request_id))["results"] == []
        assert [fault.code for fault in find_faults(kept.store)][-1] == "ANSWER_ALTERED"


@pytest.mark.parametrize("steps", [1600, 3])
def test_what_is_kept_of_an_answer_is_bounded_whatever_its_texts_are(
    tools: NexusControlTools, steps: int
) -> None:
    results = [
        {"step_id": f"{n}" * 4000, "status": "error", "error": {"code": "E" * 4000, "message": "m" * 4000}}
        for n in range(steps)
    ]
    answer = {
        "run_id": "r",
        "status": "completed",
        "steps_executed": 1,
        "results": results,
        "pad": "x" * MAX_ANSWER_BYTES,
    }
    request_id = approved(tools)
    tools.execute(request_id, "python:keys", SCHEDULER, FakeRouter(answer))
    digest = data_of(tools.result(request_id))["response_digest"]
    with tools.store.reading() as session:
        kept_part = session.rows.answer(digest)
    assert kept_part is not None
    assert len(kept_part.content.encode()) <= MAX_ANSWER_BYTES
    assert data_of(tools.result(request_id))["results"]


def die_in_the_second_step(folder: Path) -> None:
    def live() -> None:
        functions = {"first": lambda: "done", "second": kill_this_process}
        with (
            NexusControlTools(folder / "store.db") as tools,
            LocalRouter([PythonAdapter("keys", functions)], folder / "store.db.runs") as router,
        ):
            request_id = approved(tools, plan=plan(step("first", "a"), step("second", "b")))
            (folder / "id").write_text(request_id)
            tools.execute(request_id, "python:keys", SCHEDULER, router)

    assert end_of(fork(live)) < 0


def test_copied_files_without_the_index_of_the_log_tell_it_too(
    kept: NexusControlTools, tmp_path: Path
) -> None:
    in_nursery(die_in_the_second_step, tmp_path)
    (tmp_path / "store.db.runs-shm").unlink()
    results = data_of(kept.result((tmp_path / "id").read_text()))["results"]
    assert [each["status"] for each in results] == ["ok", "unknown"]


def test_after_a_kill_the_run_log_tells_what_was_done(kept: NexusControlTools, tmp_path: Path) -> None:
    in_nursery(die_in_the_second_step, tmp_path)
    request_id = (tmp_path / "id").read_text()
    result = data_of(kept.result(request_id))
    assert result["outcome"] == "running"
    assert [(each["step_id"], each["status"], each["output"]) for each in result["results"]] == [
        ("a", "ok", "done"),
        ("b", "unknown", None),
    ]
    assert result["results"][1]["error"]["code"] == "NOT_ENDED"
    recovered = data_of(kept.recover())
    (run,) = recovered["runs"]
    assert (run["request_id"], run["execution_id"]) == (request_id, result["execution_id"])
    assert (run["run_id"], run["results"]) == (result["run_id"], result["results"])
    assert data_of(kept.result(request_id))["results"] == result["results"]
