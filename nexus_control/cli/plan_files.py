"""Plans in files: YAML that means the same to everybody, JSON, and plain text.

    - step_id: restart                      [{"step_id": "restart", "intent": "load the new keys",
      intent: load the new keys               "call": {"tool": "services", "method": "restart",
      call:                                            "args": {"service": "billing", "wait": 30}}}]
        tool: services
        method: restart
        args: {service: billing, wait: 30}

A file is YAML if its name ends in .yaml or .yml, and JSON if it ends in .json. Any other file, and standard input, is
read as YAML or JSON if its first line of content begins with `[` or `{`, or with `- step_id:`, `- intent:` or `- call:`
(JSON is YAML); otherwise the plan is the text itself. A plan of JSON is kept as it was written, a plan of YAML as the
canonical JSON of its value.

YAML here has the values of JSON and no more. What one reader of YAML takes for a date, a yes, an octal number or a link
to another part, and the next one for a text, is refused with its line and with what to write instead. So are characters
that only some of them take for the end of a line, which would make a step of a comment. The reader makes no objects: it
reads events, in which there are neither types nor references.
"""

import re
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import yaml

from nexus_control.canonical_json import MAX_DEPTH, canonical_json, parse_json, require_domain
from nexus_control.cli.files import read_text
from nexus_control.errors import NexusControlError, invalid_argument
from nexus_control.execution.plan import MAX_PLAN_BYTES

_OPTION: Final = "--plan-file"
_YAML, _JSON = {".yaml", ".yml"}, {".json"}
_STEPS = re.compile(r"(?:[ \t]*(?:#.*|---[ \t]*)?\n)*[ \t]*(?:[\[{]|-[ \t]+(?:step_id|intent|call)[ \t]*:)")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORDS: Final[dict[str, object]] = {"true": True, "false": False, "null": None}
_DISPUTED = re.compile(
    r"""(?ix)
    (?P<word> ~ | null | true | false | y(?:es)? | no? | on | off )     # in other spellings, or in YAML 1.1
    | (?P<number> [-+]?(?:
          0[xob]?[\da-f_]+ | [\d_,]+                                    # 010, 0x1f, 1_000, 1,000, +1
        | (?:[\d_,]+\.[\d_]* | \.[\d_]+ | [\d_,]+)(?:e[-+]?\d+)?       # 1., .5, 1_0.0
        | \.inf | \.nan
        | [\d_]+(?::[\d_]+)+(?:\.[\d_]*)? ))                            # 1:30, which is 90
    | \d{4}-\d{1,2}-\d{1,2}(?:[Tt\s].*)?                              # dates
    | << | =
    """
)
_INSTEAD: Final[dict[str | None, str]] = {
    "word": ", or true, false or null",
    "number": ", or the number as JSON spells it",
    None: "",
}

_DISPUTED_CHARACTER = re.compile("[\x85\u2028\u2029]|(?<!^)\ufeff|\r(?!\n)")
_DIRECTIVE = re.compile(r"\ufeff?(?:[ \t]*(?:#.*)?\r?\n)*%")
_SURROGATE = re.compile("[\ud800-\udfff]")
_FAULTS_OF_THE_PARSER: Final = (
    ValueError, ArithmeticError, LookupError, AttributeError, TypeError, RecursionError
)  # fmt: skip
"""What PyYAML lets through of its own: chr(0x110000), int() of 6,000 digits, and what else its scanner trips over."""

_Loader = cast("Callable[[str], Any]", yaml.SafeLoader)


def read_plan(file: Path) -> str:
    """The plan in a file, or in standard input (-). Raises INVALID_ARGUMENT, with the file and the line."""
    text, suffix = read_text(_OPTION, file), file.suffix.lower()
    if suffix in _YAML:
        return _Yaml(file, text).plan()
    is_steps = suffix in _JSON or _STEPS.match(text) is not None
    if not is_steps:
        return text
    try:
        parse_json(text)
    except NexusControlError as fault:
        if suffix in _JSON or text.lstrip().startswith(("[{", '{"')):
            raise invalid_argument(
                _OPTION, f"names {_named(file)}, which is not JSON: {fault.message}"
            ) from None
        return _Yaml(file, text).plan()
    return text


