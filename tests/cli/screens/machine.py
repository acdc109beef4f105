"""The command line on a machine that never changes: its clock, ids, login, group, umask and host are fixed.

    python -m tests.cli.screens.machine 2026-03-02T13:03:00+00:00 list --json

The first argument is the time that stands still. Ids depend on it and on their order, as `Ids` gives them.
"""

import grp
import os
import pwd
import sys
import uuid
from datetime import datetime
from itertools import count
from typing import Final

from nexus_control.__main__ import main
from nexus_control.system.clock import SYSTEM_CLOCK, SystemClock

LOGIN: Final = "alice"
HOST: Final = "studio"
GROUP: Final = "team"


class Ids:
    """Ids that look random: always the same ones for a seed."""

    def __init__(self, seed: str) -> None:
        self._seed, self._numbers = seed, count(1)

    def next(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self._seed} {next(self._numbers)}"))


class _Clock(SystemClock):
    def __init__(self, instant: str) -> None:
        self._instant, self._ids = datetime.fromisoformat(instant), Ids(instant)

    def now(self) -> datetime:
        return self._instant

    def new_id(self) -> str:
        return self._ids.next()


def _login(user: int) -> pwd.struct_passwd:
    return pwd.struct_passwd((LOGIN, "", user, user, "", os.environ["HOME"], "/bin/sh"))


def _group(number: int) -> grp.struct_group:
    return grp.struct_group((GROUP, "", number, [LOGIN]))


def _stand_still(instant: str) -> None:
    clock, system = _Clock(instant), os.uname()
    host = os.uname_result((system.sysname, HOST, *system[2:]))
    SYSTEM_CLOCK.__dict__.update(now=clock.now, new_id=clock.new_id)
    os.uname, pwd.getpwuid = lambda: host, _login
    grp.getgrgid, grp.getgrnam = _group, lambda _: _group(os.getegid())
    os.umask(0o022)


if __name__ == "__main__":
    _stand_still(sys.argv.pop(1))
    main()
