"""The arguments that a tool declares with their types, and how a program gets those that are secrets.

    args = { service = "str", count = "int", ratio = "float", flag = "bool", token = "secret" }
    env = { API_TOKEN = "{token}" }            # a variable of the program
    stdin = "{token}"                          # its standard input
    files = { TOKEN_FILE = "{token}" }         # a file, 0600 in a folder 0700; the variable has its path

Without `args` the placeholders of argv are the arguments, and take text, numbers, true and false. With it, each
argument except the secrets stands in argv, and takes its type. A secret stands in `env`, `stdin` or `files`, and
nowhere else: other users can see a program's arguments. Only secrets stand there, because a reviewer reads in argv what
else the program gets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from nexus_control.execution.argv_template import Word, word_of
from nexus_control.execution.masking import placeholder
from nexus_control.execution.secrets import secret_named, speaks_of_secrets

SECRET = "secret"
_TYPES: dict[str, tuple[type[object], ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
}
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
TYPE_NAMES = (*_TYPES, SECRET)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passing:
    """How a program gets its secrets. The templates are as they are declared: text with placeholders."""

    env: Mapping[str, str] = field(default_factory=dict[str, str])
    stdin: str | None = None
    files: Mapping[str, str] = field(default_factory=dict[str, str])

    def declaration(self) -> dict[str, object]:
        """The parts that are there."""
        said = {"env": dict(self.env), "stdin": self.stdin, "files": dict(self.files)}
        return {name: value for name, value in said.items() if value}

    def words(self) -> Iterator[tuple[str, Word]]:
        """Each template with its key. Raises ValueError for one that is not a template."""
        for key, text in self._texts():
            try:
                yield key, word_of(text)
            except ValueError as error:
                raise ValueError(f"{key} {error}") from None

    def names(self) -> frozenset[str]:
        """The placeholders."""
        return frozenset[str]().union(*(word.names() for _, word in self.words()))

    def described(self, args: Mapping[str, object]) -> tuple[str, ...]:
        """Where each secret goes, by name, for a reviewer."""
        values = {name: value for name, value in args.items() if isinstance(value, str)}
        shown = [(name, "", text) for name, text in self.env.items()]
        shown += [(name, " (a file)", text) for name, text in self.files.items()]
        shown += [] if self.stdin is None else [("standard input", "", self.stdin)]
        return tuple(f"{name}{kind} = {word_of(text).fill(values)}" for name, kind, text in shown)

    def filled(self, values: Mapping[str, str]) -> "Passed":
        """With the values of the secrets, by argument."""
        return Passed(
            env={name: word_of(text).fill(values) for name, text in self.env.items()},
            stdin=None if self.stdin is None else word_of(self.stdin).fill(values).encode(),
            files={name: word_of(text).fill(values).encode() for name, text in self.files.items()},
        )

    def _texts(self) -> Iterator[tuple[str, str]]:
        yield from ((f"env.{name}", text) for name, text in self.env.items())
        if self.stdin is not None:
            yield "stdin", self.stdin
        yield from ((f"files.{name}", text) for name, text in self.files.items())


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Passed:
    """What one program gets. It holds values: it is never shown."""

    env: Mapping[str, str]
    stdin: bytes | None
    files: Mapping[str, bytes]

    def written(self, folder: Path) -> dict[str, str]:
        """The variables with the paths of the files, which are written to this folder of ours."""
        paths: dict[str, str] = {}
        for name, content in self.files.items():
            path = folder / name
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(content)
            paths[name] = str(path)
        return paths


NOTHING = Passed(env={}, stdin=None, files={})


def passing_problem(args: Mapping[str, str] | None, in_argv: frozenset[str], passing: Passing) -> str | None:
    """Why a tool cannot declare these arguments for its placeholders, beginning with the key; None if it can. Raises
    ValueError for a text that is not a template.
    """
    if both := sorted(passing.env.keys() & passing.files.keys()):
        return f"files.{both[0]} is a variable of env, too"
    if args is None:
        key = next((key for key, _ in passing.words()), None)
        return None if key is None else f"{key} needs args, which declares the secret"
    secrets = {name for name, kind in args.items() if kind == SECRET}
    passed = passing.names()
    if held := sorted(in_argv & secrets):
        return f"argv must not hold the secret {{{held[0]}}}: other users can see it; pass it on in env, stdin or files"
    if open_ := sorted(passed - secrets):
        return f"{_key_of(open_[0], passing)} holds {{{open_[0]}}}, which args does not declare as a secret"
    if lost := sorted(secrets - passed):
        return f"args.{lost[0]} is a secret that env, stdin and files do not pass on"
    if undeclared := sorted(in_argv - args.keys()):
        return f"args does not declare {{{undeclared[0]}}}, which argv holds"
    if unused := sorted(args.keys() - in_argv - secrets):
        return f"args.{unused[0]} is not used: argv has no {{{unused[0]}}}"
    return None


def type_problem(types: Mapping[str, str], args: Mapping[str, object]) -> str | None:
    """Why an argument is not of its declared type, or None. Secrets are left to `secret_problem`."""
    for name, kind in types.items():
        value = args[name]
        if kind == SECRET:
            continue
        if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "bool"):
            return f"args.{name} must be {_WORDS[kind]}"
    return None


def secrets_in(types: Mapping[str, str], args: Mapping[str, object]) -> dict[str, str]:
    """The names of the secrets that a call names, by argument."""
    named = {name: secret_named(args.get(name)) for name, kind in types.items() if kind == SECRET}
    return {argument: name for argument, name in named.items() if name is not None}


def environment_problem(env: Mapping[str, str], declared: Mapping[str, object]) -> str | None:
    """Why an adapter's variables cannot name these secrets, beginning with the variable; None if they can."""
    for variable, text in env.items():
        name = secret_named(text)
        if name is None and speaks_of_secrets(text):
            return f"{variable} must be {placeholder('NAME')} and nothing else, or hold no secret"
        if name is not None and name not in declared:
            known = ", ".join(sorted(declared)) or "none"
            return f"{variable} names the secret {name}, which is not declared; declared are: {known:.300}"
    return None


def _key_of(name: str, passing: Passing) -> str:
    return next(key for key, word in passing.words() if name in word.names())
