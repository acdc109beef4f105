"""What a rule book may not say, and what its digest is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from nexus_control.configuration import FILE_NAME, look, named_source
from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.rules import read_rules, reading
from nexus_control.rules.book import RuleBook
from nexus_control.rules.globs import MAX_GLOB
from nexus_control.rules.reading import book_of, rule_book
from tests.rules.books import book

ALLOW = 'verdict = "allow"'
BAD_BOOKS: list[tuple[str, str]] = [
    ('[[rules]]\ntool = "a"\nverdict = "allow"', "default is required beside rules"),
    ('default = "ask"', "default must be one of allow, deny"),
    ("default = true", "default must be one of allow, deny"),
    ("default = []", "default must be one of allow, deny"),
    ('default = "deny"\nrules = "none"', "rules must be a list of tables"),
    ('default = "deny"\n[rules]\ntool = "a"', "rules must be a list of tables"),
    ('default = "deny"\nrules = ["a"]', "rules[0] must be an object"),
    ('default = "deny"\n[[rule]]\ntool = "a"', "Unknown field: rule (did you mean 'rules'?)"),
]
BAD_RULES: list[tuple[str, str]] = [
    ('tool = "a"', "rules[0] must have exactly one of verdict and template"),
    (f'tool = "a"\n{ALLOW}\ntemplate = "t"', "rules[0] must have exactly one of verdict and template"),
    ('tool = "a"\nverdict = "template"', "rules[0].verdict must be one of allow, deny"),
    ('tool = "a"\nverdict = "ALLOW"', "rules[0].verdict must be one of allow, deny"),
    ('tool = "a"\ntemplate = ""', "rules[0].template must be the name of a template"),
    ('tool = "a"\ntemplate = 3', "rules[0].template must be text"),
    (ALLOW, "rules[0] has no matcher"),
    (f'tol = "a"\n{ALLOW}', "Unknown field: rules[0].tol (did you mean 'tool'?)"),
    (f'tool = ["a"]\n{ALLOW}', "rules[0].tool must be text"),
    (f'tool = ""\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'tool = "[ab"\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'tool = "a]["\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'tool = "[]"\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'tool = "[!]"\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'tool = "[z-a]"\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'tool = "{"a" * (MAX_GLOB + 1)}"\n{ALLOW}', "rules[0].tool must be a glob"),
    (f'method = "[!b-a]"\n{ALLOW}', "rules[0].method must be a glob"),
    (f'requester = "[x"\n{ALLOW}', "rules[0].requester must be a glob"),
    (f'mode = "rehearse"\n{ALLOW}', "rules[0].mode must be one of dry_run, apply"),
    (f'labels = "prod"\n{ALLOW}', "rules[0].labels must be a list"),
    (f"labels = []\n{ALLOW}", "rules[0].labels must be a list of at least one label"),
    (f'labels = [""]\n{ALLOW}', "rules[0].labels must be a list of at least one label"),
    (f"labels = [3]\n{ALLOW}", "rules[0].labels"),
    (f"arguments = {{}}\n{ALLOW}", "rules[0].arguments must be at least one pointer"),
    (f'arguments = "x"\n{ALLOW}', "rules[0].arguments must be an object"),
]
BAD_CONDITIONS: list[tuple[str, str]] = [
    ('"command" = { eq = "a" }', "command must be a JSON pointer"),
    ('"" = { eq = "a" }', " must be a JSON pointer"),
    ('"/a~2" = { eq = "a" }', "/a~2 must be a JSON pointer"),
    ('"/a~" = { eq = "a" }', "/a~ must be a JSON pointer"),
    ('"/a" = {}', "/a must be a table of at least one of eq, in, prefix, glob, lt, gt"),
    ('"/a" = "x"', "/a must be a table of at least one of"),
    ('"/a" = { is = "x" }', "/a.is is not an operator"),
    ('"/a" = { EQ = "x" }', "/a.EQ is not an operator"),
    ('"/a" = { eq = 1.0 }', "/a.eq must be text, true or false, or a whole number"),
    ('"/a" = { eq = 9007199254740992 }', "/a.eq must be"),
    ('"/a" = { eq = 2026-01-01 }', "/a.eq must be"),
    ('"/a" = { eq = [] }', "/a.eq must be"),
    ('"/a" = { in = [] }', "/a.in must be a list of at least one value"),
    ('"/a" = { in = "x" }', "/a.in must be a list"),
    ('"/a" = { in = [1, "x"] }', "/a.in must be a list"),
    ('"/a" = { in = [1, true] }', "/a.in must be a list"),
    ('"/a" = { in = [1.5] }', "/a.in must be a list"),
    ('"/a" = { in = [[1]] }', "/a.in must be a list"),
    ('"/a" = { prefix = "" }', "/a.prefix must be text"),
    ('"/a" = { prefix = 1 }', "/a.prefix must be text"),
    ('"/a" = { glob = "[" }', "/a.glob must be a glob"),
    ('"/a" = { glob = 1 }', "/a.glob must be a glob"),
    ('"/a" = { lt = "3" }', "/a.lt must be a number"),
    ('"/a" = { lt = true }', "/a.lt must be a number"),
    ('"/a" = { gt = nan }', "/a.gt must be a number"),
    ('"/a" = { gt = -inf }', "/a.gt must be a number"),
    ('"/a" = { gt = -9007199254740992 }', "/a.gt must be a number"),
]


def problems(text: str) -> list[str]:
    with pytest.raises(NexusControlError) as refused:
        book(text)
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert FILE_NAME in refused.value.message
    return list(cast("Sequence[str]", refused.value.details["problems"]))


@pytest.mark.parametrize(("text", "problem"), BAD_BOOKS)
def test_a_bad_book_is_refused(text: str, problem: str) -> None:
    assert problem in problems(text)[0]


@pytest.mark.parametrize(("rule", "problem"), BAD_RULES)
def test_a_bad_rule_is_refused_and_named(rule: str, problem: str) -> None:
    (said,) = [each for each in problems(f'default = "deny"\n[[rules]]\n{rule}') if each.startswith(problem)]
    assert said


@pytest.mark.parametrize(("condition", "problem"), BAD_CONDITIONS)
def test_a_bad_condition_is_refused_and_named(condition: str, problem: str) -> None:
    text = f'default = "deny"\n[[rules]]\n{ALLOW}\ntool = "a"\narguments = {{ {condition} }}'
    (said,) = problems(text)
    assert said.startswith(f"rules[0].arguments.{problem}")


def test_the_book_that_the_module_shows_can_be_read() -> None:
    shown = "\n".join(line[4:] for line in (reading.__doc__ or "").splitlines() if line.startswith("    "))
    assert [(each.verdict, each.template) for each in book(shown).rules] == [
        ("allow", None),
        ("template", "two-people"),
    ]


def test_all_problems_of_a_file_are_told_at_once() -> None:
    text = (
        '[[rules]]\ntool = "["\nlabels = []\narguments = { "a" = { is = 1 }, "/b" = { lt = "x" } }\n'
        '[[rules]]\ntool = "a"\nverdict = "allow"\n'
        '[[rules]]\nverdict = "no"\n'
    )
    begins = [
        "default is required",
        "rules[0].tool must be",
        "rules[0].labels must be",
        "rules[0] must have exactly one",
        "rules[0].arguments.a must be",
        "rules[0].arguments.a.is is not",
        "rules[0].arguments./b.lt must",
        "rules[2].verdict must",
        "rules[2] has no matcher",
    ]
    found = problems(text)
    assert len(found) == len(begins)
    assert all(said.startswith(begin) for said, begin in zip(found, begins, strict=True))


def test_the_digest_is_of_what_the_book_says_and_not_of_how_it_is_written() -> None:
    written = (
        'default = "deny"\n[[rules]]\ntool = "a"\narguments = { "/x" = { gt = 1, lt = 5 } }\nverdict = "deny"'
    )
    otherwise = (
        'rules = [{ verdict = "deny", arguments = { "/x" = { lt = 5, gt = 1 } }, tool = "a" }]  # the same\n'
        "default = 'deny'"
    )
    assert book(written).digest == book(otherwise).digest
    assert book(written).digest.startswith("sha256:")
    for one, other in (("deny", "allow"), ('"a"', '"b"'), ("5", "6"), ("gt", "eq"), ("/x", "/y")):
        assert book(written.replace(one, other)).digest != book(written).digest


@dataclass(frozen=True)
class Machine:
    """The places of files: what `--config` names, those of the user and the system, and a project's."""

    folder: Path

    def write(self, place: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / place / FILE_NAME
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def book(self, given: str | None = None) -> RuleBook | None:
        places = {name: self.folder / name / FILE_NAME for name in ("home", "etc")}
        named = None if given is None else self.folder / given / FILE_NAME
        return rule_book(look(named, user=places["home"], system=places["etc"]))

    def refusal(self, given: str | None = None) -> str:
        with pytest.raises(NexusControlError) as refused:
            self.book(given)
        assert refused.value.code is ErrorCode.CONFIG_INVALID
        return refused.value.message


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return Machine(tmp_path)


def test_the_rules_of_the_system_hold_else_those_of_the_user_and_never_a_projects(machine: Machine) -> None:
    machine.write("project", 'default = "allow"')
    assert machine.book() is None
    for place, default in (("home", "allow"), ("etc", "deny")):
        machine.write(place, f'default = "{default}"')
        held = machine.book()
        assert held is not None
        assert held.default == default


def test_a_file_that_an_option_names_gives_the_rules_where_nobody_else_does(machine: Machine) -> None:
    machine.write("named", 'default = "deny"')
    held = machine.book("named")
    assert held is not None
    assert held.default == "deny"


@pytest.mark.parametrize("place", ["home", "etc"])
def test_an_option_does_not_replace_the_rules_of_the_machine(machine: Machine, place: str) -> None:
    machine.write(place, 'default = "deny"')
    for named in ("project", "named"):
        machine.write(named, 'default = "allow"')
        assert f"sets rules otherwise than {machine.folder / place / FILE_NAME}" in machine.refusal(named)
        machine.write(named, "# the same\ndefault = 'deny'")
        assert machine.book(named) == machine.book()
        machine.write(named, 'database = "x.db"')
        assert machine.book(named) == machine.book()


@pytest.mark.parametrize("place", ["home", "etc"])
def test_a_file_that_others_may_write_is_not_passed_over(machine: Machine, place: str) -> None:
    path = machine.write(place, 'default = "deny"', mode=0o666)
    machine.write("named", 'default = "allow"')
    for given in (None, "named"):
        said = machine.refusal(given)
        assert (str(path) in said, "it may have rules" in said) == (True, True)


@pytest.mark.parametrize("text", ["[[rules", "rulse = []", '[[rules]]\ntool = "a"\nverdict = "allow"'])
def test_a_file_that_may_have_the_rules_and_cannot_be_used_is_an_error(tmp_path: Path, text: str) -> None:
    system, user = tmp_path / "system.toml", tmp_path / "user.toml"
    system.write_text(text)
    user.write_text('default = "allow"')
    with pytest.raises(NexusControlError) as refused:
        rule_book(look(project=False, user=user, system=system))
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert str(system) in refused.value.message


@pytest.mark.parametrize("below", [True, False])
def test_a_default_below_the_rules_is_told_where_it_belongs(tmp_path: Path, below: bool) -> None:
    file = tmp_path / "rules.toml"
    file.write_text('[[rules]]\ntool = "a"\nverdict = "allow"\n' + ('default = "deny"\n' if below else ""))
    with pytest.raises(NexusControlError) as refused:
        book_of(named_source(file))
    problems = str(refused.value.details["problems"])
    assert ("above the first [[rules]]" in problems) is below


def test_a_file_that_cannot_be_read_has_no_book(tmp_path: Path) -> None:
    with pytest.raises(NexusControlError) as refused:
        book_of(named_source(tmp_path / "nothing.toml"))
    assert refused.value.code is ErrorCode.CONFIG_INVALID


def test_a_program_reads_the_rules_of_a_file_that_it_names(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f'default = "deny"\n[[rules]]\ntool = "a"\n{ALLOW}')
    assert read_rules(path) == read_rules(str(path)) == book_of(named_source(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "cannot be read"),
        ("", "has no rule book"),
        ('database = "a.db"', "has no rule book"),
        ('default = "ask"', "default must be one of allow, deny"),
        ("default =", "is not TOML"),
    ],
)
def test_a_named_file_without_a_whole_rule_book_is_refused(
    text: str | None, problem: str, tmp_path: Path
) -> None:
    path = tmp_path / "rules.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NexusControlError) as refused:
        read_rules(path)
    assert refused.value.code is ErrorCode.CONFIG_INVALID
    assert f"{path}: {problem}" in refused.value.message
