"""Finds the words of an argument vector that a well-known program would parse as code.

Example: in `bash -c "echo {name}"` the value of `name` could be any program, so such a template is refused.

    -c of shells, fish, python, pdb and su, also --command    -e and -E of perl, -e of ruby, -r of php
    -e and -p of node, also --eval and --print                -M, -m, -F and -d: of perl, -B, -R and -E of php
    -r of node, --import and its other modules (data:...)     the words behind python -m timeit
    -S of env, also --split-string; -c of flock               what ssh runs on the host, and its -o ...Command=

A program is looked for at each place of a command: at the beginning, after a wrapper (`sudo -u app bash -c ...`) with
its options and operands, and after `--` and `-exec`. After an unknown program or script, a name counts as a program if
an option follows it and it is not itself the value of an option; `ssh` never counts there. A name may have a version
and a suffix.

Options are read as the program reads them, up to its first operand: alone (`-c`), together (`-ec`), or with their value
(`-cVALUE`, `--command=VALUE`). A long option that is not listed here is read as one without a value.
"""

import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import PurePath

PLACEHOLDER = "\0"
"""Takes the place of each `{placeholder}` in the examined words. A real word cannot hold it."""

_Words = deque[str]
_Reading = Generator[tuple[str, str], None, _Words]
"""Yields each program and the code that was found; returns the words of the command that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Program:
    """A program's options that take a value: letters, and the names of long ones between blanks."""

    code: str = ""
    """The options whose value is code, letters and long names, between blanks."""

    values: str = ""
    long: str = ""

    fused: str = ""
    """The letters whose value is the rest of their word, never the next word."""

    last: str = ""
    """The letters with a value after which the program reads no further option."""

    operands: int | None = None
    """For a wrapper: how many operands stand before the command that it runs."""

    def is_code(self, option: str) -> bool:
        return option in self.code.split() or (option == PLACEHOLDER and self.code != "")

    def long_name(self, name: str) -> str:
        """The option with a value that this name means: by its whole name, or abbreviated if the value is code."""
        known = (option for option in self.code.split() if len(option) > 1 and option.startswith(name))
        return name if name in self.long.split() else next(known, "")

    def letter(self, letters: str) -> tuple[str, str]:
        """The first letter that takes a value, or that a placeholder hides; and the text after it."""
        code = {option for option in self.code.split() if len(option) == 1}
        for at, letter in enumerate(letters, start=1):
            following = letters[at:]
            if letter in code and following and set(following) <= code:
                continue  # -pe
            if letter in code.union(PLACEHOLDER, self.values, self.fused):
                return letter, following
        return "", ""


