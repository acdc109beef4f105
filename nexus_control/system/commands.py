"""Commands that are printed for people to run, and for hosts that start the server.

    /usr/bin/python3 -P -E -s -m nexus_control approve 0d1c0d39-... --db /srv/decisions.db

A printed command does the same from every folder, in every POSIX shell:

* It begins with the interpreter that runs now. `-P` keeps the working folder off the module path: a file `typer.py` in
  a cloned repository is not imported. `-E` ignores PYTHONPATH, whose empty or relative entries are the working folder
  again. It is left out only where this package itself lies on PYTHONPATH.
* `-s` ignores the user site, `~/.local/lib/python3.*/site-packages`: Python runs a `usercustomize.py` there before
  anything else, and HOME says where it is. It is left out only where this package itself is installed there.
* Files are named absolutely. An argument that begins with `-` stands at the end, after `--`.
* Each word is quoted for the shell. Characters that do not print are spelled by `printf`, so that people see them and
  can copy them. Line ends at the end of a word stand as they are: a shell drops them from the output of `printf`.
* A URL loses its password.
"""

import os
import re
import shlex
import site
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Final, TypeAlias
from urllib.parse import unquote

_PACKAGE_FOLDER = str(Path(__file__).absolute().parents[2])
_PARAMETER_NAME = re.compile(r"(?<=[?&;])[^=&;#]+(?==)")
_SECRET_PARAMETER = re.compile(r"(?<=[?&;])[^=&;#]*password[^=&;#]*=[^&]*&?", re.IGNORECASE)
_OF_A_SERVER = re.compile(r"postgres(?:ql)?:/|\bpassword\s*=", re.IGNORECASE)
_NOT_SHOWN = "(not shown: it may hold a password)"


class AsIs(str):
    """A word of the command that the shell expands."""

    __slots__ = ()


USUAL_KEY: Final = AsIs("~/.ssh/id_ed25519")
"""The private key that ssh-keygen makes by default for the person who runs the command."""

Value: TypeAlias = str | Path | tuple[str, ...] | None
Options: TypeAlias = Mapping[str, Value]
"""Options and their values. A path is made absolute; None leaves an option out; a tuple repeats it."""


def command(*verbs: str, argument: str | Path | None = None, options: Options | None = None) -> list[str]:
    """The words that run one command of nexus-control."""
    words = [*_launcher(), *verbs]
    given = [] if argument is None else [_word(argument)]
    is_like_an_option = bool(given) and given[0].startswith("-")
    if not is_like_an_option:
        words += given
    for option, value in (options or {}).items():
        for each in value if isinstance(value, tuple) else [] if value is None else [value]:
            word = _word(each)
            words += [option, without_password(word) if option == "--db" else word]
    return [*words, "--", *given] if is_like_an_option else words


def approving(
    request_id: str,
    database: str,
    *,
    config: Path | None = None,
    allowed_signers: Path | None = None,
    signed: bool,
) -> str:
    """The command that approves a request after a look at it, with a signature where the policy demands one. It
    names only the adapters of `config`: a project's file that was found must not become one whose settings are used. It
    names no log folder: approvers have none, only who executes and signs does.
    """
    options: dict[str, Value] = {"--db": database, "--adapters-from": config}
    if signed:
        options |= {"--allowed-signers": allowed_signers, "--sign": USUAL_KEY}
    return shell_line(command("approve", argument=request_id, options=options))


def absolute(path: Path) -> Path:
    """The absolute path. Where the working folder was deleted, the path as it is: it leads to nothing."""
    try:
        return path.absolute()
    except OSError:
        return path


def shell_line(words: list[str]) -> str:
    """The words as one line for a shell."""
    return " ".join(map(_quoted, words))


def names_a_server_oddly(place: str) -> bool:
    """Whether the text holds a URL or a connection string of a server, but does not begin as a URL does: with a blank
    or a quote before it, as another program's URL, or as `host=… password=…`.
    """
    return _OF_A_SERVER.search(place) is not None and re.match(r"postgres(?:ql)?://", place) is None


def without_password(place: str) -> str:
    """A URL without its password; any other text as it is, unless it `names_a_server_oddly`. Everything between the
    user and the last `@` is removed, because a password may hold any character.
    """
    if names_a_server_oddly(place):
        return _NOT_SHOWN
    scheme, is_url, rest = place.partition("://")
    if not is_url:
        return place
    before, at, after = rest.rpartition("@")
    user = re.split("[:/?#]", before, maxsplit=1)[0]
    plain = _PARAMETER_NAME.sub(lambda name: unquote(name[0]), f"{scheme}://{user}{at}{after}")
    return _SECRET_PARAMETER.sub("", plain)


def not_ignored() -> list[str]:
    """What a printed command does not ignore, because this package would not be found without it; a sentence each."""
    said = {
        "PYTHONPATH": "nexus-control is found through PYTHONPATH, so the printed command has no -E, and Python's own"
        " variables count: who sets PYTHONPATH for the host decides what runs",
        "user site": f"nexus-control is installed in the user site {_user_site()}, so the printed command has no -s:"
        " who may write there, or sets HOME for the host, decides what runs",
    }
    return [said[each] for each in _needed()]


def _launcher() -> list[str]:
    needed = _needed()
    flags = [flag for flag, what in (("-E", "PYTHONPATH"), ("-s", "user site")) if what not in needed]
    return [sys.executable, "-P", *flags, "-m", "nexus_control"]


def _needed() -> list[str]:
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    is_on_python_path = any(path and str(absolute(Path(path))) == _PACKAGE_FOLDER for path in named)
    if is_on_python_path:
        return ["PYTHONPATH", *(["user site"] if _is_in_user_site("pydantic") else [])]
    return ["user site"] if _is_in_user_site("nexus-control") or _is_in_user_site("pydantic") else []


def _user_site() -> str:
    return site.USER_SITE or ""


def _is_in_user_site(distribution: str) -> bool:
    """Whether it is installed there, also as a link to a folder elsewhere. In most virtual environments there is no
    user site.
    """
    if _user_site() not in sys.path:
        return False
    metadata = import_module("importlib.metadata")
    try:
        found = metadata.distribution(distribution).locate_file("")
    except metadata.PackageNotFoundError:
        return False
    return os.path.realpath(found) == os.path.realpath(_user_site())


def _word(value: str | Path) -> str:
    return str(absolute(value)) if isinstance(value, Path) else value


def _quoted(word: str) -> str:
    if isinstance(word, AsIs):
        return word
    if word.isprintable():
        return shlex.quote(word)
    kept = word.rstrip("\n")
    octets = "".join(
        chr(octet) if chr(octet).isascii() and chr(octet).isalnum() else f"\\{octet:03o}"
        for octet in os.fsencode(kept)
    )
    begun = shlex.quote(kept) if kept.isprintable() else f"\"$(printf '{octets}')\""
    return begun if kept == word else f"{begun}'{word.removeprefix(kept)}'"
