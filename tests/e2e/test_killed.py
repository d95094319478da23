"""kill -9 in mid-run: of the runner, and nothing is left; of the box, and the run is invalid. No folder: no run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from tests.e2e.conftest import TIMEOUT_S, Terminal
from tests.emulation.conftest import wait_for_end, wait_until, watch

WAITS_FOR_MINUTES = """
scenario: waits
purpose: when its only step is over, it waits for the twenty minutes of a sentence to pass
middlebox: {profile: clayton-2006}
services: {web: nginx}
steps:
  - {on: sim1, client: probe-http, to: web.example, path: "/?falun"}
  - {wait: {event: residual_ended, timeout: 25min}}
expect: [{step: probe-http, outcome: connection-reset}]
controls: [no-middlebox]
"""


def descendants(pid: int) -> dict[int, str]:
    """pid -> command line of every process below `pid`, as this PID namespace sees them."""
    children: dict[int, list[int]] = {}
    commands: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                commands[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended while we looked
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found: dict[int, str] = {}
    waiting = list(children.get(pid, ()))
    while waiting:
        one = waiting.pop()
        found[one] = commands[one]
        waiting += children.get(one, ())
    return found


def machine() -> tuple[str, str]:
    """Interfaces and network namespaces of this machine, as far as names tell."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    names = sorted(line.split(": ")[1] for line in links.splitlines())
    namespaces = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    return " ".join(names), namespaces


def wait_for_event(terminal: Terminal, process: subprocess.Popen[str], kind: str) -> None:
    """Return when the box of the newest run has written an event of that kind."""
    events = terminal.runs / "latest" / "events.jsonl"

    def written_or_ended() -> bool:
        assert process.poll() is None, process.communicate()
        return events.exists() and f'"event":"{kind}"' in events.read_text()

    wait_until(written_or_ended, 60)


def test_runner_killed_leaves_no_process_and_no_interface(terminal: Terminal) -> None:
    """The moment the runner is gone, all of the lab is: hosts, servers, captures, box, links, namespaces."""
    before = machine()
    process = terminal.start("run", "firmware-timeline", "--json")
    try:
        wait_for_event(terminal, process, "flow_seen")
        below = descendants(process.pid)
        assert any("middlebox" in command for command in below.values())
        assert len(below) > 10
        watched = watch(below)
    finally:
        process.kill()
        process.communicate()
    wait_for_end(watched)
    assert machine() == before


def test_runner_told_to_end_leaves_no_process(terminal: Terminal) -> None:
    """Ctrl-C ends a run cleanly: one line, exit status 130, nothing left."""
    process = terminal.start("run", "firmware-timeline")
    wait_for_event(terminal, process, "flow_seen")
    watched = watch(descendants(process.pid))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT_S)
    wait_for_end(watched)
    assert process.returncode == 130
    assert err.strip().splitlines()[-1] == "interrupted; nothing is left running"
    assert "Traceback" not in err


def test_box_killed_in_mid_run_makes_the_run_invalid(terminal: Terminal) -> None:
    """Exit status 4 and the reason: a run whose box died never counts as `not censored`."""
    process = terminal.start("run", "firmware-timeline", "--json", "--no-controls")
    wait_for_event(terminal, process, "flow_seen")
    boxes = [pid for pid, command in descendants(process.pid).items() if " -m middlebox " in command]
    assert len(boxes) == 1
    os.kill(boxes[0], signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 4, err
    result = json.loads(out)
    assert (result["valid"], result["exit_status"]) == (False, 4)
    problems = result["worlds"][0]["problems"]
    assert "the box ended without a last word" in problems
    assert "expected the box to end with status 0, got -9" in problems


def test_run_whose_folder_is_removed_ends_at_once(terminal: Terminal) -> None:
    """Not when the last of its waits is over, which takes minutes in real time; and nothing is left."""
    (terminal.runs / "waits.yaml").write_text(WAITS_FOR_MINUTES)
    process = terminal.start("run", "waits.yaml")
    wait_for_event(terminal, process, "residual_started")
    watched = watch(descendants(process.pid))
    (terminal.runs / "latest").resolve().rename(terminal.runs / "elsewhere")  # at one moment, unlike removing
    _, err = process.communicate(timeout=TIMEOUT_S)
    wait_for_end(watched)
    assert process.returncode == 3
    assert err.startswith("expected the run's folder to stay until the run ends, got "), err
