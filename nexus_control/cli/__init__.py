"""The command line. `main` runs it; this package alone imports typer and rich."""
