"""A program that tells its secrets in as many ways as it can, and looks who else can see them.

leaking.py WORD           prints them, and ends with the exit code that WORD says, or waits to be killed
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

WHOLE = 4000


def main() -> None:
    word = sys.argv[1]
    found = [os.environ["OWN"], os.environ["API_TOKEN"].removeprefix("Bearer "), sys.stdin.read()]
    found.append(Path(os.environ["PEM_FILE"]).read_text())
    Path("seen.json").write_text(json.dumps(_seen(found)))
    if word == "cut":
        # Wherever the output is cut at 4,000 bytes, there is a part of a value.
        value = found[int(sys.argv[2])]
        sys.stdout.write("x" * (WHOLE - int(sys.argv[3])) + value * 3)
        sys.stdout.flush()
        return
    for value in found:
        print(
            value,
            json.dumps(value),
            repr(value),
            repr(value.encode()),
            json.dumps(json.dumps({value: value})),
        )
    print(json.dumps({"deep": [{value: value} for value in found]}))
    sys.stderr.write("\n".join(found) + "".join(found) * 50)
    sys.stderr.flush()
    if word == "hang":
        Path("hanging").write_text(str(os.getpid()))
        time.sleep(600)
    sys.exit({"ok": 0, "fail": 3}[word])


def _seen(values: list[str]) -> dict[str, object]:
    """The processes with a value in their command line or environment, by kind; and what the file's place is like."""
    file = Path(os.environ["PEM_FILE"])
    seen: dict[str, list[int]] = {"cmdline": [], "environ": []}
    for process in Path("/proc").glob("[0-9]*"):
        for kind, pids in seen.items():
            with contextlib.suppress(OSError):
                content = (process / kind).read_bytes()
                ours = kind == "cmdline" or (process / "cwd").readlink() == Path.cwd()  # not another test's
                if ours and any(line.encode() in content for value in values for line in value.split("\n")):
                    pids.append(int(process.name))
    supervisor = os.getppid()
    return {
        **seen,
        "me": os.getpid(),
        "supervisor": supervisor,
        "command": int(Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()[1]),
        "file": str(file),
        "file_mode": oct(file.stat().st_mode & 0o777),
        "folder_mode": oct(file.parent.stat().st_mode & 0o777),
        "descriptors": sorted(os.listdir("/proc/self/fd")),  # noqa: PTH208 - names
    }


if __name__ == "__main__":
    main()
