"""An adapter that is no longer what was approved does nothing at all: no secret is read for it, and nothing starts."""

from pathlib import Path
from typing import Any

import pytest

from nexus_control import Actor, LocalRouter, NexusControlTools, load_adapters

AGENT, ALICE = Actor("system", "agent"), Actor("human", "alice")
CONFIG = """
[secrets.TOKEN]
command = ["./read.sh"]
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
pin_files = ["run.sh"]
env = { TOKEN = "{secret:TOKEN}" }
[adapters.files.tools.put]
argv = ["./run.sh"]
"""


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)


@pytest.mark.parametrize("change", ["a pinned file", "the declaration"])
def test_no_secret_is_read_and_nothing_starts_where_it_has_changed(change: str, tmp_path: Path) -> None:
    script(tmp_path / "run.sh", "exit 0")
    script(tmp_path / "read.sh", "touch read", "echo a-secret-value")
    config = tmp_path / "nexus-control.toml"
    config.write_text(CONFIG)
    plan: list[dict[str, Any]] = [
        {"step_id": "1", "intent": "Put", "call": {"tool": "files", "method": "put", "args": {}}}
    ]
    with NexusControlTools(plan_checker=LocalRouter(load_adapters(config))) as tools:
        asked = tools.request("Put", AGENT, mode="apply", plan=plan, adapter_id="subprocess:files")
        request_id = asked.data["request_id"]
        tools.approve(request_id, ALICE)
        (tmp_path / "read").unlink(missing_ok=True)
        if change == "a pinned file":
            script(tmp_path / "run.sh", "touch run")
        else:
            config.write_text(config.read_text().replace("capabilities", "timeout_seconds = 9\ncapabilities"))
        router = LocalRouter(load_adapters(config))
        refused = tools.execute(request_id, "subprocess:files", AGENT, router)
    assert [each["code"] for each in refused.details["reasons"]] == ["ADAPTER_CHANGED"]
    assert not (tmp_path / "read").exists()
    assert not (tmp_path / "run").exists()
