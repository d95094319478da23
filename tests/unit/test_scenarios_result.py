"""result.json: all of a run as data, one schema, written in one move."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scenarios.errors import ArgumentError
from scenarios.result import about, read_result, write_result
from tests.unit.played import RULE, record, result


def test_result_says_everything_the_report_needs(tmp_path: Path) -> None:
    """Worlds, plays, steps with flows and ladders, checks, findings, filters; JSON and nothing else."""
    data = json.loads(json.dumps(result(tmp_path)))
    assert (data["schema"], data["scenario"], data["seed"], data["exit_status"]) == (
        1,
        "starttls-block",
        7,
        0,
    )
    main, control = data["worlds"]
    assert (main["control"], control["control"]) == (False, True)
    assert [play["family"] for play in main["plays"]] == [4, 6]
    (step,) = main["plays"][0]["steps"]
    assert step["outcome"] == "connection-reset"
    (flow,) = step["flows"]
    assert (flow["client"], flow["server_port"]) == ("192.0.2.11", 587)
    assert [row["forged_by"] for row in flow["ladder"] if row["forged_by"]] == [RULE, RULE]
    assert len(main["findings"]) == 4
    assert control["findings"] == []
    assert main["events"] == {"rule_matched": 2, "packet_forged": 4}


def test_result_names_the_filter_that_shows_the_trigger(tmp_path: Path) -> None:
    """The rule that matched, its own words, and that Wireshark can read them; rules that never matched are left out."""
    (rule,) = result(tmp_path)["filters"]
    assert rule["rule"] == RULE
    assert rule["when"] == 'tcp.dstport == 587 and smtp.command_line matches "^STARTTLS"'
    assert rule["wireshark"] is True


@pytest.mark.parametrize(
    ("problems", "expected", "status"),
    [
        ([], "connection-reset", 0),
        ([], "delivered", 1),
        (["the box died"], "connection-reset", 4),
        (["x"], "delivered", 4),
    ],
)
def test_result_exit_status_is_invalid_before_failed_before_good(
    problems: list[str], expected: str, status: int, tmp_path: Path
) -> None:
    """A run in which the box failed is invalid, whatever else it shows."""
    run = record(tmp_path, expected=expected)
    run.worlds[0].problems = problems
    assert run.exit_status == status


def test_result_written_and_read_is_the_same(tmp_path: Path) -> None:
    """Nothing else is left in the folder, and the file reads back."""
    data = result(tmp_path)
    assert write_result(tmp_path, data) == tmp_path / "result.json"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
    assert read_result(tmp_path) == json.loads(json.dumps(data))


def test_result_of_another_schema_is_refused(tmp_path: Path) -> None:
    """A run of another version of the lab is not misread."""
    write_result(tmp_path, result(tmp_path) | {"schema": 99})
    with pytest.raises(ArgumentError, match=r"expected schema 1 .* got 99; run it again"):
        read_result(tmp_path)


def test_result_about_is_the_first_paragraph_of_the_readme(tmp_path: Path) -> None:
    """Headings are passed over, lines are joined; no README, no words."""
    assert about(str(tmp_path / "scenario.yaml")) == ""
    (tmp_path / "README.md").write_text("# title\n\nIt breaks\nat once.\n\nMore.\n")
    assert about(str(tmp_path / "scenario.yaml")) == "It breaks at once."


def test_result_is_not_about_what_happens_to_lie_beside_the_file(tmp_path: Path) -> None:
    """A scenario of one's own, saved in a project's folder, is not explained by the project's README."""
    (tmp_path / "README.md").write_text("# project\n\nSells carrots.\n")
    assert about(str(tmp_path / "my-scenario.yaml")) == ""
