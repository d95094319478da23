"""`tamperlab` as a user meets it: the report, --json, errors in one line each, two runs at the same time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Terminal


def test_two_runs_at_the_same_time_do_not_meet(terminal: Terminal) -> None:
    """Both are as expected, each in a folder of its own, and `latest` is one of them."""
    both = [terminal.start("run", "starttls-block", "--json") for _ in range(2)]
    results = [json.loads(process.communicate(timeout=90)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    folders = {Path(result["directory"]) for result in results}
    assert len(folders) == 2
    assert (terminal.runs / "latest").resolve() in folders


def test_report_of_a_run_tells_the_story(terminal: Terminal) -> None:
    """Outcomes, the ladder with its forged packets, expectations, and where to look, in 80 columns."""
    done = terminal.type("run", "starttls-block")
    assert done.returncode == 0, done.stderr
    for words in (
        "connection-reset", "no-middlebox", "client sim1", "server mail", "↯ FORGED RST", "◆ STARTTLS", "As expected",
        "two-ended detector finds exactly the forged RSTs", 'smtp.command_line matches "^STARTTLS"',
        "captures/*.pcapng",
    ):  # fmt: skip
        assert words in done.stdout, words
    assert max(map(len, done.stdout.splitlines())) <= 80
    shown = terminal.type("show")
    assert shown.returncode == 0
    assert shown.stdout == done.stdout


def test_run_folder_holds_what_the_contract_names(terminal: Terminal) -> None:
    """Captures of hosts and box, controls apart, events, result, the box's file, the servers' folders."""
    assert terminal.type("run", "starttls-block", "--family", "4").returncode == 0
    (folder,) = terminal.run_folders()
    assert (terminal.runs / "latest").resolve() == folder
    captures = {path.stem for path in (folder / "captures").glob("*.pcapng")}
    assert captures == {"sim1", "mail", "box-inside", "box-outside"}
    assert {path.name for path in (folder / "captures").iterdir() if path.is_dir()} == {
        "control-no-middlebox", "control-other-port",
    }  # fmt: skip
    for name in ("events.jsonl", "result.json", "box.yaml", "services/mail"):
        assert (folder / name).exists(), name


def test_expectation_that_fails_shows_its_packets_and_exits_with_1(terminal: Terminal) -> None:
    """Somebody who expects delivery sees the packets that were in the way, those over IPv6 too, and none twice."""
    scenario = Path(__file__).parents[2] / "scenarios" / "starttls-block" / "scenario.yaml"
    folder = terminal.runs / "hopeful"
    folder.mkdir(mode=0o755)
    text = scenario.read_text().replace("outcome: connection-reset", "outcome: delivered")
    (folder / "scenario.yaml").write_text(text.replace("scenario: starttls-block", "scenario: hopeful"))
    done = terminal.type("run", str(folder / "scenario.yaml"), "--no-controls")
    assert done.returncode == 1, done.stderr
    assert "✗ send ends with delivered: saw connection-reset" in done.stdout
    above, verdict = done.stdout.split("✗ send ends with delivered")
    evidence = verdict.split("✓")[0]
    assert above.count("↯ FORGED RST") == evidence.count("↯ FORGED RST") == 2
    assert evidence.count("the packets drawn above") == 1
    assert "1 expectation failed" in done.stdout or "2 expectations failed" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "startls-block"], 2, "did you mean starttls-block"),
        (["run", "starttls-block", "--family", "5"], 2, "'5'"),
        (["show", "no-such-run"], 2, "expected a finished run"),
        (["profiles", "tmobile-uk-2013"], 2, "tmobile-uk-2012"),
        (["check", "no-such-file.yaml"], 2, "no-such-file.yaml"),
        (
            ["shell", "starttls-block", "--on", "nowhere"],
            2,
            "expected a host of the lab, got 'nowhere'; there are access1",
        ),
    ],
)
def test_mistake_gets_a_message_and_no_traceback(
    arguments: list[str], status: int, words: str, terminal: Terminal
) -> None:
    """What was expected, what was found, what to do next; exit status 2."""
    done = terminal.type(*arguments)
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert list(terminal.runs.iterdir()) == []


@pytest.mark.parametrize("user", ["ordinary"])
def test_run_that_cannot_start_leaves_nothing(user: str, terminal: Terminal) -> None:
    """Postfix needs more user ids than this user has: exit status 3, no folder, `latest` still at the run before."""
    if os.geteuid() != 0:
        pytest.skip(
            "whoever runs the tests may have a range of user ids; CI has real root to become one without"
        )
    assert terminal.type("run", "starttls-block", "--family", "4", "--no-controls").returncode == 0
    before = sorted(terminal.runs.iterdir())
    latest = (terminal.runs / "latest").readlink()
    done = terminal.type("run", "starttls-block", "--mail", "postfix")
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "ostfix" in done.stderr
    assert sorted(terminal.runs.iterdir()) == before
    assert (terminal.runs / "latest").readlink() == latest


def test_shell_runs_commands_on_a_host_and_keeps_the_captures(terminal: Terminal) -> None:
    """At the prompt of a subscriber names resolve and other hosts can be used; the captures are there afterwards."""
    done = terminal.type(
        "shell", "starttls-block", then="on mail ip -o address\ngetent ahosts mail.example\nexit\n"
    )
    assert done.returncode == 0, done.stderr
    assert "You are on sim1" in done.stdout
    assert "mail-eth0    inet 203.0.113.25" in done.stdout
    assert "2001:db8:3::25  STREAM mail.example" in done.stdout
    (folder,) = terminal.run_folders()
    assert (folder / "captures" / "sim1.pcapng").stat().st_size > 0
