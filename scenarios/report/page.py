"""The whole report of a run: what happened, packet by packet, what was expected, and where to look further.

Drawn from the data of result.json alone, so that `tamperlab show` says of an old run what `run` said of it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.record import FlowEnds
from scenarios.report.draw import MAX_WIDTH, draw
from scenarios.report.ladder import MAX_ROWS, Row, shortened
from scenarios.report.table import family_words, outcomes_table
from scenarios.report.verdicts import ladder_key, verdict_lines
from scenarios.runs import LATEST, runs_directory

Json = Mapping[str, Any]

MAX_LADDERS = 2
"""Shown without being asked for; `tamperlab show RUN --all` shows every flow (chosen)."""


def print_report(console: Console, result: Json, *, all_ladders: bool = False) -> None:
    """Write the report of a run."""
    ascii_only = console.options.ascii_only
    width = min(console.width, MAX_WIDTH)

    def line(text: Text | str = "") -> None:
        console.print(text, soft_wrap=False, overflow="fold", highlight=False, width=width)

    line()
    families = family_words([play["family"] for play in result["worlds"][0]["plays"]])
    run = f"run {result['run_id']}"
    room = width - len(f"{result['scenario']}  over {families}, {run}")
    line(
        Text.assemble(
            (result["scenario"], "bold"), (f"  over {families}{', ' if room >= 0 else chr(10)}{run}", "dim")
        )
    )
    line(result["purpose"][:1].upper() + result["purpose"][1:] + ".")
    if result.get("about"):
        line()
        console.print(Padding(Text(result["about"], "dim"), (0, 0, 0, 2)), width=width, highlight=False)
    console.print(outcomes_table(result, width=width, ascii_only=ascii_only), width=width)
    drawn: set[str] = set()
    for text in _ladders(result, drawn, width=width, ascii_only=ascii_only, all_ladders=all_ladders):
        console.print(text, no_wrap=True, overflow="crop", crop=True, highlight=False)
    line(Text("Expected, and seen", "bold"))
    for world in result["worlds"]:
        for verdict in verdict_lines(
            world, width=width, whole=all_ladders, ascii_only=ascii_only, drawn=drawn
        ):
            console.print(verdict, width=width, overflow="fold", highlight=False)
    line()
    line(_verdict(result))
    for text in _problems(result):
        line(text)
    line()
    line(Text("Look closer", "bold"))
    console.print(_where_to_look(result), width=width)


def _ladders(
    result: Json, drawn: set[str], *, width: int, ascii_only: bool, all_ladders: bool
) -> Iterator[Text]:
    """The ladders worth showing: flows in which the box did something, else the first; one IP version unless asked.

    drawn: gets the key of each.
    """
    flows = [
        (play["family"], step, flow)
        for world in result["worlds"]
        if all_ladders or not world["control"]
        for play in world["plays"]
        for step in play["steps"]
        for flow in step["flows"]
    ]
    touched = [item for item in flows if any(Row.from_json(row).touched for row in item[2]["ladder"])]
    chosen = flows if all_ladders else _one_family(touched or flows)[:MAX_LADDERS]
    for family, step, flow in chosen:
        ends = FlowEnds.from_json(flow)
        drawn.add(ladder_key(flow))
        yield Text.assemble((step["step"], "bold"), f" over IPv{family}   ", (str(ends), "dim"))
        rows = [Row.from_json(row) for row in flow["ladder"]]
        yield from draw(rows if all_ladders else shortened(rows), ends, width=width, ascii_only=ascii_only)
        yield Text()
    if more := _more(len(flows) - len(chosen), [] if all_ladders else [flow for _, _, flow in chosen]):
        yield Text(f"{more}: {_show_all(result)}", "dim")
        yield Text()


def _more(others: int, drawn: Sequence[Json]) -> str:
    """What the report has left out: whole flows, and packets of those that are drawn."""
    words = [f"{others} more connection{'s' if others > 1 else ''}"] if others > 0 else []
    if any(len(flow["ladder"]) > MAX_ROWS for flow in drawn):
        words.append("all packets")
    return " and ".join(words)


def _one_family(flows: list[tuple[int, Json, Json]]) -> list[tuple[int, Json, Json]]:
    return [item for item in flows if item[0] == flows[0][0]]


def _verdict(result: Json) -> Text:
    seconds = f" ({result['seconds']:.1f} s)"
    if not result["valid"]:
        return Text.assemble(
            ("INVALID RUN", "bold red"), ": nothing may be concluded from it", (seconds, "dim")
        )
    if result["passed"]:
        return Text.assemble(("As expected", "bold green"), (seconds, "dim"))
    failed = sum(
        not check["passed"]
        for world in result["worlds"]
        for checks in (world["checks"], *(play["checks"] for play in world["plays"]))
        for check in checks
    )
    words = f"{failed} expectation{'s' if failed > 1 else ''} failed"
    return Text.assemble((words, "bold red"), (seconds, "dim"))


def _problems(result: Json) -> Iterator[Text]:
    for world in result["worlds"]:
        for problem in world["problems"]:
            where = f"control {world['name']}: " if world["control"] else ""
            yield Text(f"  {where}{problem}", "red")


def _where_to_look(result: Json) -> Table:
    directory = Path(result["directory"])
    shown = _short(directory)
    captures = directory / "captures"
    places = sorted(path.stem for path in captures.glob("*.pcapng")) if captures.is_dir() else ["gone"]
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("  captures", f"{shown}/captures/*.pcapng\n{', '.join(places)}")
    # two profiles may have the same rule, as in firmware-timeline
    for rule in {(rule["rule"], rule["when"]): rule for rule in result["filters"]}.values():
        kind = (
            "as a Wireshark filter" if rule["wireshark"] else "with words of the lab's own, not for Wireshark"
        )
        text = Text.assemble((rule["when"], "bold"), (f"\nwhat set off {rule['rule']}, {kind}", "dim"))
        grid.add_row("  trigger", text)
    if any(world["events"].get("packet_forged") for world in result["worlds"]):
        grid.add_row("  forged", Text.assemble(('frame.comment contains "FORGED"', "bold")))
    grid.add_row("  truth", f"{shown}/events.jsonl")
    grid.add_row("  all of it", f"{shown}/result.json\n{_show_all(result)}")
    return grid


def _show_all(result: Json) -> str:
    """The command that shows the run again, with every packet; short enough for any terminal."""
    run = LATEST if _is_latest(Path(result["directory"])) else result["run_id"].rpartition("-")[2]
    return f"{_program()} show {run} --all"


def _program() -> str:
    """`tamperlab` as the user can type it: by its path where the shell does not find it by name."""
    mine = Path(sys.prefix, "bin", "tamperlab")
    return mine.name if shutil.which(mine.name) or not mine.exists() else _relative(mine)


def _short(directory: Path) -> str:
    """The run's folder as the user would type it: `runs/latest` where that is it."""
    return _relative(runs_directory() / LATEST if _is_latest(directory) else directory)


def _is_latest(directory: Path) -> bool:
    try:
        return (runs_directory() / LATEST).resolve() == directory.resolve()
    except OSError:
        return False


def _relative(path: Path) -> str:
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
