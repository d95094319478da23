"""`tamperlab`: the command line. Arguments in, exit status out; the work is done elsewhere.

Exit status: 0 as expected, 1 an expectation failed, 2 a bad file or argument, 3 the machine is not ready, 4 the run is
invalid. Errors are for people: no traceback for what a user can put right.

Modules that cost time to import (Mininet, the YAML reader) are imported by the command that needs them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.table import Table
from rich.text import Text

from lab.errors import LabError
from scenarios.errors import ArgumentError
from scenarios.terminal import interruptible, page, print_json, progress_of

if TYPE_CHECKING:
    from scenarios.model import Scenario

OK, BAD_INPUT, NOT_READY = 0, 2, 3

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A small internet with a middlebox in it that tampers with connections as documented real ones do.",
)


class FamilyChoice(StrEnum):
    V4 = "4"
    V6 = "6"
    BOTH = "both"


class MailChoice(StrEnum):
    EMBEDDED = "embedded"
    POSTFIX = "postfix"


AsJson = Annotated[
    bool, typer.Option("--json", help="Print data instead of a report, and nothing else, on stdout.")
]
Family = Annotated[FamilyChoice | None, typer.Option(help="IP version; as the scenario says if left out.")]
Mail = Annotated[MailChoice | None, typer.Option(help="Mail server to use instead of the scenario's.")]
Seed = Annotated[int | None, typer.Option(help="Of the box's dice, instead of the scenario's.")]
TimeScale = Annotated[
    float | None,
    typer.Option(help="How fast the box forgets, instead of the scenario's; 1 is the real time."),
]


@app.command("list")
def list_scenarios(*, as_json: AsJson = False) -> None:
    """The scenarios, with the purpose of each."""
    from scenarios.load import load_scenario, scenario_slugs

    scenarios = [load_scenario(slug) for slug in scenario_slugs()]
    if as_json:
        print_json([
            {
                "scenario": s.slug, "purpose": s.purpose, "families": list(s.families), "services": dict(s.services),
                "controls": [control.name for control in s.controls], "path": s.path,
            }
            for s in scenarios
        ])  # fmt: skip
        return
    grid = Table.grid(padding=(0, 2))
    for scenario in scenarios:
        grid.add_row(Text(scenario.slug, "bold"), scenario.purpose)
    with page(wide=True) as console:
        console.print(grid)


@app.command()
def run(
    scenarios: Annotated[
        list[str], typer.Argument(metavar="SCENARIO", help="Names (tamperlab list) or files.")
    ],
    *,
    as_json: AsJson = False,
    family: Family = None,
    mail: Mail = None,
    seed: Seed = None,
    time_scale: TimeScale = None,
    controls: Annotated[bool, typer.Option("--controls/--no-controls", help="Play the controls too.")] = True,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep clients' homes, keys and network scripts too.")
    ] = False,
    all_ladders: Annotated[bool, typer.Option("--all", help="Show the packets of every connection.")] = False,
) -> None:
    """Play scenarios with their controls.

    Builds the network, runs the steps, shows what happened packet by packet and whether it is as expected.
    """
    from scenarios.load import load_scenario

    plays = [_restricted(load_scenario(name), family, mail, seed, time_scale) for name in scenarios]
    _enter_sandbox()
    results = []
    for scenario in plays:
        with interruptible():
            result = _play(scenario, controls=controls, keep=keep)
        results.append(result)
        if not as_json:
            _report(result, all_ladders=all_ladders)
    if as_json:
        print_json(results[0] if len(results) == 1 else results)
    # of several runs: invalid before failed before good
    raise typer.Exit(max(result["exit_status"] for result in results))


def _play(scenario: Scenario, *, controls: bool, keep: bool) -> dict[str, Any]:
    """Play one scenario in a new run folder and write its result."""
    from middlebox.load import load_deployment
    from scenarios.result import about, to_json, write_result
    from scenarios.runner import play, tidy
    from scenarios.runs import new_run

    with new_run(scenario.slug) as directory, progress_of(scenario.slug) as progress:
        record = play(scenario, directory, controls=controls, progress=progress)
        box_files = sorted(directory.glob("*box.yaml"))
        profiles = {p.name: p for file in box_files for p in load_deployment(file).profiles()}
        result = to_json(record, list(profiles.values())) | {"about": about(scenario.path)}
        write_result(directory, result)
        if record.exit_status == OK and not keep:
            tidy(directory)
    return result


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="Run id, a part of one, `latest`, or a path.")] = "latest",
    *,
    as_json: AsJson = False,
    all_ladders: Annotated[bool, typer.Option("--all", help="Show the packets of every connection.")] = False,
) -> None:
    """The report of an earlier run, again."""
    from scenarios.result import read_result
    from scenarios.runs import find_run

    directory = find_run(run)
    result = read_result(directory) | {"directory": str(directory)}
    if as_json:
        print_json(result)
    else:
        _report(result, all_ladders=all_ladders)


@app.command()
def profiles(
    name: Annotated[str | None, typer.Argument(help="A name or a file; all profiles if left out.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """The middleboxes.

    With a name: that one, value by value, each with its source.
    """
    from middlebox.load import load_profile, profile_names
    from scenarios.report.profiles import print_profile, profile_json, profiles_table

    if name is not None:
        profile = load_profile(name)
        if as_json:
            print_json(profile_json(profile))
            return
        with page() as console:
            print_profile(console, profile)
        return
    loaded = [load_profile(one) for one in profile_names()]
    if as_json:
        print_json([profile_json(profile) for profile in loaded])
        return
    with page(wide=True) as console:
        console.print(profiles_table(loaded, ascii_only=console.options.ascii_only))


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Scenario or profile files.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what is wrong with files.

    Reads scenario and profile files; every problem comes with its line and column. Of a good file: which filters are
    not for Wireshark.
    """
    from scenarios.filecheck import check_file

    checked = [check_file(file) for file in files]
    if as_json:
        print_json([one.as_json() for one in checked])
    for one in () if as_json else checked:
        if one.problems:
            print(*one.problems, sep="\n", file=sys.stderr)
            continue
        print(f"{one.file}: good")
        if one.own:
            print("  not for Wireshark, by words of the lab's own:", *one.own, sep="\n    ")
    raise typer.Exit(BAD_INPUT if any(one.problems for one in checked) else OK)


