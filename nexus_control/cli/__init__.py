"""The command line. `main` runs it; only this package imports typer and rich."""
