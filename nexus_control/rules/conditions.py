"""What a rule says about the arguments of a call: a JSON pointer (RFC 6901), and operators on what it points at.

    arguments = { "/command" = { prefix = "git " }, "/files/0" = { glob = "*.md" }, "/amount" = { gt = 0, lt = 100 } }

| operator | holds if the argument | reads |
|---|---|---|
| `eq` | is this text, whole number, or true or false | an argument of this type |
| `in` | is one of these, which are of one type | an argument of this type |
| `prefix` | begins with this text | text |
| `glob` | fits this glob | text |
| `lt`, `gt` | is less, or greater, than this number | a number |

Several operators, and several pointers, are joined by *and*. All of them are evaluated, in whatever order the file has
them. A condition is not evaluated, but raises RULE_UNDECIDED, if the argument is missing, is of another type, or is a
number that programs read differently: NaN, an infinity, a whole number beyond 2^53-1, and for `eq` and `in` any number
with a fraction or an exponent. True and false are not numbers here. The text of an argument is never in an error.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from nexus_control.canonical_json import MAX_SAFE_INTEGER
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.rules.globs import fits

OperatorName: TypeAlias = Literal["eq", "in", "prefix", "glob", "lt", "gt"]
Scalar: TypeAlias = str | bool | int
Operand: TypeAlias = Scalar | float | tuple[Scalar, ...]

TEXT: Final = "text"
FLAG: Final = "true or false"
WHOLE: Final = "a whole number"
FRACTION: Final = "a number with a fraction or an exponent"
NUMBERS: Final = (WHOLE, FRACTION)
EXACT: Final = (TEXT, FLAG, WHOLE)

_TOKEN = re.compile(r"(?:[^~]|~[01])*", re.DOTALL)
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator on what one pointer points at."""

    pointer: str
    operator: OperatorName
    operand: Operand

    def holds(self, arguments: Mapping[str, object], rule: str) -> bool:
        """Whether the arguments meet it. `rule` names the rule in an error. Raises RULE_UNDECIDED."""
        found = _at(arguments, self.pointer)
        if found is _ABSENT:
            raise self._undecided(rule, "no such argument")
        kind = kind_of(found)
        if kind not in self._readable():
            raise self._undecided(rule, kind)
        operand = self.operand
        match self.operator:
            case "eq":
                return found == operand
            case "in":
                return found in cast("tuple[Scalar, ...]", operand)
            case "prefix":
                return cast("str", found).startswith(cast("str", operand))
            case "glob":
                return fits(cast("str", operand), cast("str", found))
            case "lt":
                return cast("float", found) < cast("float", operand)
            case "gt":
                return cast("float", found) > cast("float", operand)

    def _readable(self) -> Sequence[str]:
        """The kinds of arguments that it can be evaluated on."""
        match self.operator:
            case "prefix" | "glob":
                return (TEXT,)
            case "lt" | "gt":
                return NUMBERS
            case "eq":
                return (kind_of(self.operand),)
            case "in":
                return (kind_of(cast("tuple[Scalar, ...]", self.operand)[0]),)

    def _undecided(self, rule: str, found: str) -> NexusControlError:
        needed = "a number" if self.operator in ("lt", "gt") else self._readable()[0]
        return undecided(
            rule,
            f"arguments.{self.pointer}",
            f"{self.operator!r} needs {needed}, and the call has {found}",
            pointer=self.pointer,
            operator=self.operator,
            needed=needed,
            found=found,
        )


def undecided(rule: str, matcher: str, problem: str, **details: object) -> NexusControlError:
    """RULE_UNDECIDED for a matcher of a rule, such as `rules[2]`, that cannot be evaluated on a call."""
    return NexusControlError(
        ErrorCode.RULE_UNDECIDED,
        f"{rule}.{matcher} cannot be evaluated: {problem}",
        {"rule": rule, "matcher": matcher, **details},
    )


def kind_of(value: object) -> str:
    """What a value is, in words that are the same for all values that one operator can read."""
    if isinstance(value, str):
        return TEXT
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, int):
        return WHOLE if abs(value) <= MAX_SAFE_INTEGER else "a whole number beyond 2^53-1"
    if isinstance(value, float):
        return FRACTION if math.isfinite(value) else "NaN or an infinity"
    if value is None:
        return "null"
    return "an object" if isinstance(value, Mapping) else "a list"


def is_pointer(text: str) -> bool:
    """Whether this is a JSON pointer to one argument or a part of it: `/` and a name, in which `~0` is `~` and `~1` is
    `/`. The empty pointer, to all arguments, is not one.
    """
    return text.startswith("/") and _TOKEN.fullmatch(text) is not None


def _at(arguments: Mapping[str, object], pointer: str) -> object:
    found = cast("object", arguments)
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = cast("Mapping[str, object]", found).get(name, _ABSENT)
        elif isinstance(found, list):
            items = cast("list[object]", found)
            found = items[int(name)] if _INDEX.fullmatch(name) and int(name) < len(items) else _ABSENT
        else:
            return _ABSENT
    return found
