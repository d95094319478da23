"""The prompt in the lab: says where it is, what there is, and how to reach the other hosts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.lab import Lab
from lab.topology import IspTopology
from scenarios.load import load_scenario
from scenarios.runner import plans
from scenarios.shell import introduction, rc_file


def lab() -> Lab:
    """As much of a lab as the prompt looks at."""
    topology = IspTopology(subscribers=1, servers=["dns", "mail"])
    hosts: dict[str, Any] = {
        name: SimpleNamespace(pid=100 + number, ipv4=node.ends[0].ipv4)
        for number, (name, node) in enumerate(topology.nodes.items())
    }
    return cast(Lab, SimpleNamespace(topology=topology, hosts=hosts))


def test_shell_introduction_names_host_box_and_addresses() -> None:
    """A newcomer sees where he is, what is in the path, and what to try."""
    scenario = load_scenario("starttls-block")
    text = introduction(lab(), "sim1", scenario, plans(scenario)[0])
    for words in (
        "You are on sim1",
        "tmobile-uk-2012",
        "mail 203.0.113.25",
        "Try: ",
        "on mail ss -tn",
        "exit",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("slug", "hint"),
    [
        ("starttls-block", "openssl s_client -connect mail.example:587 -starttls smtp"),
        ("smtps-block", "openssl s_client -connect mail.example:465"),
        ("unaffected", "curl -v http://web.example/"),
        ("gfw-443-2025", "curl -v https://web.example/"),
        ("notice-india", "curl -v --connect-to ::web.example: http://www.blocked.example/"),
        ("gfw-dns", "dig @dns.example blocked.example"),
        ("fair-use", "ping peer.example"),
    ],
)
def test_shell_introduction_has_something_to_try_that_the_scenario_is_about(slug: str, hint: str) -> None:
    """A mail scenario's mail server, a web scenario's page."""
    scenario = load_scenario(slug)
    assert f"Try: {hint}\n" in introduction(lab(), "sim1", scenario, plans(scenario)[0])


def test_shell_finds_the_labs_own_programs_first(tmp_path: Path) -> None:
    """`python -m middlebox` and `tamperlab` are those that the shell was started by."""
    script = tmp_path / "rc"
    script.write_text(rc_file(lab(), "sim1", "starttls-block"))
    done = subprocess.run(
        ["bash", "-c", f"source {script}; command -v python"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(Path(sys.prefix, "bin", "python"))


def test_shell_start_file_is_good_bash(tmp_path: Path) -> None:
    """Prompt and `on HOST COMMAND` are defined; an unknown host is named as such."""
    script = tmp_path / "rc"
    script.write_text(rc_file(lab(), "sim1", "starttls-block"))
    argv = [
        "bash",
        "-c",
        f'source {script}; declare -f on > /dev/null && echo "$PS1 ${{LAB_PIDS[mail]}}"; on nobody ls',
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    pid = lab().hosts["mail"].pid
    assert done.stdout == f"sim1 (starttls-block) \\$  {pid}\n"
    assert "no such host" in done.stderr
