"""The rule book: which calls of tools need which template, which pass, and which are denied.

`reading` decodes a book from a configuration file, `book` judges one call, `plans` judges the steps of a plan. A hook
loads this package at each call of a tool, so it imports neither pydantic nor the store.
"""

from nexus_control.rules.reading import read_rules as read_rules

__all__ = ["read_rules"]
