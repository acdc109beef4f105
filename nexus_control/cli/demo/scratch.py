"""The real thing that the demonstration changes: a made-up service with two keys, and a script that replaces them."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from nexus_control.integrity import prefixed, sha256_hex

KEYS = ("PAYMENTS_API_KEY", "WEBHOOK_SECRET")
ADAPTER_ID = "subprocess:keys"
SHORTCUT_ID = "subprocess:shortcut"

PLAN: list[dict[str, object]] = [
    {
        "step_id": "payments",
        "intent": "Replace the key for the payment provider",
        "call": {"tool": "keys", "method": "rotate", "args": {"key": KEYS[0]}},
    },
    {
        "step_id": "webhook",
        "intent": "Replace the secret that signs webhooks",
        "call": {"tool": "keys", "method": "rotate", "args": {"key": KEYS[1]}},
    },
    {
        "step_id": "record",
        "intent": "Write down that it was done",
        "call": {
            "tool": "keys",
            "method": "record",
            "args": {"note": "keys of billing replaced; $(id) is text"},
        },
    },
]

_CONFIG = """\
# Written by `nexus-control demo`. An adapter is what a plan may call, and nothing else.

[adapters.keys]                        # adapter id "subprocess:keys"
kind = "subprocess"
capabilities = ["apply", "dry_run", "timeout"]
cwd = "service"                        # relative to this file
timeout_seconds = 10

[adapters.keys.tools.rotate]
argv = ["sh", "rotate.sh", "rotate", "{key}"]
dry_run_argv = ["sh", "rotate.sh", "plan", "{key}"]

[adapters.keys.tools.record]           # without dry_run_argv a rehearsal only describes the step
argv = ["sh", "rotate.sh", "record", "{note}"]

[adapters.shortcut]                    # adapter id "subprocess:shortcut": the request is not made for it
kind = "subprocess"
capabilities = ["apply", "dry_run"]
cwd = "service"

[adapters.shortcut.tools.rotate]
argv = ["sh", "rotate.sh", "rotate", "{key}"]
"""

_SCRIPT = """\
#!/bin/sh
# rotate.sh plan KEY | rotate KEY | record NOTE
# It never prints a key: what a step prints becomes part of the run's record.
set -eu

if [ "$1" = record ]; then
    printf '%s\\n' "$2" >> rotations.log
    echo "wrote a line to rotations.log"
    exit 0
fi

case $2 in
    '' | *[!A-Z_]*) echo "not the name of a key" >&2; exit 2 ;;
esac
grep -q "^$2=" billing.env || { echo "billing.env has no $2" >&2; exit 3; }

if [ "$1" = plan ]; then
    echo "would replace $2 in billing.env"
    exit 0
fi

umask 077
fresh=$(od -An -N 20 -tx1 /dev/urandom | tr -d ' \\n')
sed "s/^$2=.*/$2=$fresh/" billing.env > billing.env.new
mv billing.env.new billing.env
echo "replaced $2 in billing.env"
"""


@dataclass(frozen=True, slots=True)
class Scratch:
    """The folder of one demonstration."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "nexus-control.toml"

    @property
    def database(self) -> Path:
        return self.folder / "decisions.db"

    @property
    def run_log(self) -> Path:
        return self.folder / "runs.db"

    @property
    def package(self) -> Path:
        return self.folder / "audit-package.json"

    @property
    def envelope(self) -> Path:
        return self.folder / "audit-package.dsse.json"

    @property
    def package_key(self) -> Path:
        return self.folder / "auditor" / "package.pub"

    @property
    def log_key(self) -> Path:
        return self.folder / "auditor" / "log.key"

    @property
    def run_bundle(self) -> Path:
        return self.folder / "run-bundle.json"

    def write(self) -> None:
        """Make the service and the configuration."""
        service = self._service()
        service.mkdir()
        settings = service / "billing.env"
        settings.touch(mode=0o600)
        lines = ("SERVICE=billing", *(f"{key}={secrets.token_hex(20)}" for key in KEYS))
        settings.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        (service / "rotate.sh").write_text(_SCRIPT, encoding="utf-8")
        (service / "rotate.sh").chmod(0o755)
        self.config.write_text(_CONFIG, encoding="utf-8")

    def give_keys(self, *, package_key: str, log_key: str) -> None:
        """What the auditor got from the organisation, before any package."""
        self.package_key.parent.mkdir()
        self.package_key.write_text(package_key, encoding="utf-8")
        self.log_key.write_text(f"{log_key}\n", encoding="utf-8")

    def loosen(self) -> None:
        """What somebody might do to the configuration after the approvals: rotate for ten hours."""
        self.config.write_text(
            _CONFIG.replace("timeout_seconds = 10", "timeout_seconds = 36_000"), encoding="utf-8"
        )

    def mend(self) -> None:
        """The configuration as it was."""
        self.config.write_text(_CONFIG, encoding="utf-8")

    def digests(self) -> dict[str, str]:
        """The prefixed digest of each file of the service, by name."""
        files = sorted(path for path in self._service().iterdir() if path.is_file())
        return {path.name: prefixed(sha256_hex(path.read_bytes())) for path in files}

    def settings(self) -> dict[str, str]:
        """The service's settings. The values are keys: they are compared, never shown."""
        text = (self._service() / "billing.env").read_text(encoding="utf-8")
        return dict(line.split("=", 1) for line in text.splitlines())

    def _service(self) -> Path:
        return self.folder / "service"
