"""Expectations with pass or fail and what was seen; those that failed with the packets that contradict them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scenarios.record import FlowEnds
from scenarios.report.draw import draw
from scenarios.report.ladder import Row, shortened
from scenarios.report.table import family_words

Json = Mapping[str, Any]


def verdict_lines(
    world: Json, *, width: int, whole: bool, ascii_only: bool = False, drawn: set[str] | None = None
) -> Iterator[RenderableType]:
    """The checks of a world, alike ones of several IP versions once.

    whole: all checks of a control that went well too, which is one line otherwise. drawn: `ladder_key` of what stands
    in the report already; what is drawn here is added to it.
    """
    drawn = set() if drawn is None else drawn
    checks = merged(world)
    if world["control"]:
        yield _line(
            "control ",
            world["name"],
            world["why"],
            passed=world["passed"],
            width=width,
            ascii_only=ascii_only,
        )
        if world["passed"] and not whole:
            return
    alike = len(world["plays"])
    for families, check in checks:
        # what a step that ended as expected ended with need not be said twice
        said = check["passed"] and check["expectation"].endswith(check["seen"])
        seen = "" if said else check["seen"] if check["passed"] else f"saw {check['seen']}"
        over = f"({family_words(families)})" if families and len(families) < alike else ""
        seen = " ".join(filter(None, (seen, over)))
        passed = check["passed"]
        yield _line("", check["expectation"], seen, passed=passed, width=width, ascii_only=ascii_only)
        if not passed:
            for evidence in check["evidence"]:
                key = ladder_key(evidence)
                yield from evidence_lines(evidence, width=width, ascii_only=ascii_only, known=key in drawn)
                drawn.add(key)


def _line(kind: str, what: str, seen: str, *, passed: bool, width: int, ascii_only: bool) -> RenderableType:
    yes, no = ("ok", "FAIL") if ascii_only else ("✓", "✗")
    text = Text(kind, "dim")
    text.append(what, "not dim" if passed else "not dim bold")
    if seen:
        fits = text.cell_len + len(seen) + 6 <= width
        text.append(": " if fits else "\n", "dim")
        text.append(seen, "dim" if passed else "not dim red")
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_row("", Text(yes, "bold green") if passed else Text(no, "bold red"), text)
    return grid


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


def ladder_key(flow: Json) -> str:
    """The same for the same packets of the same flow."""
    return f"{FlowEnds.from_json(flow)} {json.dumps(flow['ladder'])}"


def evidence_lines(evidence: Json, *, width: int, ascii_only: bool, known: bool) -> Iterator[Text]:
    """The packets of a flow that contradict an expectation; only its name where they are known already."""
    flow = FlowEnds.from_json(evidence)
    if known:
        yield Text(f"      {flow}: the packets drawn above", "dim")
        return
    rows = shortened([Row.from_json(row) for row in evidence["ladder"]])
    yield Text(f"      {flow}", "dim")
    yield from draw(rows, flow, width=width, ascii_only=ascii_only)
