"""Files of at most 400 lines, functions of at most 60: what one person can hold in mind.

Prints every file and function over the limit, with its place, and ends with 1 if there is one. Tables of data
(a function's docstring and comments count too) are no exception: they can live in a file of their own.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60
ROOMS = ("middlebox", "lab", "scenarios", "tests", "scripts")


def oversized(path: Path) -> list[str]:
    """One line of text for everything in the file that is over a limit."""
    source = path.read_text(encoding="utf-8")
    found = []
    if (lines := source.count("\n")) > MAX_FILE_LINES:
        found.append(
            f"{path}: expected at most {MAX_FILE_LINES} lines, got {lines}; split it by what it is about"
        )
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                found.append(
                    f"{path}:{node.lineno}: expected at most {MAX_FUNCTION_LINES} lines, got {lines} in "
                    f"{node.name}(); give its parts names"
                )
    return found


def main() -> int:
    """Exit status 1 if anything is too long."""
    files = sorted(file for room in ROOMS for file in Path(room).rglob("*.py"))
    found = [line for file in files for line in oversized(file)]
    print("\n".join(found) or f"sizes: {len(files)} files within the limits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
