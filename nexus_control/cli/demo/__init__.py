"""`nexus-control demo`: the whole flow on real files, each statement measured from what happened."""
