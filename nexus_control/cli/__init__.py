"""The command line. `main` runs it; this package alone imports typer and rich."""

from nexus_control.cli.main import main

__all__ = ["main"]