_NODE = _Program(
    code="e p r eval print require import loader experimental-loader test-reporter",
    values="C",
    long="conditions cpu-prof-dir cpu-prof-interval cpu-prof-name debug-port diagnostic-dir disable-proto"
    " disable-warning dns-result-order env-file env-file-if-exists experimental-default-type heap-prof-dir"
    " heap-prof-name icu-data-dir input-type inspect-port max-http-header-size openssl-config"
    " redirect-warnings report-dir report-directory report-filename report-signal secure-heap"
    " snapshot-blob stack-trace-limit test-concurrency test-name-pattern test-reporter-destination"
    " test-shard test-timeout title tls-cipher-list tls-keylog trace-event-categories unhandled-rejections"
    " v8-pool-size watch-path",
)
_PYTHON = _Program(code="c", values="QWXm", long="check-hash-based-pycs", last="cm")
_SU = _Program(
    code="c command session-command", values="Ggsuw", long="group shell supp-group user whitelist-environment"
)
_ENV = _Program(code="S split-string", values="Cau", long="argv0 chdir unset", operands=0)
_TIMEIT = _Program(code="s setup", values="nru", long="number repeat unit")
_SSH = _Program(code="o", values="BDEFIJLOPQRSWbceilmpw", operands=1)
_PROGRAMS = {
    "busybox": _Program(code="c", operands=0),
    "chroot": _Program(long="groups userspec", operands=1),
    "doas": _Program(values="Cau", operands=0),
    "env": _ENV,
    "fish": _Program(code="c C command init-command", values="Ddfop", long="debug features profile"),
    "flock": _Program(code="c command", values="Ew", long="conflict-exit-code timeout wait", operands=1),
    "ionice": _Program(values="Ppcnu", long="class classdata", operands=0),
    "nice": _Program(values="n", long="adjustment", operands=0),
    "node": _NODE,
    "nodejs": _NODE,
    "nohup": _Program(operands=0),
    "nsenter": _Program(values="GSt", long="setgid setuid target", operands=0),
    "pdb": _Program(code="c command"),
    "perl": _Program(code="e E M m F : =", values="I", fused="DFVix:="),
    "php": _Program(
        code="B E R r process-begin process-code process-end run",
        values="FSTcdftz",
        long="define docroot file php-ini process-file server",
    ),
    "pypy": _PYTHON,
    "python": _PYTHON,
    "ruby": _Program(
        code="e",
        values="CEIXr",
        long="disable enable encoding external-encoding internal-encoding",
        fused="FKTWix",
    ),
    "runuser": _SU,
    "setsid": _Program(operands=0),
    "ssh": _SSH,
    "sshpass": _Program(values="Pdfp", operands=0),
    "stdbuf": _Program(values="eio", long="error input output", operands=0),
    "strace": _Program(values="EIOPSUXabeopsu", long="output trace user", operands=0),
    "su": _SU,
    "sudo": _Program(
        values="CDRTUghprtu", long="chdir chroot close-from group host prompt role type user", operands=0
    ),
    "taskset": _Program(operands=1),
    "time": _Program(values="fo", long="format output", operands=0),
    "timeout": _Program(values="ks", long="kill-after signal", operands=1),
    "timeit": _TIMEIT,
    "toybox": _Program(operands=0),
    "unshare": _Program(values="GRSw", long="root setgid setuid wd", operands=0),
    "xargs": _Program(
        values="EILPadns",
        long="arg-file delimiter max-args max-chars max-procs process-slot-var",
        fused="eil",
        operands=0,
    ),
}
_SHELLS = frozenset({"ash", "bash", "csh", "dash", "ksh", "lksh", "mksh", "rbash", "sh", "tcsh", "zsh"})
_SHELLS_LONG = frozenset({"--emulate", "--init-file", "--rcfile"})
_NAME = re.compile(r"([a-z]+)(?:-?[0-9][0-9.]*[a-z]?(?:-.*)?|-(?:dbg|static))?", re.ASCII | re.DOTALL)
_COMMAND_FOLLOWS = frozenset({"--", "-exec", "-execdir", "-ok", "-okdir"})
_FLAGS = frozenset({"--rm", "-dm", "-i", "-it", "-t", "-ti"})
"""Options without a value, of the programs that run others: docker, kubectl, screen."""
_SPLIT_AT_BLANKS = re.compile(r"[\w./:=@%+, \t-]*", re.ASCII)


def known_program(word: str) -> str | None:
    """The name of a known program, without folder, version and suffix; None for any other word."""
    found = _NAME.fullmatch(PurePath(word.replace(PLACEHOLDER, "")).name.lower())
    name = found[1] if found else ""
    return name if name in _SHELLS or name in _PROGRAMS else None


