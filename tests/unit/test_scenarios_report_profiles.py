"""A profile on the screen: every value with who says so."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from middlebox.load import load_profile, profile_names
from scenarios.report.profiles import print_profile, profile_json, profiles_table, value_at, words


def drawn(what: object = None, *, name: str | None = None) -> str:
    file = io.StringIO()
    console = Console(file=file, width=100, color_system=None)
    if name is None:
        console.print(what)
    else:
        print_profile(console, load_profile(name))
    return file.getvalue()


def test_profiles_every_value_has_its_source() -> None:
    """A published fact names who published it, a number that nobody published is called chosen."""
    data = profile_json(load_profile("tmobile-uk-2012"))
    sources = {value["path"]: value["source"] for value in data["values"]}
    assert sources["rules.1.when"] == "cardwell"
    assert sources["defaults.look.ip_id"] == "chosen"
    assert {key for key in sources.values() if key != "chosen"} <= {
        source["key"] for source in data["sources"]
    }


@pytest.mark.parametrize("name", profile_names())
def test_profiles_each_is_shown_whole(name: str) -> None:
    """Every shipped profile can be shown, on the screen and as JSON."""
    profile = load_profile(name)
    text = drawn(name=name)
    assert profile.title.split()[0] in text
    assert all(rule.name in text for rule in profile.rules)
    assert json.loads(json.dumps(profile_json(profile)))["profile"] == profile.name


def test_profiles_rules_say_what_they_do() -> None:
    """The action stands beside the trigger."""
    data = profile_json(load_profile("tmobile-uk-2012"))
    assert data["rules"][0]["do"] == [{"reset": {"towards": "both"}}]
    assert "reset towards both" in drawn(name="tmobile-uk-2012")


def test_profiles_rule_is_read_from_when_to_do() -> None:
    """The trigger, then what it sets off, then the next rule; what belongs to no rule comes last."""
    wanted = [
        "reset-both-on-smtps",
        "when",
        "do",
        "reset-both-on-starttls",
        "when",
        "do",
        "defaults.look.count",
    ]
    names = [line.split()[0] for line in drawn(name="tmobile-uk-2012").splitlines() if line.strip()]
    assert [name for name in names if name in wanted] == wanted


def test_profiles_addresses_of_sources_are_in_one_piece() -> None:
    """However narrow the terminal, an address can be clicked and copied."""
    file = io.StringIO()
    profile = load_profile("tmobile-uk-2012")
    print_profile(Console(file=file, width=40, color_system=None), profile)
    addresses = {source.url for source in profile.sources if source.url}
    assert addresses <= set(file.getvalue().split())


def test_profiles_table_has_all_of_them() -> None:
    """One row each."""
    profiles = [load_profile(name) for name in profile_names()]
    text = drawn(profiles_table(profiles, ascii_only=False))
    assert all(name in text for name in profile_names())


def test_profiles_value_that_the_file_leaves_out_is_none() -> None:
    """A path leads to the value in the file, or nowhere."""
    written = {"rules": [{"when": "tcp", "do": [{"reset": {}}]}]}
    assert value_at(written, "rules.0.when") == "tcp"
    assert value_at(written, "rules.1.when") is None
    assert value_at(written, "rules.0.look.ttl") is None


def test_profile_value_with_its_source_beside_it_is_shown_as_the_value() -> None:
    """`{value: X, source: KEY}` is how a file cites one value; the source has a column of its own."""
    assert words({"value": 0, "source": "chosen"}) == "0"
    assert words({"seq": {"value": "trigger-ack", "source": "GFWREV"}}) == "seq trigger-ack"
    shown = {one["path"]: one["value"] for one in profile_json(load_profile("gfw-2010"))["values"]}
    assert shown["defaults.look.tos"] == 0
    assert shown["rules.0.do.0.reset.to_client.seq"] == "trigger-ack"


@pytest.mark.parametrize("name", profile_names())
def test_profile_shows_no_value_without_saying_what_it_is(name: str) -> None:
    """Whatever has a source has a value, in a list that is cited as a whole too."""
    assert [one["path"] for one in profile_json(load_profile(name))["values"] if one["value"] is None] == []
