"""How a configuration file with problems is shown by the command that checks it."""

from pathlib import Path
from typing import cast

from nexus_control.cli.exit_codes import USAGE
from nexus_control.cli.frame import Answer
from nexus_control.cli.screen import Mark, Screen
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.lifecycle import counted


def broken(path: Path, fault: NexusControlError) -> Answer:
    """Every problem of the file. Raises the fault if it is another one than CONFIG_INVALID."""
    if fault.code is not ErrorCode.CONFIG_INVALID:
        raise fault
    problems = cast("list[str]", fault.details["problems"])

    def show(screen: Screen) -> None:
        screen.prose(f"{counted(len(problems), 'problem')} in this file:", Mark(f"{fault.code}:", "bad"))
        screen.verbatim(str(path))
        for problem in problems:
            screen.prose(f"- {problem}")

    return Answer({"file": str(path), "ok": False, "problems": problems}, show, code=USAGE)
