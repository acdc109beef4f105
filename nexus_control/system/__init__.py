"""Everything that asks the machine: clock and ids, whole files, processes, signals, and the commands that people run.
"""