class _Yaml:
    """One document of YAML, read event by event."""

    def __init__(self, file: Path, text: str) -> None:
        self._file, self._text = file, text

    def plan(self) -> str:
        """Its value as canonical JSON."""
        if len(self._text.encode()) > MAX_PLAN_BYTES:
            raise invalid_argument(
                _OPTION, f"names {_named(self._file)}, which is larger than {MAX_PLAN_BYTES} bytes"
            )
        self._refuse_what_ends_lines_for_some()
        if found := _DIRECTIVE.match(self._text):
            self._refuse(self._line_at(found.end()), "has a directive (%): leave it out")
        return canonical_json(self._document(self._events()))

    def _refuse_what_ends_lines_for_some(self) -> None:
        found = _DISPUTED_CHARACTER.search(self._text)
        if found is None:
            return
        line, code = self._line_at(found.start()), ord(found[0])
        if found[0] == "\r":
            self._refuse(line, "has a carriage return inside: end each line with LF or CRLF")
        problem = f"holds U+{code:04X}, which readers of YAML do not agree on"
        self._refuse(line, f'{problem}: leave it out, or write "\\u{code:04x}" in double quotes')

    def _parsed(self) -> Iterator[Any]:
        """PyYAML's events. Whatever it raises becomes a refusal with the line."""
        parser: Any = None
        try:
            parser = _Loader(self._text)
            while parser.check_event():
                yield parser.get_event()
        except yaml.MarkedYAMLError as error:
            said = ", ".join(filter(None, (error.context, error.problem)))
            mark = error.problem_mark or error.context_mark
            self._refuse(mark.line if mark else 0, f"is not YAML: {said}")
        except yaml.reader.ReaderError as error:
            problem = "holds a character that YAML does not allow: write it as an escape in double quotes"
            self._refuse(self._line_at(error.position), problem)
        except _FAULTS_OF_THE_PARSER as error:
            self._refuse(parser.line if parser else 0, f"is not YAML: {error!s:.200}")

    def _events(self) -> Iterator[Any]:
        """The events that are left when everything is refused that JSON does not have."""
        for event in self._parsed():
            line = _line_of(event)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
                self._refuse(line, "has an anchor (&) or an alias (*): write the value out in each place")
            if getattr(event, "tag", None) is not None:
                self._refuse(
                    line, f"has the tag {event.tag}: leave it out, and quote the value if it is a text"
                )
            yield event

    def _document(self, events: Iterator[Any]) -> object:
        next(events)  # the stream begins
        if not isinstance(next(events), yaml.DocumentStartEvent):
            self._refuse(0, "is empty: write a list of steps")
        value = self._value(next(events), events, 1)
        next(events)  # the document ends
        following = next(events)
        if isinstance(following, yaml.DocumentStartEvent):
            self._refuse(_line_of(following), "begins a second document (---): a plan is one")
        return value

    def _value(self, event: Any, events: Iterator[Any], depth: int) -> object:
        if depth > MAX_DEPTH:
            self._refuse(_line_of(event), f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return [self._value(each, events, depth + 1) for each in _until(yaml.SequenceEndEvent, events)]
        found = dict[str, object]()
        for key in _until(yaml.MappingEndEvent, events):
            name = self._scalar(key) if isinstance(key, yaml.ScalarEvent) else None
            if not isinstance(name, str):
                self._refuse(_line_of(key), "has a key that is not a text: write it in quotes")
            if name in found:
                self._refuse(_line_of(key), f"has the key {name!a} for the second time: write it once")
            found[name] = self._value(next(events), events, depth + 1)
        return found

    def _scalar(self, event: Any) -> object:
        text, line = str(event.value), _line_of(event)
        if _SURROGATE.search(text):
            self._refuse(line, "has half a character (\\ud800 to \\udfff): write the character itself")
        if event.style is not None:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _NUMBER.fullmatch(text):
            return self._number(text, line)
        if not text:
            self._refuse(line, 'has no value here: write null, "" or {}')
        if found := _DISPUTED.fullmatch(text):
            problem = f'has {text}, which readers of YAML do not agree on: write "{text}"'
            self._refuse(line, problem + _INSTEAD[found.lastgroup])
        return text

    def _number(self, text: str, line: int) -> object:
        try:
            value = parse_json(text)
            require_domain(value, "it", fractions=True)
        except NexusControlError as fault:
            self._refuse(line, f"has the number {text}: {fault.message}")
        if (spelling := canonical_json(value)) != text:
            self._refuse(
                line, f'has {text}, which would be read as {spelling}: write that, or "{text}" for a text'
            )
        return value

    def _line_at(self, position: int) -> int:
        return self._text.count("\n", 0, position)

    def _refuse(self, line: int, problem: str) -> NoReturn:
        raise invalid_argument(_OPTION, f"names {_named(self._file)}, whose line {line + 1} {problem}")


def _until(end: type[Any], events: Iterator[Any]) -> Generator[Any]:
    for event in events:
        if isinstance(event, end):
            return
        yield event


def _line_of(event: Any) -> int:
    return event.start_mark.line


def _named(file: Path) -> str:
    return "standard input" if str(file) == "-" else str(file)
