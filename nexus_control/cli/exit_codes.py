"""With which codes commands end: 0 when done, and these. `cli.frame` says which faults lead to which."""

from typing import Final

REFUSED: Final = 1
USAGE: Final = 2
NOT_VERIFIED: Final = 3
