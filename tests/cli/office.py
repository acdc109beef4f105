"""People with SSH keys of their own, and a store whose owner trusts those keys, worked by commands."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nexus_control import NexusControlTools
from tests.cli.running import Commands, nexus_control
from tests.evidence.ssh import keygen
from tests.support.governed import data_of

CONFIG = """
[adapters.files]
kind = "subprocess"
capabilities = ["apply", "dry_run"]
[adapters.files.tools.write]
argv = ["sh", "-c", 'printf "%s" "$1" > "$2"', "sh", "{text}", "{file}"]
"""


@dataclass(frozen=True)
class Office:
    """`run` and `answer` are commands with the signers named; `plainly` are those without."""

    folder: Path

    def __post_init__(self) -> None:
        self.signers.touch()

    @property
    def signers(self) -> Path:
        return self.folder / "allowed_signers"

    @property
    def plainly(self) -> Commands:
        return Commands(self.folder)

    def key(self, person: str, kind: str = "ed25519", passphrase: str = "", *, trusted: bool = True) -> Path:
        """A new key of this person, which the owner trusts."""
        key = self.folder / f"{person}_{kind}"
        made = keygen("-q", "-t", kind, "-N", passphrase, "-C", person, "-f", key)
        assert made.returncode == 0, made.stderr
        if trusted:
            with self.signers.open("a") as file:
                file.write(f"{person}@example.com {key.with_suffix('.pub').read_text()}")
        return key

    def run(self, *arguments: str, code: int = 0) -> str:
        return self.plainly.run("--allowed-signers", str(self.signers), *arguments, code=code)

    def answer(self, *arguments: str, code: int = 0) -> dict[str, Any]:
        return json.loads(self.run(*arguments, "--json", code=code))

    def in_a_process(
        self, *arguments: str, changes: Mapping[str, str] | None = None, code: int = 0
    ) -> dict[str, Any]:
        ran = nexus_control(*arguments, "--db", self.database, "--json", changes=changes)
        assert ran.returncode == code, ran.stdout + ran.stderr
        return json.loads(ran.stdout)

    @property
    def database(self) -> str:
        return str(self.folder / "store.db")

    def requested(self, *options: str, approvals: int = 1) -> str:
        """A request of alice to write a file, to be approved with signatures."""
        call = {"tool": "files", "method": "write", "args": {"text": "new", "file": str(self.folder / "f")}}
        plan = json.dumps([{"step_id": "s1", "intent": "write", "call": call}])
        policy = ("--min-assurance", "signed", "--min-approvals", str(approvals), "--plan", plan)
        given = ("write it", "--mode", "apply", "--as", "human:alice@example.com", *policy, *options)
        return self.answer("request", *given)["request_id"]

    def execution(self, request_id: str) -> tuple[str, ...]:
        """The command that executes it."""
        config = self.folder / "adapters.toml"
        config.write_text(CONFIG)
        return ("execute", request_id, "--adapter", "subprocess:files", "--config", str(config))

    def events(self, request_id: str) -> list[dict[str, Any]]:
        tools = NexusControlTools(db_path=self.database)
        events: list[dict[str, Any]] = data_of(tools.status(request_id, include_events=True))["events"]
        return events

    def written_to(self, request_id: str) -> int:
        """How many events there are beside the two that open it."""
        return len(self.events(request_id)) - 2


def by(person: str) -> tuple[str, ...]:
    """Decides without asking, as this person."""
    return ("--yes", "--as", f"human:{person}@example.com")


def field(refused: dict[str, Any]) -> str:
    """What a refused command is to blame."""
    assert refused["code"] == "INVALID_ARGUMENT", refused
    return refused["details"]["fields"][0]["field"]
