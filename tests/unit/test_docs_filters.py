"""docs/filters.md lists every filter that is not for Wireshark, as the code and the tests have it."""

from __future__ import annotations

from pathlib import Path

from middlebox.load import load_profile, profile_names
from scenarios.filecheck import own_words
from scenarios.load import scenario_slugs
from tests.e2e.fields.exempt import AT_ODDS, EXEMPT, PORTS, READ_ONCE

PAGE = Path(__file__).parents[2] / "docs" / "filters.md"


def rows_of(header: str) -> list[str]:
    """The rows of the table that begins with this line."""
    _, _, below = PAGE.read_text(encoding="utf-8").partition(f"{header}\n")
    lines = below.splitlines()[1:]
    return lines[: next(number for number, line in enumerate(lines) if not line.startswith("|"))]


def code(words: list[str]) -> str:
    return "; ".join(f"`{word}`" for word in words)


def own_rows() -> list[str]:
    """A row for each profile and set of fields."""
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for one in own_words(map(load_profile, profile_names())):
        found.setdefault((one.profile, one.fields), []).append(one.filter)
    return [f"| `{name}` | {code(rules)} | {code(list(fields))} |" for (name, fields), rules in found.items()]


def test_filters_page_lists_every_shipped_filter_with_fields_of_our_own() -> None:
    """Rules and cases of residuals, each with what it reads; all others can be pasted into Wireshark."""
    assert rows_of("| profile | rules | fields |") == own_rows()


def test_filters_page_lists_what_is_not_compared_with_tshark() -> None:
    """Each run, each filter and each reason that the comparison in a run leaves out, and no other."""
    exempt = [
        f"| `{slug}` | {code(list(e.filters))} | {e.why} |" for slug, found in EXEMPT.items() for e in found
    ]
    assert rows_of("| run of | profile/rule | since |") == exempt
    assert rows_of("| run of | since |") == [f"| `{slug}` | {why} |" for slug, why in READ_ONCE.items()]
    assert rows_of("| in the run of | since |") == [f"| `{slug}` | {why} |" for slug, why in AT_ODDS.items()]


def test_exempt_runs_are_those_of_scenarios() -> None:
    """A scenario that was renamed takes its exemptions with it."""
    assert {*EXEMPT, *READ_ONCE, *AT_ODDS, *PORTS} <= set(scenario_slugs())
