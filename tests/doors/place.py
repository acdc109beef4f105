"""A store on a PostgreSQL server with a log folder, worked by commands."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from nexus_control.cli.main import app
from tests.cli.office import CONFIG


@dataclass(frozen=True)
class Place:
    """`folder` is None for a store without a log folder."""

    url: str
    folder: Path | None = None

    @property
    def options(self) -> list[str]:
        named = [] if self.folder is None else ["--log-folder", str(self.folder)]
        return ["--db", self.url, *named]

    def shown(self, *arguments: str, code: int = 0) -> str:
        """All that a command prints, which must end with this code."""
        ran = CliRunner().invoke(app, [*self.options, *arguments], prog_name="nexus-control")
        assert ran.exit_code == code, ran.output
        return ran.output

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        ran = CliRunner().invoke(app, [*self.options, *arguments, "--json"], prog_name="nexus-control")
        assert ran.exit_code == code, ran.output
        return json.loads(ran.stdout)


def config_in(folder: Path) -> str:
    """A file that declares the adapter `subprocess:files`."""
    file = folder / "adapters.toml"
    file.write_text(CONFIG)
    return str(file)


def requested(place: Place, target: Path) -> str:
    """A request of alice to write `target`, approved by bob."""
    call = {"tool": "files", "method": "write", "args": {"text": "new", "file": str(target)}}
    plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
    given = ("write it", "--mode", "apply", "--as", "human:alice", "--plan", plan)
    request_id: str = place.answer("request", *given)["request_id"]
    place.answer("approve", request_id, "--yes", "--as", "human:bob")
    return request_id


def execution(request_id: str, folder: Path) -> tuple[str, ...]:
    return ("execute", request_id, "--adapter", "subprocess:files", "--config", config_in(folder))
