"""The program: `python -m nexus_control`, and the console script.

Ctrl-C ends it by SIGINT and without a traceback, also while it loads.

An agent host calls `hook` at each call of a tool: it is begun here, before the command line is loaded.
"""

import signal
import sys

from nexus_control.cli.loading import load
from nexus_control.system.signals import end_by


def main() -> None:
    """Run the command that the process was given, and exit."""
    if sys.argv[1:2] == ["hook"] and not {"--help", "-h"} & set(sys.argv):
        load("nexus_control.guards.hook_process").main(sys.argv[2:])
    command_line = load("nexus_control.cli.main")
    try:
        command_line.main()
    except KeyboardInterrupt:  # until the command itself handles it
        end_by(signal.SIGINT)


if __name__ == "__main__":
    main()
