"""Everything that asks the machine: clock and ids, whole files, processes, signals, and printed commands."""
