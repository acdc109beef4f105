import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_control.execution.argv_template import ArgvTemplate

ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(ANY_TEXT)
def test_a_value_is_exactly_one_argument_whatever_it_holds(value: str) -> None:
    template = ArgvTemplate.of(["rotate", "--service={service}", "{{}}", "--", "{service}"])
    assert template.problem_with({"service": value}) is None
    assert template.fill({"service": value}) == ["rotate", f"--service={value}", "{}", "--", value]


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (7, "7"), (-7, "-7"), (True, "true"), (False, "false"), ("{b}", "{b}")]
)
def test_text_integers_true_and_false_are_values(value: object, text: str) -> None:
    assert ArgvTemplate.of(["p", "-n={n}"]).fill({"n": value}) == ["p", f"-n={text}"]


@pytest.mark.parametrize("value", [None, 0.5, [], {}, "a\0b"])
def test_other_values_are_refused_by_name(value: object) -> None:
    problem = ArgvTemplate.of(["p", "-n={n}"]).problem_with({"n": value})
    assert problem is not None
    assert problem.startswith("args.n ")


@pytest.mark.parametrize("value", ["-rf", "--config=/etc/x", "-", -1])
def test_a_value_that_would_be_an_option_is_refused_where_it_stands_alone(value: object) -> None:
    problem = ArgvTemplate.of(["p", "{file}"]).problem_with({"file": value})
    assert problem is not None
    assert problem.startswith("args.file ")
    assert ArgvTemplate.of(["p", "--", "{file}"]).problem_with({"file": value}) is None
    assert ArgvTemplate.of(["p", "--file={file}"]).problem_with({"file": value}) is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        [""],
        ["{program}"],
        ["./{program}"],
        ["p", "{"],
        ["p", "}"],
        ["p", "{}"],
        ["p", "{0}"],
        ["p", "{a.b}"],
        ["p", "{a[0]}"],
        ["p", "{a!r}"],
        ["p", "{a:>9}"],
        ["p", "{a b}"],
        ["p", "a\0b"],
        ["sh", "-c", "rotate {service}"],
        ["/bin/bash", "-e", "-uc", "rotate {service}"],
        ["env", "A=1", "bash", "-c", "{script}"],
    ],
)
def test_a_template_that_is_unclear_or_would_split_a_value_is_refused(words: list[str]) -> None:
    with pytest.raises(ValueError, match=r"must|has braces"):
        ArgvTemplate.of(words)


def test_a_shell_script_may_take_a_value_as_its_own_argument() -> None:
    template = ArgvTemplate.of(["sh", "-c", 'rotate "$1"', "sh", "{service}"])
    assert template.fill({"service": "a; b"}) == ["sh", "-c", 'rotate "$1"', "sh", "a; b"]
