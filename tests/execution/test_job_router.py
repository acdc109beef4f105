"""The router of "Write a router": its process is killed while a job runs, and the job is found and not repeated."""

import importlib
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nexus_control import NexusControlTools
from tests.support import documents
from tests.support.governed import ALICE, SCHEDULER, data_of
from tests.support.places import REPOSITORY

PAGE = REPOSITORY / "docs" / "howto" / "write-a-router.md"
EXECUTOR = """
import sys
from job_router import JobRouter
from nexus_control import Actor, NexusControlTools

address, store, request_id = sys.argv[1:]
with NexusControlTools(store) as tools:
    tools.execute(request_id, "jobs", Actor("system", "scheduler"), JobRouter(address))
"""


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules that the page lets its reader save."""
    for name, text in documents.files(PAGE.read_text(encoding="utf-8")).items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    names = ("job_service", "job_router")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    return {name: importlib.import_module(name) for name in names}


def test_a_job_whose_executor_was_killed_is_found_and_not_run_again(
    pages: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, router = pages["job_service"], pages["job_router"]
    asked, released = threading.Event(), threading.Event()
    look = service.Handler.do_GET

    def look_when_released(handler: Any) -> None:
        if "?" not in handler.path:
            asked.set()
            released.wait(240)
        look(handler)

    monkeypatch.setattr(service.Handler, "do_GET", look_when_released)
    store = str(tmp_path / "decisions.db")
    with service.job_service() as address:
        jobs = router.JobRouter(address)
        with NexusControlTools(store, plan_checker=jobs) as tools:
            plan = "deploy shop v2"
            request_id = data_of(
                tools.request("Deploy", SCHEDULER, mode="apply", plan=plan, adapter_id="jobs")
            )["request_id"]
            data_of(tools.approve(request_id, ALICE))
            with subprocess.Popen(
                [sys.executable, "-c", EXECUTOR, address, store, request_id], cwd=tmp_path
            ) as child:
                assert asked.wait(240)
                child.send_signal(signal.SIGKILL)
            released.set()

            assert data_of(tools.status(request_id))["state"] == "executing"
            (recovered,) = data_of(tools.recover())["runs"]
            (run,) = jobs.runs_of(request_id)
            assert recovered["run_id"] == run.run_id
            assert run.has_ended
            assert not tools.execute(request_id, "jobs", SCHEDULER, jobs).success
            assert service.deployed == [plan]
            data_of(tools.reconcile(request_id, ALICE, "completed", "the job is done", run_id=run.run_id))
            assert data_of(tools.status(request_id))["state"] == "completed"
