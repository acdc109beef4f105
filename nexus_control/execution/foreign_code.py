"""Which words of an argument vector a program that we know parses as code: a value in them would be a program.

    -c of shells, python, busybox and su, also --command     -e and -E of perl, -e of ruby, -r of php
    -e and -p of node, also --eval and --print               -M and -m of perl, -B, -R and -E of php
    -S of env, also --split-string                           what ssh runs on the host, and its -o ...Command=

A program is found by its name wherever it stands (`sudo -u app bash -c ...`), with a version or without. Its options
are read as it reads them, up to its first operand; where that may be the value of an option, reading goes on. Options
stand alone (`-c`), together (`-ec`), or with their value (`-cVALUE`, `--command=VALUE`).
"""

import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

PLACEHOLDER = "\0"
"""Stands for a placeholder in the words that are looked at; no word can hold it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """A program's options by what they take; letters, and the names of the long ones whose value is code."""

    code: str
    long: tuple[str, ...] = ()
    values: str = ""

    fused: str = ""
    """Those that take the rest of their word, and no other word."""

    last: str = ""
    """Those after whose value the program reads no further option."""

    permuted: bool = False
    """Whether options may stand behind operands, and behind `--`."""


_NODE = _Options(code="ep", long=("eval", "print"), values="rC")
_OPTIONS = {
    "busybox": _Options(code="c"),
    "env": _Options(code="S", long=("split-string",), values="aCu"),
    "fish": _Options(code="cC", long=("command", "init-command"), values="Ddfop"),
    "node": _NODE,
    "nodejs": _NODE,
    "perl": _Options(code="eEmM", values="I", fused="DFVix:"),
    "php": _Options(
        code="BERr", long=("process-begin", "process-code", "process-end", "run"), values="FSTcdftz"
    ),
    "python": _Options(code="c", values="QWX", last="cm"),
    "ruby": _Options(code="e", values="CEIXr", fused="FKTWix"),
    "su": _Options(code="c", long=("command", "session-command"), values="Ggsw", permuted=True),
}
_SHELLS = frozenset({"ash", "bash", "csh", "dash", "ksh", "lksh", "mksh", "rbash", "sh", "tcsh", "zsh"})
_SSH_VALUES = "BDEFIJLOPQRSWbceilmopw"
_NAME = re.compile(r"([a-z]+)(?:-?[0-9][0-9.]*[a-z]?)?", re.ASCII)


def known_program(word: str) -> str | None:
    """The name, without folder and version, of a program that is looked at."""
    found = _NAME.fullmatch(PurePath(word.replace(PLACEHOLDER, "")).name.lower())
    name = found[1] if found else ""
    return name if name == "ssh" or name in _SHELLS or name in _OPTIONS else None


def parsed_as_code(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The programs that are found, each with a text that it would parse as code."""
    for n, word in enumerate(words):
        if (name := known_program(word)) is None:
            continue
        rest = deque(words[n + 1 :])
        if name == "ssh":
            texts = _of_ssh(rest)
        elif name in _SHELLS:
            texts = _of_shell(rest)
        else:
            texts = _of_options(_OPTIONS[name], rest)
        for text in texts:
            yield name, text
            if name == "env":  # it splits the text, and what follows is added
                yield from parsed_as_code([*text.split(), *rest])


def _of_shell(rest: deque[str]) -> Iterator[str]:
    """The first operand is code where an option has a c. Takes the words that were read, as the others do."""
    awaited = perhaps_a_value = False
    while rest:
        word = rest.popleft()
        if word == "--":
            if awaited:
                yield _next(rest)
            return
        if word.startswith("--"):
            perhaps_a_value = True
        elif _is_option(word, "-+"):
            if PLACEHOLDER in word:
                yield word
            awaited = awaited or "c" in word
            perhaps_a_value = "o" in word.lower()
        else:
            if awaited:
                yield word
            if not perhaps_a_value:
                return
            perhaps_a_value = False


def _of_options(options: _Options, rest: deque[str]) -> Iterator[str]:
    perhaps_a_value = False
    while rest:
        word = rest.popleft()
        if word == "--":
            if not options.permuted:
                return
        elif word.startswith("--"):
            name, fused, value = word[2:].partition("=")
            perhaps_a_value = not fused
            if PLACEHOLDER in name:
                yield word
            elif any(long.startswith(name) for long in options.long):
                yield value if fused else _next(rest)
        elif _is_option(word):
            letter, value = _taking(options, word[1:])
            perhaps_a_value = letter in set(options.values) and not value
            if letter == PLACEHOLDER:
                yield word
            elif letter in set(options.code):
                yield value or _next(rest)
            if letter in set(options.last):
                return
        elif not (perhaps_a_value or options.permuted):
            return
        else:
            perhaps_a_value = False


def _taking(options: _Options, letters: str) -> tuple[str, str]:
    """The first of the letters that takes what follows it, or could be any letter; and what follows it."""
    for at, letter in enumerate(letters, start=1):
        following = letters[at:]
        if letter in options.code and following and set(following) <= set(options.code):
            continue  # -pe
        if letter in PLACEHOLDER + options.code + options.values + options.fused + options.last:
            return letter, following
    return "", ""


def _of_ssh(rest: deque[str]) -> Iterator[str]:
    host = False
    while rest:
        word = rest.popleft()
        if word == "--" and not host:
            continue
        if host and (word == "--" or not _is_option(word)):
            yield from (word, *rest)
            return
        if not _is_option(word):
            host = True
            continue
        for at, letter in enumerate(word[1:], start=2):
            if letter == PLACEHOLDER:
                yield word
            if letter in _SSH_VALUES:
                value = word[at:] or _next(rest)
                if letter == "o" and _is_command(value):
                    yield value
                break


def _is_command(setting: str) -> bool:
    """Whether the setting of an -o is one that ssh gives to a shell, or may be any."""
    name = re.split(r"[=\s]", setting.lstrip(), maxsplit=1)[0]
    return PLACEHOLDER in name or name.lower().endswith("command")


def _is_option(word: str, signs: str = "-") -> bool:
    return len(word) > 1 and word[0] in signs


def _next(rest: deque[str]) -> str:
    return rest.popleft() if rest else ""
