"""`python -m nexus_control` is the command line."""

from nexus_control.cli import main

if __name__ == "__main__":
    main()
