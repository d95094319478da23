"""Whole-number arithmetic for the looks of forged packets: `(-1 - 13 * window) & 0xffff`.

Python's own grammar, of which only numbers, known names and `+ - * // % & | ^ << >> ~` and brackets are let through;
there are no calls, no attributes, nothing else.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import CodeType

NAMES = frozenset(
    {
        "window",
        "ttl",
        "index",
        "sport",
        "dport",
        "client_port",
        "server_port",
        "seq",
        "draw",
        "group_draw",
        "trigger_sport",
        "trigger_dport",
        "trigger_ttl",
        "trigger_ip_id",
        "trigger_window",
    }
)
"""window, ttl, seq, sport, dport: of the forged packet itself, in the order window, ttl, seq, ip_id, so that each can
use the ones before it; client_port, server_port: of its connection; index: its place in the group, from 0; draw: a
random number 0..65535 of its own; group_draw: one that all packets of the group share, towards one end."""

MAX_LEFT_SHIFT = 64
"""Shifting left by more, or by what is drawn, would make numbers that no memory holds (chosen)."""

MAX_SHOWN = 200
"""Characters of an expression that are shown in a message (chosen)."""

_ALLOWED = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod,
    ast.BitAnd, ast.BitOr, ast.BitXor, ast.LShift, ast.RShift, ast.USub, ast.UAdd, ast.Invert, ast.Load,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression. Equality is by text."""

    text: str
    names: frozenset[str]
    _code: CodeType = field(repr=False, compare=False)

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number; ZeroDivisionError and friends count as 0, since a look must never stop a box."""
        try:
            return int(eval(self._code, {"__builtins__": {}}, dict(values)))  # noqa: S307 - grammar checked in parse
        except (ArithmeticError, ValueError):
            return 0


def parse_expression(text: str) -> Expression:
    """Raise ValueError when `text` is anything but whole-number arithmetic over `NAMES`."""
    try:
        tree = ast.parse(text, mode="eval")
        code = compile(tree, "<look>", "eval")
    except (
        SyntaxError,
        ValueError,
        RecursionError,
        MemoryError,
    ) as error:  # the last two: thousands of operators
        shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
        raise ValueError(f"expected arithmetic such as (-1 - 13 * window) & 0xffff, got {shown!r}") from error
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            if node.id not in NAMES:
                raise ValueError(f"expected one of the names {', '.join(sorted(NAMES))}, got {node.id!r}")
            names.add(node.id)
        elif isinstance(node, ast.Constant):
            if type(node.value) is not int:
                raise ValueError(f"expected whole numbers, got {node.value!r}")
        elif not isinstance(node, _ALLOWED):
            raise ValueError(f"expected whole-number arithmetic, got {type(node).__name__} in {text!r}")
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.LShift) and not _is_small(node.right):
            raise ValueError(f"expected << by a number up to {MAX_LEFT_SHIFT}, got {ast.unparse(node)!r}")
    return Expression(text, frozenset(names), code)


def _is_small(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int and node.value <= MAX_LEFT_SHIFT
