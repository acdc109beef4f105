"""Which calls a rule matches, which rule holds, and what cannot be decided."""

from dataclasses import replace
from typing import Any

import pytest

from nexus_control.errors import ErrorCode, NexusControlError
from nexus_control.rules.book import Call, Look
from nexus_control.rules.globs import MAX_GLOB
from tests.rules.books import book, call, rule

COMMAND: dict[str, object] = {"command": "git status"}
NESTED: dict[str, object] = {
    "files": [{"name": "a/b~c"}, {"name": "second"}], "": {"": "empty"}, "-": "dash", "01": "key"
}  # fmt: skip
MATCHING: list[tuple[str, Call, bool]] = [
    ('tool = "Bash"', call(), True),
    ('tool = "bash"', call(), False),
    ('tool = "Bas"', call(), False),
    ('tool = "ash"', call(), False),
    ('tool = "*"', call(), True),
    ('tool = "B?sh"', call(), True),
    ('tool = "Bash?"', call(), False),
    ('tool = "[Bb]ash"', call(), True),
    ('tool = "[!Bb]ash"', call(), False),
    ('tool = "[a-z]ash"', call(), False),
    ('tool = "mcp__*"', call("mcp__files__read"), True),
    ('tool = "mcp__files__*"', call("mcp__file__read"), False),
    ('tool = "Bash"', call("Bash\n"), False),
    ('tool = "Bash*"', call("Bash\nrm"), True),
    ('tool = "Bash"', call("B\u0430sh"), False),  # a Cyrillic letter
    ('tool = "a.b"', call("axb"), False),
    ('tool = "a[]]b"', call("a]b"), True),
    ('tool = "a[*]b"', call("a*b"), True),
    ('tool = "a[*]b"', call("axb"), False),
    ('method = "rotate"', call(method="rotate"), True),
    ('method = "rot*"', call(method="rotate"), True),
    ('method = "Rotate"', call(method="rotate"), False),
    ('tool = "keys"\nmethod = "rotate"', call("keys", method="list"), False),
    ('tool = "keys"\nmethod = "rotate"', call("Bash"), False),
    ('mode = "apply"', call(), True),
    ('mode = "apply"', call(mode="dry_run"), False),
    ('labels = ["prod"]', call(labels=("eu", "prod")), True),
    ('labels = ["prod", "eu"]', call(labels=("eu", "prod")), True),
    ('labels = ["prod", "us"]', call(labels=("eu", "prod")), False),
    ('labels = ["pro*"]', call(labels=("prod",)), False),
    ('labels = ["prod"]', call(), False),
    ('requester = "system:*"', call(), True),
    ('requester = "human:*"', call(), False),
    ('requester = "*:agent"', call(), False),
    ('arguments = { "/command" = { eq = "git status" } }', call(arguments=COMMAND), True),
    ('arguments = { "/command" = { eq = "git" } }', call(arguments=COMMAND), False),
    ('arguments = { "/command" = { in = ["git log", "git status"] } }', call(arguments=COMMAND), True),
    ('arguments = { "/command" = { in = ["git log"] } }', call(arguments=COMMAND), False),
    ('arguments = { "/command" = { prefix = "git " } }', call(arguments=COMMAND), True),
    ('arguments = { "/command" = { prefix = "git " } }', call(arguments={"command": "git"}), False),
    ('arguments = { "/command" = { prefix = "git " } }', call(arguments={"command": "git x; rm -rf /"}), True),
    ('arguments = { "/command" = { glob = "git *" } }', call(arguments={"command": "git a\nb"}), True),
    ('arguments = { "/command" = { glob = "git" } }', call(arguments=COMMAND), False),
    ('arguments = { "/n" = { eq = 3 } }', call(arguments={"n": 3}), True),
    ('arguments = { "/n" = { eq = true } }', call(arguments={"n": True}), True),
    ('arguments = { "/n" = { eq = true } }', call(arguments={"n": False}), False),
    ('arguments = { "/n" = { in = [1, 2] } }', call(arguments={"n": 2}), True),
    ('arguments = { "/n" = { lt = 3 } }', call(arguments={"n": 3}), False),
    ('arguments = { "/n" = { lt = 3 } }', call(arguments={"n": 2.999}), True),
    ('arguments = { "/n" = { gt = 0.5 } }', call(arguments={"n": 1}), True),
    ('arguments = { "/n" = { gt = 1, lt = 5 } }', call(arguments={"n": 3}), True),
    ('arguments = { "/n" = { gt = 1, lt = 5 } }', call(arguments={"n": 5}), False),
    ('arguments = { "/n" = { gt = 9007199254740990 } }', call(arguments={"n": 2**53 - 1}), True),
    ('arguments = { "/a" = { eq = 1 }, "/b" = { eq = 2 } }', call(arguments={"a": 1, "b": 2}), True),
    ('arguments = { "/a" = { eq = 1 }, "/b" = { eq = 2 } }', call(arguments={"a": 1, "b": 3}), False),
    ('arguments = { "/files/0/name" = { eq = "a/b~c" } }', call(arguments=NESTED), True),
    ('arguments = { "/files/1/name" = { eq = "a/b~c" } }', call(arguments=NESTED), False),
    ('arguments = { "//" = { eq = "empty" } }', call(arguments=NESTED), True),
    ('arguments = { "/-" = { eq = "dash" } }', call(arguments=NESTED), True),
    ('arguments = { "/01" = { eq = "key" } }', call(arguments=NESTED), True),
    ('arguments = { "/a~1b" = { eq = 1 } }', call(arguments={"a/b": 1}), True),
    ('arguments = { "/a~01b" = { eq = 1 } }', call(arguments={"a~1b": 1}), True),
    ('tool = "Read"\narguments = { "/command" = { eq = 1 } }', call(arguments=COMMAND), False),
    ('mode = "dry_run"\narguments = { "/nothing" = { eq = 1 } }', call(), False),
    ('requester = "human:*"\narguments = { "/nothing" = { eq = 1 } }', call(), False),
]  # fmt: skip
UNDECIDED: list[tuple[str, Call, str, str]] = [
    ('"/command" = { eq = "x" }', call(), "/command", "no such argument"),
    ('"/a/b" = { eq = "x" }', call(arguments={"a": "text"}), "/a/b", "no such argument"),
    ('"/files/2" = { eq = "x" }', call(arguments=NESTED), "/files/2", "no such argument"),
    ('"/files/-" = { eq = "x" }', call(arguments=NESTED), "/files/-", "no such argument"),
    ('"/files/00" = { eq = "x" }', call(arguments=NESTED), "/files/00", "no such argument"),
    ('"/files/\u0660" = { eq = "x" }', call(arguments=NESTED), "/files/\u0660", "no such argument"),
    ('"/files/1000000000000" = { eq = "x" }', call(arguments=NESTED), "/files/1000000000000", "no such argument"),
    ('"/n" = { eq = "3" }', call(arguments={"n": 3}), "/n", "a whole number"),
    ('"/n" = { eq = 3 }', call(arguments={"n": "3"}), "/n", "text"),
    ('"/n" = { eq = 1 }', call(arguments={"n": True}), "/n", "true or false"),
    ('"/n" = { eq = true }', call(arguments={"n": 1}), "/n", "a whole number"),
    ('"/n" = { eq = 1 }', call(arguments={"n": 1.0}), "/n", "a number with a fraction or an exponent"),
    ('"/n" = { eq = 1 }', call(arguments={"n": None}), "/n", "null"),
    ('"/n" = { eq = 1 }', call(arguments={"n": [1]}), "/n", "a list"),
    ('"/n" = { eq = 1 }', call(arguments={"n": {}}), "/n", "an object"),
    ('"/n" = { eq = 1 }', call(arguments={"n": 2**53}), "/n", "a whole number beyond 2^53-1"),
    ('"/n" = { in = ["a"] }', call(arguments={"n": 1}), "/n", "a whole number"),
    ('"/n" = { in = [1] }', call(arguments={"n": True}), "/n", "true or false"),
    ('"/n" = { prefix = "a" }', call(arguments={"n": 1}), "/n", "a whole number"),
    ('"/n" = { prefix = "a" }', call(arguments={"n": ["a"]}), "/n", "a list"),
    ('"/n" = { glob = "*" }', call(arguments={"n": None}), "/n", "null"),
    ('"/n" = { lt = 3 }', call(arguments={"n": "2"}), "/n", "text"),
    ('"/n" = { gt = 0 }', call(arguments={"n": True}), "/n", "true or false"),
    ('"/n" = { lt = 3 }', call(arguments={"n": float("nan")}), "/n", "NaN or an infinity"),
    ('"/n" = { gt = 3 }', call(arguments={"n": float("inf")}), "/n", "NaN or an infinity"),
    ('"/n" = { gt = 3 }', call(arguments={"n": 2**53}), "/n", "a whole number beyond 2^53-1"),
    ('"/n" = { lt = 0 }', call(arguments={"n": -(2**53)}), "/n", "a whole number beyond 2^53-1"),
    ('"/a" = { eq = 1 }, "/b" = { eq = 1 }', call(arguments={"a": 2}), "/b", "no such argument"),
    ('"/b" = { eq = 1 }, "/a" = { eq = 1 }', call(arguments={"a": 2}), "/b", "no such argument"),
    ('"/a" = { gt = 9, eq = "x" }', call(arguments={"a": 2}), "/a", "a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("matchers", "judged", "matches"), MATCHING)
def test_a_rule_matches_these_calls(matchers: str, judged: Call, matches: bool) -> None:
    passed = rule(matchers).judge(judged)
    assert (passed.verdict, passed.rule) == (("allow", 0) if matches else ("deny", None))
    denied = rule(matchers, 'verdict = "deny"', "allow").judge(judged)
    assert denied.verdict == ("deny" if matches else "allow")


@pytest.mark.parametrize(("arguments", "judged", "pointer", "found"), UNDECIDED)
def test_what_cannot_be_evaluated_is_refused_and_named(
    arguments: str, judged: Call, pointer: str, found: str
) -> None:
    refused = refusal(f"arguments = {{ {arguments} }}", judged)
    assert refused.code is ErrorCode.RULE_UNDECIDED
    known = {name: refused.details[name] for name in ("rule", "pointer", "found")}
    assert known == {"rule": "rules[0]", "pointer": pointer, "found": found}
    assert f"rules[0].arguments.{pointer} cannot be evaluated" in refused.message


def test_a_method_that_nobody_knows_is_refused_and_not_passed_over() -> None:
    refused = refusal('method = "delete"', call())
    assert (refused.code, refused.details["matcher"]) == (ErrorCode.RULE_UNDECIDED, "method")
    assert rule('tool = "keys"\nmethod = "delete"').judge(call()).decided_by == "default"


def test_the_text_of_an_argument_is_in_no_error() -> None:
    refused = refusal('arguments = { "/token" = { gt = 1 } }', call(arguments={"token": "s3cret"}))
    assert "s3cret" not in f"{refused.message}{refused.details}{refused.next}"


@pytest.mark.parametrize("arguments", [{}, {"command": 1}])
def test_a_rule_that_cannot_be_evaluated_refuses_where_a_later_one_would_match(
    arguments: dict[str, Any],
) -> None:
    both = book(
        'default = "allow"\n'
        '[[rules]]\narguments = { "/command" = { eq = "ls" } }\nverdict = "allow"\n'
        '[[rules]]\ntool = "*"\nverdict = "deny"\n'
    )
    with pytest.raises(NexusControlError) as refused:
        both.judge(call(arguments=arguments))
    assert refused.value.code is ErrorCode.RULE_UNDECIDED
    assert both.judge(call(arguments={"command": "ls"})).verdict == "deny"


def test_the_last_rule_that_matches_holds_and_all_were_looked_at() -> None:
    several = book(
        'default = "deny"\n'
        '[[rules]]\ntool = "*"\nverdict = "allow"\n'
        '[[rules]]\ntool = "Bash"\ntemplate = "two-people"\n'
        '[[rules]]\ntool = "Bash"\nmode = "dry_run"\nverdict = "deny"\n'
    )
    judged = several.judge(call())
    assert (judged.verdict, judged.template, judged.decided_by) == ("template", "two-people", "rules[1]")
    assert judged.looks == (Look(0, None), Look(1, None), Look(2, "mode"))
    assert several.judge(call("Read")).decided_by == "rules[0]"
    assert several.judge(call(mode="dry_run")).verdict == "deny"


def test_a_book_without_rules_has_its_default_for_every_call() -> None:
    judged = book('default = "deny"').judge(call())
    assert (judged.verdict, judged.rule, judged.decided_by, judged.looks) == ("deny", None, "default", ())


@pytest.mark.parametrize("glob", ["*a" * (MAX_GLOB // 2), "*" * MAX_GLOB, "a*" * 250 + "b", "?*" * 250 + "b"])
def test_a_glob_on_a_huge_text_is_judged(glob: str) -> None:
    matcher = rule(f'arguments = {{ "/text" = {{ glob = "{glob}" }} }}')
    huge = "a" * 200_000
    assert matcher.judge(call(arguments={"text": huge + "c"})).verdict == (
        "allow" if set(glob) == {"*"} else "deny"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"tool": "Read"},
        {"mode": "dry_run"},
        {"labels": ("eu",)},
        {"requester": "human:ada"},
        {"arguments": {"n": 4}},
    ],
)
def test_all_matchers_of_a_rule_must_match(change: dict[str, Any]) -> None:
    others = 'mode = "apply"\nlabels = ["prod"]\nrequester = "system:*"'
    whole = f'tool = "keys"\n{others}\narguments = {{ "/n" = {{ eq = 3 }} }}'
    fitting = call("keys", {"n": 3}, labels=("prod",))
    assert rule(whole).judge(fitting).verdict == "allow"
    assert rule(whole).judge(replace(fitting, **change)).verdict == "deny"


def refusal(matchers: str, judged: Call) -> NexusControlError:
    with pytest.raises(NexusControlError) as refused:
        rule(matchers).judge(judged)
    return refused.value
