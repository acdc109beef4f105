"""Argument vectors with placeholders.

A word of a template is text with placeholders `{name}`; `{{` and `}}` are braces. Each word becomes exactly one
argument, whatever the values hold: nothing is split, globbed or given to a shell. Values are text, integers, true and
false. A word that is one placeholder alone does not take a value that begins with `-`, which the program would read
as an option, unless the word `--` stands before it; fused (`--service={service}`) it takes any.

Refused when declared: a placeholder in the program's name, and one in the script of a shell's `-c`, where the shell
would split the value after all.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from string import Formatter

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_SHELLS = frozenset({"sh", "ash", "bash", "csh", "dash", "fish", "ksh", "tcsh", "zsh"})
_SHELL_COMMAND = re.compile(r"-[A-Za-z]*c[A-Za-z]*", re.ASCII)

_Part = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class _Word:
    parts: tuple[_Part, ...]
    """Literal text, and the placeholder after it."""

    guarded: bool
    """Whether a value that begins with `-` would be read as an option."""

    def names(self) -> frozenset[str]:
        return frozenset(name for _, name in self.parts if name is not None)

    def fill(self, values: Mapping[str, str]) -> str:
        return "".join(literal + ("" if name is None else values[name]) for literal, name in self.parts)


@dataclass(frozen=True, slots=True)
class ArgvTemplate:
    """A declared argument vector. Raises ValueError, with the problem, for one that is refused."""

    words: tuple[str, ...]
    parsed: tuple[_Word, ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> "ArgvTemplate":
        if not words or not words[0]:
            raise ValueError("must name a program")
        parsed: list[_Word] = []
        for n, word in enumerate(words):
            parts = _parts(word)
            alone = len(parts) == 1 and parts[0][0] == "" and parts[0][1] is not None
            parsed.append(_Word(parts, guarded=alone and "--" not in words[:n]))
        if parsed[0].names():
            raise ValueError("must not have a placeholder in the program's name")
        if _has_open_script(words, parsed):
            raise ValueError("must not have a placeholder in a shell's script, which would split its value")
        return cls(tuple(words), tuple(parsed))

    def names(self) -> frozenset[str]:
        """The placeholders."""
        return frozenset[str]().union(*(word.names() for word in self.parsed))

    def problem_with(self, args: Mapping[str, object]) -> str | None:
        """Why these arguments cannot be filled in, or None; each placeholder has one."""
        for name in sorted(self.names()):
            if problem := _value_problem(args[name]):
                return f"args.{name} {problem}"
        for word in self.parsed:
            if word.guarded and word.fill(_texts(args)).startswith("-"):
                return f"args.{min(word.names())} must not begin with '-', which would make it an option"
        return None

    def fill(self, args: Mapping[str, object]) -> list[str]:
        """The argument vector for arguments without a problem."""
        texts = _texts(args)
        return [word.fill(texts) for word in self.parsed]


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
        raise ValueError(f"has braces that are no placeholder in {word!r:.80}; a brace is doubled") from None
    return tuple(parts)


def _has_open_script(words: Sequence[str], parsed: Sequence[_Word]) -> bool:
    shell = next((n for n, word in enumerate(words) if PurePath(word).name in _SHELLS), len(words))
    scripts = (n + 1 for n, word in enumerate(words) if n > shell and _SHELL_COMMAND.fullmatch(word))
    return any(word.names() for n in scripts for word in parsed[n : n + 1])


def _value_problem(value: object) -> str | None:
    if not isinstance(value, str | int):
        return "must be text, an integer, true or false"
    if isinstance(value, str) and "\0" in value:
        return "must not hold NUL"
    return None


def _texts(args: Mapping[str, object]) -> dict[str, str]:
    return {name: _text(value) for name, value in args.items()}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
