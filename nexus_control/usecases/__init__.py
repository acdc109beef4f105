"""Use cases. Each takes a store and checked arguments, and loads, checks and appends in one write transaction."""
