"""Argument vectors with placeholders.

A word of a template is text with placeholders `{name}`; `{{` and `}}` are braces. Each word becomes exactly one
argument, whatever the values hold: nothing is split, globbed or given to a shell. Values are text, true and false, and
numbers, which become their canonical JSON.

A value must not become an option by accident. So a word that begins with a placeholder refuses a value that begins with
`-`, unless the word `--` stands before it. A fused word (`--service={service}`) takes any value. A `--` before the name
of a program that `foreign_code` knows belongs to the wrapper in front of it, and does not count for that program.

A template is refused if it has a placeholder in the program's name, or in a word that a program would parse as code.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Formatter

from nexus_control.canonical_json import canonical_json
from nexus_control.execution.foreign_code import PLACEHOLDER, known_program, parsed_as_code

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_Part = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a template."""

    parts: tuple[_Part, ...]
    """Each part is a literal text and the placeholder after it."""

    guarded: bool
    """Whether the word begins with a placeholder at a place where the program would read `-...` as an option."""

    def names(self) -> frozenset[str]:
        return frozenset(name for _, name in self.parts if name is not None)

    def marked(self) -> str:
        return "".join(literal + ("" if name is None else PLACEHOLDER) for literal, name in self.parts)

    def problem_with(self, values: Mapping[str, str]) -> str | None:
        filled = self.fill(values)
        if not self.guarded or not filled.startswith("-"):
            return None
        name = next(name for literal, name in self.parts if literal or (name and values[name]))
        if name and values[name].startswith("-"):
            return f"args.{name} must not begin with '-', which would make it an option"
        return f"args.{self.parts[0][1]} must not be empty: {filled!r:.80} would be an option"

    def fill(self, values: Mapping[str, str]) -> str:
        return "".join(literal + ("" if name is None else values[name]) for literal, name in self.parts)


@dataclass(frozen=True, slots=True)
class ArgvTemplate:
    """A declared argument vector. Raises ValueError, with the problem, for a template that is refused."""

    words: tuple[str, ...]
    parsed: tuple[Word, ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> "ArgvTemplate":
        if not words or not words[0]:
            raise ValueError("must name a program")
        parsed: list[Word] = []
        separated = False
        for word in words:
            parts = _parts(word)
            begins = bool(parts) and parts[0][0] == "" and parts[0][1] is not None
            parsed.append(Word(parts, guarded=begins and not separated))
            separated = word == "--" or (separated and known_program(parsed[-1].marked()) is None)
        if parsed[0].names():
            raise ValueError("must not have a placeholder in the program's name")
        for program, code in parsed_as_code([word.marked() for word in parsed]):
            if PLACEHOLDER in code:
                raise ValueError(
                    f"must not have a placeholder in what {program} parses as code; give the value to a script as an "
                    "argument of its own"
                )
        return cls(tuple(words), tuple(parsed))

    def names(self) -> frozenset[str]:
        """The placeholders."""
        return frozenset[str]().union(*(word.names() for word in self.parsed))

    def problem_with(self, args: Mapping[str, object]) -> str | None:
        """Why these arguments cannot be filled in, or None. `args` must hold a value for each placeholder."""
        for name in sorted(self.names()):
            if not isinstance(value := args[name], str | int | float):
                return f"args.{name} must be text, a number, true or false"
            if isinstance(value, str) and "\0" in value:
                return f"args.{name} must not hold NUL"
        texts = _texts(args)
        return next((problem for word in self.parsed if (problem := word.problem_with(texts))), None)

    def fill(self, args: Mapping[str, object]) -> list[str]:
        """The argument vector for arguments without a problem."""
        texts = _texts(args)
        return [word.fill(texts) for word in self.parsed]


def word_of(text: str) -> Word:
    """A text with placeholders that stands outside argv. Raises ValueError, with the problem, for other braces."""
    return Word(_parts(text), guarded=False)


def _parts(word: str) -> tuple[_Part, ...]:
    if "\0" in word:
        raise ValueError("must not hold NUL")
    parts: list[_Part] = []
    try:
        for literal, name, spec, conversion in Formatter().parse(word):
            if name is not None and (spec or conversion or _NAME.fullmatch(name) is None):
                raise ValueError
            parts.append((literal, name))
    except ValueError:
        raise ValueError(f"has braces without a placeholder in {word!r:.80}; write a brace twice") from None
    return tuple(parts)


def _texts(args: Mapping[str, object]) -> dict[str, str]:
    return {name: value if isinstance(value, str) else canonical_json(value) for name, value in args.items()}