def parsed_as_code(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each known program in these words, with a text that it would parse as code."""
    rest: _Words = deque(words)
    while rest:
        name = known_program(rest[0])
        if name is None:
            rest = _behind_an_unknown(rest)
            continue
        rest.popleft()
        if name in _SHELLS:
            yield from ((name, text) for text in _of_shell(rest))
            rest = _behind_an_unknown(rest)
        elif _PROGRAMS[name] is _SU:
            rest = yield from _of_su(name, rest)
        else:
            rest = yield from _of_program(name, _PROGRAMS[name], rest)


def _behind_an_unknown(words: _Words) -> _Words:
    """The words from the next command on, as far as one can be recognised after an unknown program or script."""
    rest = list(words)
    for n in range(1, len(rest)):
        before, word, after = rest[n - 1], rest[n], "".join(rest[n + 1 : n + 2])
        if before in _COMMAND_FOLLOWS:
            return deque(rest[n:])
        if known_program(word) in {None, "ssh"} or not _is_option(after):
            continue
        is_value = _is_option(before) and "=" not in before and before not in _FLAGS
        others = after == "-p" and "exec" not in rest[:n]  # `kubectl logs node -p`
        if not is_value and not others:
            return deque(rest[n:])
    return deque()


def _of_program(name: str, program: _Program, rest: _Words) -> _Reading:
    for n in range((program.operands or 0) + 1):
        for option, value in _options(program, rest):
            if program is _SSH and option == "o" and not _is_command(value):
                continue
            if program.is_code(option):
                yield name, value
            if program is _ENV and option != PLACEHOLDER and program.is_code(option):
                return (yield from _split_by_env(value, rest))
            if program is _PYTHON and option == "m":
                return deque([value, *rest])
        if n < (program.operands or 0) and rest:
            rest.popleft()
    if program in (_SSH, _TIMEIT):
        yield from ((name, word) for word in rest)
        return deque()
    if program.operands is None:
        return _behind_an_unknown(rest)
    return deque(dropwhile(lambda word: word == "-" or "=" in word, rest))


def _split_by_env(text: str, rest: _Words) -> _Reading:
    """The command in the value of `env -S`. With quotes, escapes, variables or comments it may be any command."""
    if _SPLIT_AT_BLANKS.fullmatch(text):
        return deque(["env", *text.split(), *rest])
    yield from (("env", word) for word in rest)
    return deque()


def _of_su(name: str, rest: _Words) -> _Reading:
    """The words after the user go to the shell, after its -c. Options may follow operands. Only runuser has -u."""
    words = list(rest)
    own = deque(takewhile(lambda word: word != "--", words))
    behind = words[len(own) + 1 :]
    operands: list[str] = []
    command: list[str] = []
    shell = "sh"
    without_shell = False
    while own:
        for option, value in _options(_SU, own):
            if option == PLACEHOLDER:
                yield name, value
            elif _SU.is_code(option):
                command = ["-c", value]
            elif option in {"s", "shell"} and known_program(value):
                shell = value
            elif option in {"u", "user"}:
                without_shell = True
        if own:
            operands.append(own.popleft())
    operands += behind
    if without_shell:
        return deque([*operands, *command])
    return deque([shell, *command, *operands[2 if operands[:1] == ["-"] else 1 :]])


def _of_shell(rest: _Words) -> Iterator[str]:
    """The first operand, which is code if an option holds a c. Removes the words that it reads, as `_options` does."""
    awaited = False
    values = 0
    while rest and (values or awaited or _is_option(rest[0], "-+") or rest[0] == "-"):
        word = rest.popleft()
        if word in {"-", "--"}:
            if awaited and rest:
                yield rest.popleft()
            return
        if word in _SHELLS_LONG and rest:
            rest.popleft()
        elif f"-{word}" in _SHELLS_LONG:  # bash reads a long name or letters, depending on the words before
            yield from rest
        elif _is_option(word, "-+"):
            if word.startswith("--"):
                continue
            if PLACEHOLDER in word:
                yield word
            awaited = awaited or "c" in word
            values = word.lower().count("o")
        else:
            if awaited:
                yield word
            if not values:
                return
            values -= 1


def _options(program: _Program, rest: _Words) -> Iterator[tuple[str, str]]:
    """The options with a value, by letter or name. A word that may be any option comes under the name PLACEHOLDER."""
    while rest and _is_option(rest[0]):
        word = rest.popleft()
        if word == "--":
            return
        if word.startswith("--"):
            name, fused, value = word[2:].partition("=")
            option = PLACEHOLDER if PLACEHOLDER in name else program.long_name(name.replace("_", "-"))
        else:
            option, value = program.letter(word[1:])
            fused = value or option in set(program.fused)
        if option == PLACEHOLDER:
            yield PLACEHOLDER, word
        elif option:
            if not fused and rest and not (program is _NODE and _is_option(rest[0])):
                value = rest.popleft()
            yield option, value
            if option in set(program.last):
                return


def _is_command(setting: str) -> bool:
    """Whether the setting of an `-o` is a command that ssh gives to a shell, or may be any setting."""
    name = re.split(r"[=\s]", setting.replace('"', "").lstrip(), maxsplit=1)[0]
    return PLACEHOLDER in name or name.lower().endswith("command")


def _is_option(word: str, signs: str = "-") -> bool:
    return len(word) > 1 and word[0] in signs
