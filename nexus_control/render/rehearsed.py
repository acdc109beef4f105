"""The rehearsal that a policy requires, in words: when it ran, and whether anybody can approve by it."""

from collections.abc import Iterator
from typing import Final

from nexus_control.render.text import View, bullet

COVERED: Final = "What the last rehearsal gave back, which is what an approval covers"


def rehearsal_lines(rehearsal: View | None) -> Iterator[str]:
    """The `rehearsal` of a view as items of a list."""
    if rehearsal is None:
        yield "- (none): it must be rehearsed before anybody can approve"
        return
    yield bullet("Rehearsed", f"{rehearsal['status'].replace('_', ' ')} at {rehearsal['at']}")
    yield bullet("Run", rehearsal["run_id"])
    yield bullet("Digest", rehearsal["digest"])


def standing_words(rehearsal: View) -> str:
    """Whether anybody can approve by this rehearsal."""
    if rehearsal["is_fresh"]:
        return "an approval covers it"
    return "nobody can approve by it: it must be rehearsed again"


def covered_words(rehearsal: View) -> str:
    """What an approval by this rehearsal covers, for a person who is asked for one."""
    if rehearsal["is_fresh"]:
        return f"An approval covers what it gave back, digest {rehearsal['digest']}."
    return "Nobody can approve by it: it must be rehearsed again."
