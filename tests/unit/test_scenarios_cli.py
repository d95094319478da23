"""The command line without a lab: lists, files to check, old runs, captures to replay, and its manners."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lab import probe
from scenarios.cli import app, guarded
from scenarios.load import scenario_slugs
from scenarios.result import write_result
from scenarios.runs import new_run
from tests.unit.played import result
from tests.unit.staged import starttls_block, write_pcap

ROOT = Path(__file__).parents[2]


def type_(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_cli_list_names_every_scenario_with_its_purpose() -> None:
    """As text and as data."""
    shown = type_("list").output
    assert [slug for slug in scenario_slugs() if slug not in shown] == []
    data = json.loads(type_("list", "--json").output)
    assert [one["scenario"] for one in data] == list(scenario_slugs())
    assert all(one["purpose"] and one["controls"] for one in data)


def test_cli_show_prints_an_old_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The report from result.json alone, and the data itself."""
    monkeypatch.setenv("TAMPERLAB_RUNS", str(tmp_path))
    with new_run("starttls-block") as folder:
        write_result(folder, result(folder))
    assert "↯ FORGED RST" in type_("show").output
    assert json.loads(type_("show", "latest", "--json").output)["scenario"] == "starttls-block"


def test_cli_profiles_lists_and_shows() -> None:
    """All of them, one of them, as text and as data."""
    assert "tmobile-uk-2012" in type_("profiles").output
    assert "cardwell" in type_("profiles", "tmobile-uk-2012").output
    assert json.loads(type_("profiles", "tmobile-uk-2012", "--json").output)["placement"] == "on-path"
    assert len(json.loads(type_("profiles", "--json").output)) >= 3


def test_cli_check_knows_scenarios_from_profiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Good files are called good; a bad one gets its place in the file and exit status 2."""
    good = [ROOT / "scenarios/starttls-block/scenario.yaml", ROOT / "middlebox/profiles/tmobile-uk-2012.yaml"]
    done = type_("check", *map(str, good))
    assert (done.exit_code, done.output.count(": good")) == (0, 2)
    bad = tmp_path / "scenario.yaml"
    bad.write_text(good[0].read_text().replace("purpose:", "porpoise:"))
    done = type_("check", str(bad))
    assert done.exit_code == 2
    assert f"{bad}:2" in done.output
    assert "purpose" in done.output


def test_cli_check_says_which_rules_cannot_be_pasted_into_wireshark() -> None:
    """Those with fields that no capture has, by name, with the fields; the others work there."""
    profiles = ROOT / "middlebox/profiles"
    said = type_("check", str(profiles / "fair-use.yaml")).output
    assert "not for Wireshark, by words of the lab's own:" in said
    assert "fair-use/drop-openvpn: subscriber.bytes, subscriber.quota" in said
    assert "Wireshark" not in type_("check", str(profiles / "tmobile-uk-2012.yaml")).output


def test_cli_check_looks_at_the_boxes_of_a_scenario_and_at_cases_of_residuals() -> None:
    """The one filter of gfw-2024 with a word of the lab's own is a case: named of profile and of scenario."""
    case = "gfw-2024/second-injector, case 1 of its residual: flow.direction"
    for file in ("middlebox/profiles/gfw-2024.yaml", "scenarios/gfw-2024/scenario.yaml"):
        said = type_("check", str(ROOT / file)).output
        assert f"    {case}\n" in said
        assert said.count("gfw-2024/second-injector") == 1


def test_cli_check_as_data_has_a_good_and_a_bad_file(tmp_path: Path) -> None:
    """One object for each file, problems with their places, and nothing else on stdout or stderr."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("profile: bad\nplacement: on-path\nrules: [{name: a, when: tcp.dstprt == 1, do: [log]}]\n")
    done = type_(
        "check", "--json", str(ROOT / "scenarios/gfw-2024/scenario.yaml"), str(bad), "no-such-file.yaml"
    )
    scenario, profile, none = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (2, "")
    assert (scenario["kind"], scenario["good"], scenario["problems"]) == ("scenario", True, [])
    assert scenario["not_for_wireshark"] == [
        {
            "profile": "gfw-2024",
            "filter": "second-injector, case 1 of its residual",
            "fields": ["flow.direction"],
        }
    ]
    assert (profile["kind"], profile["good"], profile["not_for_wireshark"]) == ("profile", False, [])
    [problem] = profile["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(bad), 3, 25)
    assert "tcp.dstport" in problem["text"]
    assert none["problems"][0]["file"] == "no-such-file.yaml"


def test_cli_replay_forges_into_a_capture(tmp_path: Path) -> None:
    """The incident's trigger, read from a file, sets the profile off without any network."""
    stage = starttls_block()
    packets = [c for c in stage.captures["sim1"] if not c.packet.flags & 4]
    capture, out = write_pcap(tmp_path / "in.pcap", packets), tmp_path / "out.pcapng"
    done = type_("replay", str(capture), "--profile", "tmobile-uk-2012", "--output", str(out))
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in (tmp_path / "out.events.jsonl").read_text().splitlines()]
    assert [event["towards"] for event in events if event["event"] == "packet_forged"] == ["client", "server"]


@pytest.mark.parametrize(
    "command", ["list", "run", "show", "profiles", "check", "replay", "shell", "doctor", "bench"]
)
def test_cli_every_command_explains_itself(command: str) -> None:
    """`--help` works everywhere and costs no lab."""
    done = type_(command, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.output


def test_cli_both_ip_versions_of_a_scenario_that_has_one_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started when the choice does not fit."""
    text = (ROOT / "scenarios/starttls-block/scenario.yaml").read_text()
    (tmp_path / "only4").mkdir()
    file = tmp_path / "only4" / "scenario.yaml"
    file.write_text(text.replace("scenario: starttls-block", "scenario: only4\nfamily: ipv4"))
    status = guarded(lambda: app(["run", str(file), "--family", "both"], standalone_mode=False))
    assert status == 2
    assert "expected IPv4 for only4, got 'both'" in capsys.readouterr().err


def test_cli_starts_without_the_libraries_that_cost_time() -> None:
    """A run must not pay for scapy, jinja2 or pytest, nor for setuptools where Python has a distutils of its own."""
    code = "import sys, scenarios.cli, scenarios.runner, scenarios.load, scenarios.report.page; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"scapy", "jinja2", "pytest", "hypothesis"} & set(done.stdout.split())
    assert sys.version_info >= (3, 12) or "setuptools" not in done.stdout.split()


def test_cli_run_on_a_machine_without_a_program_names_its_package(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is started; one line for each thing, with the command that brings it, and exit status 3."""
    monkeypatch.setattr(probe, "PROGRAMS", {"no-such-a": "package-a", "no-such-b": "package-b"})
    with pytest.raises(SystemExit) as exit_info:
        guarded(lambda: app(["run", "starttls-block"]))
    assert exit_info.value.code == 3
    assert capsys.readouterr().err.splitlines() == [
        "expected the program no-such-a, got none; sudo apt-get install package-a",
        "expected the program no-such-b, got none; sudo apt-get install package-b",
    ]
