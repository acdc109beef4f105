"""People read pages, docstrings, comments and messages once: phrases that must be read twice are not written."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.places import REPOSITORY

PAGES = (*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"))
MODULES = (*REPOSITORY.glob("nexus_control/**/*.py"), *REPOSITORY.glob("benchmarks/**/*.py"))

RIDDLES = {
    r"\bwhoever\b": "name the person: the caller, the owner, anybody who ...",
    r"(?-i:\bis none\b)": "say what follows: such rows are never read",
    r"\banew\b": "again, or from the beginning",
    r"\bthe one or the other\b": "name the two",
    r"\bnothing else is\b": "say what is refused, ignored or missing",
    r"\bof an? [\w -]{1,40} alone\b": "only for ...; otherwise ...",
    r"(?:^|[.:;] )What (?:is|are|was|were|has|have|does|do) (?:not|no)\b": "name the subject: a line without ...",
    r"\b(?:that|which|what|it) (?:is|are|was|were) no (?!longer|more)\w": "is not a ...",
    r"\bbut for\b": "except",
    r"\bwhat stands for\b": "name it",
    r"\bwithout a word\b": "prints nothing",
    r"\bnone of it\b": "name what is missing",
    r"\bgoes on up\b": "is raised again",
    r"\bh(?:eld|olds?) (?:\w+ )?against\b": "compares with, checks against",
    r"\bcounts? no more\b": "no longer counts",
    r"\bbecomes? another one\b": "is no longer the one that was shown",
    r"\bsees? to it\b": "makes sure",
    r"\bcomes? of it\b": "name the result",
    r"\bat the door\b": "name the function or the model that checks",
    r"(?:^|[.:;] )Of that\b": "name what a part is taken of: only the first two lines are read",
    r"(?-i:^That (?!is|was)\w)": "a function checks that, or says whether",
}


@pytest.mark.parametrize("riddle", RIDDLES)
def test_no_prose_is_a_riddle(riddle: str) -> None:
    pattern = re.compile(riddle, re.IGNORECASE)
    found = [f"{place}: {text}" for place, text in prose() if pattern.search(text)]
    assert found == [], RIDDLES[riddle]


@pytest.mark.parametrize(
    "text",
    [
        "Whoever signs decides.",
        "a row that stands for its index is none",
        "triggers are made anew",
        "it is the one or the other",
        "nothing else is read",
        "Of a security key alone.",
        "It is read. What is not a line is skipped.",
        "a line that is no message",
        "all but for one",
        "what stands for its index",
        "It ends without a word.",
        "none of it is kept",
        "The interruption goes on up.",
        "The policy is held against the plan.",
        "Such a key counts no more.",
        "a request that has become another one",
        "The caller sees to it.",
        "what comes of it",
        "Arguments are checked at the door.",
        "It is long. Of that, only the end is kept.",
        "That a package is signed.",
    ],
)
def test_each_riddle_is_known_by_an_example(text: str) -> None:
    assert len([riddle for riddle in RIDDLES if re.search(riddle, text, re.IGNORECASE)]) == 1


def test_no_message_holds_two_blanks_in_a_row() -> None:
    found = [
        f"{module.relative_to(REPOSITORY)}:{node.lineno}"
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr | ast.Constant)
        and "\n" not in (text := shown(node))  # docstrings, and SQL in columns
        and re.search(r"\S  \S", text)
    ]
    assert found == []


def shown(message: ast.JoinedStr | ast.Constant) -> str:
    """The message with an x for each of its values."""
    if isinstance(message, ast.JoinedStr):
        return "".join(shown(part) if isinstance(part, ast.Constant) else "x" for part in message.values)
    return message.value if isinstance(message.value, str) else ""


@cache
def prose() -> tuple[tuple[str, str], ...]:
    """Every sentence's place, and the paragraph that it stands in as one line."""
    return (
        *(found for page in PAGES for found in of_page(page)),
        *(found for each in MODULES for found in of_module(each)),
    )


def of_page(page: Path) -> Iterator[tuple[str, str]]:
    yield from paragraphs(page, 1, page.read_text(encoding="utf-8"))


def of_module(module: Path) -> Iterator[tuple[str, str]]:
    """Its strings, docstrings among them, and its comments."""
    source = module.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from paragraphs(module, node.lineno, node.value)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from paragraphs(module, token.start[0], token.string.lstrip("# "))


def paragraphs(path: Path, line: int, text: str) -> Iterator[tuple[str, str]]:
    for paragraph in re.split(r"(\n[ \t]*\n)", text):
        if paragraph.strip():
            start = line + len(paragraph) - len(paragraph.lstrip("\n"))
            yield f"{path.relative_to(REPOSITORY)}:{start}", " ".join(paragraph.split())
        line += paragraph.count("\n")
