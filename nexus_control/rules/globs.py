"""Globs, as `fnmatch.fnmatchcase` reads them: `*` any characters, `?` one, `[a-z]` one of these, `[!a-z]` another one.

    mcp__*          fits mcp__files__read, and mcp__
    [Bb]ash         fits Bash and bash, not BASH

A glob is for the whole text, line ends too, and upper and lower case differ. Look-alike letters are not made equal. A
glob that cannot fit what its author meant is refused: `[` without `]`, or a range that runs backwards.

A text of n characters takes at most n steps for each character of the glob. The glob is therefore limited, and a long
text cannot keep the reader busy.
"""

import fnmatch
import re
from functools import lru_cache
from typing import Final

MAX_GLOB: Final = 512


def fits(glob: str, text: str) -> bool:
    """Whether the glob is one for the whole text.

    >>> fits("mcp__*", "mcp__files__read")
    True
    """
    return _compiled(glob).match(text) is not None


def is_glob(text: str) -> bool:
    """Whether this is a glob of 1 to `MAX_GLOB` characters, whose `[` are closed and whose ranges run forwards."""
    if not 0 < len(text) <= MAX_GLOB:
        return False
    at = text.find("[")
    while at >= 0:
        begin = at + 2 if text.startswith("!", at + 1) else at + 1
        end = text.find("]", begin + 1)  # a ] at the beginning is one of the characters
        if end < 0 or not _runs_forwards(text[begin:end]):
            return False
        at = text.find("[", end + 1)
    return True


def _runs_forwards(members: str) -> bool:
    inner = range(1, len(members) - 1)
    return not any(members[n] == "-" and members[n - 1] > members[n + 1] for n in inner)


@lru_cache(256)
def _compiled(glob: str) -> "re.Pattern[str]":
    return re.compile(fnmatch.translate(glob))
