import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.places import REPOSITORY

MODULES = sorted((*REPOSITORY.glob("nexus_control/**/*.py"), *REPOSITORY.glob("benchmarks/**/*.py")))


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_no_module_has_more_than_400_lines() -> None:
    lengths = {str(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert {module: length for module, length in lengths.items() if length > 400} == {}


def test_the_root_has_at_most_24_modules() -> None:
    assert len(sorted(REPOSITORY.glob("nexus_control/*.py"))) <= 24


def test_no_function_has_more_than_60_lines() -> None:
    long = {
        f"{module}:{function.lineno}": function.name
        for module in MODULES
        for function in functions(module)
        if (function.end_lineno or function.lineno) - function.lineno >= 60
    }
    assert long == {}
