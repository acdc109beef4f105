"""The only doors to the machine: clock and ids, whole files, processes, and the commands that people run."""
