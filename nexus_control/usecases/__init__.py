"""Use cases: load, check, append - in one write transaction. Each takes a store and checked arguments."""
