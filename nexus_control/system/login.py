"""Who runs this process: by the system's user table, because anybody can set LOGNAME and USER."""

import os
import pwd


def login_at_host() -> str:
    """The login of this process's user, and the host.

    >>> login_at_host()
    'ada@laptop'
    """
    user = os.getuid()
    try:
        login = pwd.getpwuid(user).pw_name
    except KeyError:
        login = f"uid-{user}"
    return f"{login}@{os.uname().nodename}"
