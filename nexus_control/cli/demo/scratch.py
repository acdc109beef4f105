"""The made-up service that the demonstration works on: a file with two keys, and a script that replaces them."""

import secrets
from pathlib import Path

from nexus_control.integrity import prefixed, sha256_hex
from nexus_control.usecases.answers import JsonObject

KEYS = ("PAYMENTS_API_KEY", "WEBHOOK_SECRET")
ADAPTER_ID = "subprocess:keys"
SHORTCUT_ID = "subprocess:shortcut"
CONFIG_NAME = "nexus-control.toml"


def _step(step_id: str, intent: str, method: str, **args: str) -> JsonObject:
    return {"step_id": step_id, "intent": intent, "call": {"tool": "keys", "method": method, "args": args}}


PLAN = [
    _step("payments", "Replace the key for the payment provider", "rotate", key=KEYS[0]),
    _step("webhook", "Replace the secret that signs webhooks", "rotate", key=KEYS[1]),
    _step("record", "Write down that it was done", "record", note="keys of billing replaced; $(id) is text"),
]
CONFIG = """\
# Written by `nexus-control demo`. A plan may call what an adapter declares here, and nothing else.

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
    exit
fi
cut -d = -f 1 billing.env | grep -Fqx -e "$2" || { echo "billing.env has no $2" >&2; exit 3; }
if [ "$1" = plan ]; then
    echo "would replace $2 in billing.env"
    exit
fi
umask 077
fresh=$(od -An -N 20 -tx1 /dev/urandom | tr -d ' \\n')
sed "s/^$2=.*/$2=$fresh/" billing.env > billing.env.new
mv billing.env.new billing.env
echo "replaced $2 in billing.env"
"""


def write(folder: Path) -> None:
    """Make the service, and the configuration that lets a plan call its script."""
    service = folder / "service"
    service.mkdir()
    environment, script = service / "billing.env", service / "rotate.sh"
    environment.touch(mode=0o600)
    lines = ("SERVICE=billing", *(f"{key}={secrets.token_hex(20)}" for key in KEYS))
    environment.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    script.write_text(_SCRIPT, encoding="utf-8")
    script.chmod(0o755)
    (folder / CONFIG_NAME).write_text(CONFIG, encoding="utf-8")


def digests(folder: Path) -> dict[str, str]:
    """The prefixed digest of each file of the service, by name."""
    return {path.name: prefixed(sha256_hex(path.read_bytes())) for path in sorted(folder.glob("service/*"))}


def settings(folder: Path) -> dict[str, str]:
    """The service's settings. The values are keys: they are compared, never shown."""
    text = (folder / "service" / "billing.env").read_text(encoding="utf-8")
    return dict(line.split("=", 1) for line in text.splitlines())
