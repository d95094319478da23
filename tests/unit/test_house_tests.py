"""The tests' own rules: each is a promise in a sentence, none waits by the clock, none is skipped in silence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
SLEEPS = ("time.sleep", "sleep", "asyncio.sleep")


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every test function with the place where it stands."""
    for file in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield f"{file.relative_to(TESTS)}:{node.lineno} {node.name}", node


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in the tests: file, dotted name, node."""
    for file in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(file.relative_to(TESTS)), ast.unparse(node.func), node


def test_tests_each_promises_something_in_its_docstring() -> None:
    """A failing test tells its reader what was promised."""
    silent = [place for place, node in functions() if not ast.get_docstring(node)]
    assert silent == []


def test_tests_each_say_what_must_hold() -> None:
    """By an assertion of their own, an expected error, or a helper called `assert_...`: not by merely ending."""
    mute = [place for place, node in functions() if not any(map(asserts, ast.walk(node)))]
    assert mute == []


def asserts(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return isinstance(node, ast.Assert)
    name = ast.unparse(node.func)
    return name in ("pytest.raises", "pytest.fail") or name.startswith("assert_")


def test_tests_never_wait_by_the_clock() -> None:
    """Whoever waits, waits for a condition, in a loop: one sleep is too short here and too long there."""
    asleep = {(file, node.lineno) for file, name, node in calls() if name in SLEEPS}
    polling = {
        (str(file.relative_to(TESTS)), inner.lineno)
        for file in TESTS.rglob("*.py")
        for loop in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(loop, ast.While)
        for inner in ast.walk(loop)
        if isinstance(inner, ast.Call)
    }
    assert asleep - polling == set()


def test_tests_skip_only_with_a_reason() -> None:
    """Every skip says why, so that the summary of a run can be judged."""
    mute = [
        (file, ast.unparse(node))
        for file, name, node in calls()
        if name in ("pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail")
        and not (any(k.arg == "reason" for k in node.keywords) or (name == "pytest.skip" and node.args))
    ]
    assert mute == []
