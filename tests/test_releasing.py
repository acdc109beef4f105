"""What a release and the hosted checks rest on: one version, and one command that checks everything."""

import json
import re
from typing import Any

import pytest

from nexus_control import __version__
from tests.support.places import REPOSITORY

WORKFLOW = REPOSITORY / ".github" / "workflows" / "ci.yml"
HOOKS = REPOSITORY / ".pre-commit-config.yaml"


def test_the_manifest_of_the_server_has_the_version_of_the_package() -> None:
    manifest = json.loads((REPOSITORY / "server.json").read_bytes())
    assert [manifest["version"], *(package["version"] for package in manifest["packages"])] == [
        __version__
    ] * 2


def test_the_workflow_runs_the_same_command_as_a_developer_and_may_only_read() -> None:
    workflow = WORKFLOW.read_text(encoding="utf-8")
    assert re.findall(r"^ +- run: (.+)$", workflow, re.MULTILINE) == [".ci/run"]
    assert re.search(r"^permissions:\n  contents: read\n\n", workflow, re.MULTILINE)
    assert "secrets." not in workflow
    actions = re.findall(r"uses: (\S+)", workflow)
    assert actions
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in actions)


def test_the_workflow_is_yaml_that_runs_ci_on_the_oldest_python_and_on_a_newer() -> None:
    workflow: Any = pytest.importorskip("yaml").safe_load(WORKFLOW.read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.13"]


def test_hooks_run_programs_that_are_installed_and_fetch_none() -> None:
    hooks = HOOKS.read_text(encoding="utf-8")
    assert re.findall(r"- repo: (.+)", hooks) == ["local"]
    assert set(re.findall(r"language: (.+)", hooks)) == {"system"}
    targets = re.findall(r"entry: make (\w+)", hooks)
    assert targets
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert all(f"\n{target}:" in makefile for target in targets)
