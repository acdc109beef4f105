"""What the store costs, beside what this machine can do at best, measured in one run.

    python -m benchmarks --out result.json                    # everything
    python -m benchmarks --against ../earlier --out r.json    # and another checkout, in the same rounds
    python -m benchmarks --smoke                              # small sizes: only whether the answers are right
    python -m benchmarks --report result.json                 # write docs/performance.md and its plots

Each implementation, workload and round has a process of its own. Rounds take the implementations in turns, and within a
process contenders take turns: what else the machine does then falls on all of them. A ratio is taken within a round;
the median of all rounds is shown, with its range. `--folder` names the disk to measure: where it is in memory, a sync
costs nothing, and the figures say nothing.

Metrics are named by what they mean (`benchmarks.results`): `bad_…` must be 0 and `check_…` must be 1, else the exit
code is 1. No time is ever judged.
"""
