"""Looks at an execution as another user: `python -m tests.support.looker DB REQUEST_ID UID`, started by root.

It prints what `recover` answers: for all, for the one that is named, and for the one that is named and forced.
"""

import json
import os
import sys

from nexus_control import NexusControlTools


def main(database: str, request_id: str, uid: int) -> None:
    NexusControlTools().recover()  # loads everything, which the other user may not be able to read
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
    tools = NexusControlTools(db_path=database)
    everything, named, forced = (
        tools.recover(),
        tools.recover(request_id),
        tools.recover(request_id, force=True),
    )
    sys.stdout.write(
        json.dumps(
            {
                "all": everything.data if everything.success else everything.error_code,
                "named": named.error_code,
                "forced": forced.error_code or "given up",
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
