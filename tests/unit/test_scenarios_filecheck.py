"""What `tamperlab check` finds in a file."""

from __future__ import annotations

from pathlib import Path

from scenarios.filecheck import check_file
from scenarios.load import SCENARIOS

PROFILE = """profile: mine
placement: on-path
rules:
  - name: reset-first
    when: flow.data_packets == 1
    do: [reset]
    residual:
      key: [client_ip]
      for: 10s
      do:
        - {when: flow.direction == "client-to-server", do: [reset]}
        - {when: tcp.flags.syn == 1, do: [reset]}
  - {name: reset-all, when: tcp.port == 25, do: [reset]}
"""


def test_profile_is_told_which_filters_are_not_for_wireshark(tmp_path: Path) -> None:
    """A rule's own filter and a case of its residual, each with its fields; what Wireshark knows is not named."""
    file = tmp_path / "mine.yaml"
    file.write_text(PROFILE, encoding="utf-8")
    checked = check_file(file)
    assert (checked.kind, checked.problems) == ("profile", ())
    assert [str(one) for one in checked.own] == [
        "mine/reset-first: flow.data_packets",
        "mine/reset-first, case 1 of its residual: flow.direction",
    ]


def test_scenario_is_told_those_of_all_its_boxes() -> None:
    """By its folder as well as by its file."""
    for file in (SCENARIOS / "gfw-esni", SCENARIOS / "gfw-esni" / "scenario.yaml"):
        checked = check_file(file)
        assert (checked.kind, checked.problems) == ("scenario", ())
        assert {"gfw-esni", "gfw-esni-third-place"} == {one.profile for one in checked.own}


def test_wrong_file_has_its_problems_as_data(tmp_path: Path) -> None:
    """Line and column of each, for a program."""
    file = tmp_path / "mine.yaml"
    file.write_text(PROFILE.replace("on-path", "beside"), encoding="utf-8")
    found = check_file(file).as_json()
    assert (found["good"], found["not_for_wireshark"]) == (False, [])
    [problem] = found["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == (str(file), 2, 12)
