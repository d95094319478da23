"""Expectations with pass or fail and what was seen; those that failed with the packets that contradict them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from scenarios.record import FlowEnds
from scenarios.report.draw import draw
from scenarios.report.ladder import Row
from scenarios.report.table import family_words

Json = Mapping[str, Any]

MAX_ROWS = 40
"""Of one flow, for a failed expectation (chosen)."""


def verdict_lines(world: Json, *, width: int, ascii_only: bool = False) -> Iterator[Text]:
    """The checks of a world, alike ones of several IP versions in one line, then the world's own checks."""
    yes, no = ("ok  ", "FAIL") if ascii_only else ("✓", "✗")
    for families, check in merged(world):
        line = Text("  ")
        line.append(yes if check["passed"] else no, "bold green" if check["passed"] else "bold red")
        line.append(f" {check['expectation']}", "" if check["passed"] else "bold")
        # what a step that ended as expected ended with need not be said twice
        said = check["passed"] and check["expectation"].endswith(check["seen"])
        seen = "" if said else check["seen"]
        seen += f" ({family_words(families)})" if families else ""
        room = width - 2
        if line.cell_len + len(seen) + 3 <= room:
            line.append(" " if said else ": " if check["passed"] else ": saw ", "dim")
        else:
            line.append("\n      " if check["passed"] else "\n      saw ", "dim")
        line.append(seen.strip(), "dim" if check["passed"] else "red")
        yield line
        if not check["passed"]:
            for evidence in check["evidence"]:
                yield from evidence_lines(evidence, width=width, ascii_only=ascii_only)


def merged(world: Json) -> list[tuple[list[int], Json]]:
    """(IP versions, check): the same check with the same result over several IP versions stands once."""
    found: dict[tuple[str, bool, str], tuple[list[int], Json]] = {}
    for play in world["plays"]:
        for number, check in enumerate(play["checks"]):
            key = (f"{number} {check['expectation']}", check["passed"], check["seen"])
            families, known = found.setdefault(key, ([], check))
            families.append(play["family"])
            if known is not check and not check["passed"]:
                known["evidence"].extend(check["evidence"])
    merged_checks = sorted(found.items(), key=lambda item: int(item[0][0].split(" ", 1)[0]))
    return [value for _, value in merged_checks] + [([], check) for check in world["checks"]]


def evidence_lines(evidence: Json, *, width: int, ascii_only: bool) -> Iterator[Text]:
    """The packets of a flow that contradict an expectation."""
    flow = FlowEnds.from_json(evidence)
    rows: Sequence[Row] = [Row.from_json(row) for row in evidence["ladder"][:MAX_ROWS]]
    yield Text(f"      {flow}", "dim")
    yield from draw(rows, flow, width=width, ascii_only=ascii_only)
