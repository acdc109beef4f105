"""Rule books from the text of a file, and calls to judge."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from nexus_control.configuration import FILE_NAME, named_source
from nexus_control.rules.book import Call, Mode, RuleBook
from nexus_control.rules.reading import book_of


def book(text: str) -> RuleBook:
    """The book of a file with this text."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / FILE_NAME
        file.write_text(text, encoding="utf-8")
        return book_of(named_source(file))


def rule(matchers: str, verdict: str = 'verdict = "allow"', default: str = "deny") -> RuleBook:
    """A book of one rule."""
    return book(f'default = "{default}"\n[[rules]]\n{matchers}\n{verdict}\n')


def call(
    tool: str = "Bash",
    arguments: Mapping[str, object] | None = None,
    *,
    method: str | None = None,
    mode: Mode = "apply",
    labels: tuple[str, ...] = (),
    requester: str = "system:agent@host",
) -> Call:
    return Call(
        tool=tool, method=method, arguments=arguments or {}, mode=mode, labels=labels, requester=requester
    )
