"""A store's log: the ledger that holds it, one transaction, what is kept of it, and what is shown of it to others."""
