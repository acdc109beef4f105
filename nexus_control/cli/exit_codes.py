"""The exit codes of commands other than 0, which means done. `cli.frame` says which fault has which code."""

from typing import Final

REFUSED: Final = 1
USAGE: Final = 2
NOT_VERIFIED: Final = 3
