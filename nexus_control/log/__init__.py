"""A store's log: the ledger that holds it, its transactions, entries, projections, head and checkpoints."""
