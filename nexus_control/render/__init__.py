"""Views and artifacts as Markdown for people. Pure functions; nothing else in the library formats."""
