"""Steps and what became of them: the scenario and its controls side by side, IPv4 and IPv6."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]

MIN_STEP_CELLS = 12


def outcomes_table(result: Json, *, width: int, ascii_only: bool = False) -> Table:
    """One row per step, one column per world. Outcomes that are alike over all IP versions are written once."""
    worlds = result["worlds"]
    # the outcome is what the table is for: the first column takes what is left
    needs = [_widest(world) for world in worlds]
    left = max(width - sum(needs) - 3 * len(needs) - 2, MIN_STEP_CELLS)
    table = Table(box=box.ASCII if ascii_only else box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("step", overflow="fold", max_width=left)
    for world, cells in zip(worlds, needs, strict=True):
        table.add_column(heading(world), no_wrap=True, min_width=cells)
    for step in step_names(worlds):
        first = next(found for world in worlds if (found := _steps(world, step)))[0][1]
        what = Text.assemble(("\n".join(broken(step, left)), "bold"))
        target = f"{first['on']} to {first['to']}:{first['port']}"
        what.append(
            "".join(f"\n{line}" for text in (first["client"], target) for line in broken(text, left)), "dim"
        )
        table.add_row(what, *(_cell(_steps(world, step), first["port"]) for world in worlds))
    return table


def _widest(world: Json) -> int:
    outcomes = (step["outcome"] for play in world["plays"] for step in play["steps"])
    return max(map(len, [*heading(world).split("\n"), *outcomes]))


def broken(text: str, cells: int) -> list[str]:
    """A name in lines of at most so many cells, broken behind blanks, hyphens, dots and colons where it can be."""
    lines: list[str] = []
    line = ""
    for piece in re.findall(r"[^ .:-]*[ .:-]|[^ .:-]+", text):
        if line and len(line + piece.rstrip()) > cells:
            lines.append(line.rstrip())
            line = ""
        line += piece
    return [*lines, line.rstrip()]


def heading(world: Json) -> str:
    """`with the box`, or the control's name."""
    if world["control"]:
        return f"control\n{world['name']}"
    return "with the box" if world["with_box"] else "no box"


def step_names(worlds: Sequence[Json]) -> list[str]:
    """Every step that ran anywhere, in order."""
    return list(
        dict.fromkeys(s["step"] for world in worlds for play in world["plays"] for s in play["steps"])
    )


def family_words(families: Sequence[int]) -> str:
    """`IPv4`, `IPv4 and IPv6`."""
    return " and ".join(f"IPv{family}" for family in families)


def _steps(world: Json, name: str) -> list[tuple[int, Json]]:
    return [
        (play["family"], step) for play in world["plays"] for step in play["steps"] if step["step"] == name
    ]


def _cell(steps: Sequence[tuple[int, Json]], usual_port: int) -> Text:
    """`connection-reset`, with IP versions and port where they say something new."""
    if not steps:
        return Text("-", "dim")
    by_outcome: dict[str, list[int]] = {}
    for family, step in steps:
        by_outcome.setdefault(step["outcome"], []).append(family)
    cell = Text()
    for outcome, families in by_outcome.items():
        succeeded = any(step["succeeded"] for _, step in steps if step["outcome"] == outcome)
        cell.append(("\n" if cell else "") + outcome, "bold green" if succeeded else "bold red")
        if len(by_outcome) > 1:
            cell.append(f"\n{family_words(families)}", "dim")
    if (port := steps[0][1]["port"]) != usual_port:
        cell.append(f"\nport {port}", "dim")
    return cell
