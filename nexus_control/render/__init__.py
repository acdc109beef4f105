"""Views and artifacts as Markdown and HTML for people. Pure functions; all formatting for people happens here."""