@app.command()
def replay(
    capture: Annotated[Path, typer.Argument(metavar="IN", help="Capture to read, pcapng or pcap.")],
    *,
    profile: Annotated[
        list[str],
        typer.Option(
            "--profile",
            "-p",
            help="By name or file; may be repeated: boxes one behind the other, inside first.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Capture to write; events go beside it.")],
    events: Annotated[
        Path | None, typer.Option(help="Ground truth; OUT with .events.jsonl if left out.")
    ] = None,
    inside: Annotated[list[str] | None, typer.Option(help="Network on the inside; may be repeated.")] = None,
    seed: Annotated[int, typer.Option(help="Of the box's dice.")] = 0,
) -> None:
    """Put a capture through a box.

    No network and no root: the box reads the capture and writes what would have come out.
    """
    from middlebox.replay import main as replay_main

    argv = [str(capture), "--output", str(output), "--seed", str(seed)]
    argv += ["--events", str(events)] if events else []
    argv += [word for box in profile for word in ("--profile", box)]
    argv += [word for network in inside or () for word in ("--inside", network)]
    raise typer.Exit(replay_main(argv))


@app.command()
def shell(
    scenario: Annotated[str, typer.Argument(help="Whose network to build.")],
    *,
    on: Annotated[
        str | None, typer.Option("--on", help="Host to be on; the first subscriber if left out.")
    ] = None,
    mail: Mail = None,
    seed: Seed = None,
) -> None:
    """A prompt inside a network.

    The scenario's network with servers, captures and box running; nothing is judged.
    """
    from scenarios.load import load_scenario

    play = _restricted(load_scenario(scenario), None, mail, seed)
    _enter_sandbox()
    from scenarios.runs import new_run
    from scenarios.shell import open_shell

    with interruptible(), new_run(f"shell-{play.slug}") as directory, progress_of(play.slug) as progress:
        world = open_shell(play, directory, on=on, progress=progress)
    forged = sum(event["event"] == "packet_forged" for event in world.events)
    print(f"{forged} packets forged; captures, with comments, in {directory}/captures")


@app.command()
def doctor(*, as_json: AsJson = False) -> None:
    """Is this machine ready?

    If not, the command that makes it so, one line for each thing.
    """
    from scenarios.doctor import examine

    found = examine()
    needed = [ailment for ailment in found if ailment.needed]
    if as_json:
        print_json({"ready": not needed, "missing": [ailment.as_json() for ailment in found]})
    else:
        for ailment in found:
            kind = "missing" if ailment.needed else "optional"
            print(f"{kind}: {ailment.message}; {ailment.fix}")
        print("not ready" if needed else "ready")
    raise typer.Exit(NOT_READY if needed else OK)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> None:
    """What the box costs.

    Throughput, connections and reaction time as ratios of plain forwarding; options of its own: python -m
    scenarios.bench --help.
    """
    from scenarios.bench.__main__ import main as bench_main

    sys.argv[1:] = context.args
    raise typer.Exit(bench_main())


# --- helpers -------------------------------------------------------------------------------------------------------


def _restricted(
    scenario: Scenario,
    family: FamilyChoice | None,
    mail: MailChoice | None,
    seed: int | None,
    time_scale: float | None = None,
) -> Scenario:
    from scenarios.choices import restrict

    version = int(family) if family not in (None, FamilyChoice.BOTH) else None
    if family is FamilyChoice.BOTH and scenario.families != (4, 6):
        raise ArgumentError(
            f"expected IPv{scenario.families[0]} for {scenario.slug}, got 'both'; leave out --family"
        )
    return restrict(scenario, family=version, mail=mail, seed=seed, time_scale=time_scale)


def _enter_sandbox() -> None:
    """Go on in a sandbox; on a machine that lacks a program of the lab: one line for each, and the end."""
    from lab import sandbox
    from lab.probe import missing

    if problems := list(missing()):
        print(*problems, sep="\n", file=sys.stderr)
        raise typer.Exit(NOT_READY)
    sandbox.enter()


def _report(result: dict[str, Any], *, all_ladders: bool) -> None:
    from scenarios.report.page import print_report

    with page() as console:
        print_report(console, result, all_ladders=all_ladders)


def main() -> NoReturn:
    """The entry point: `tamperlab` and `python -m scenarios.cli`."""
    sys.exit(guarded(lambda: app(prog_name="tamperlab", standalone_mode=True)))


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; what a user can put right becomes one message and an exit status."""
    from middlebox.yamlsource import ProfileError, ScenarioError
    from scenarios.captures import CaptureError

    try:
        command()
    except (ProfileError, ScenarioError, CaptureError, ArgumentError) as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except LabError as error:
        print(error, file=sys.stderr)
        return NOT_READY
    return OK


if __name__ == "__main__":
    main()
