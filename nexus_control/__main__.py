"""The program: `python -m nexus_control`, and the console script.

Ctrl-C while it loads ends it as the signal does that nobody handles, and without a traceback.
"""

import signal


def main() -> None:
    """Run the command that the process was given, and exit."""
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nexus_control.cli import main as run_command
    from nexus_control.cli.interrupting import end_by

    signal.signal(signal.SIGINT, interrupted)
    try:
        run_command()
    except KeyboardInterrupt:  # before the command itself handles it
        end_by(signal.SIGINT)


if __name__ == "__main__":
    main()
