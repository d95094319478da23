"""A profile with the source of each of its values, and the list of profiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text
from ruamel.yaml import YAML

from middlebox.profile import CHOSEN, Profile
from scenarios.report.table import broken

NAME_CELLS = 28
"""For the names of values: the longest filter field still stands beside them in 80 columns (chosen)."""

Cells = tuple[str, str, str]
"""Name, value, source."""


def profile_json(profile: Profile) -> dict[str, Any]:
    """The profile as it stands in its file, and for each value where it comes from."""
    written = YAML(typ="safe").load(Path(profile.path).read_text(encoding="utf-8"))
    values = [
        {"path": path, "value": _plain(value_at(written, path)), "source": source}
        for path, source in profile.provenance.items()
    ]
    return {
        "profile": profile.name,
        "title": profile.title,
        "placement": profile.placement.value,
        "path": profile.path,
        "rules": [
            {
                "name": rule.name,
                "when": " ".join(rule.when.text.split()),
                "wireshark": rule.when.needs.wireshark,
                "do": value_at(written, f"rules.{number}.do"),
            }
            for number, rule in enumerate(profile.rules)
        ],
        "sources": [
            {"key": source.key, "what": source.what, "url": source.url} for source in profile.sources
        ],
        "values": values,
    }


def print_profile(console: Console, profile: Profile) -> None:
    """What it does, value by value with the source of each, and the sources."""
    data = profile_json(profile)
    ascii_only = console.options.ascii_only
    console.print(Text.assemble((data["profile"], "bold"), "  ", data["title"]), highlight=False)
    console.print(Text(f"{data['placement']}, {data['path']}", "dim"), highlight=False, soft_wrap=True)
    table = Table(box=box.ASCII if ascii_only else box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("value of", overflow="fold")
    table.add_column("is", overflow="fold")
    table.add_column("says", overflow="fold")
    for heading, rows in _groups(data):
        if heading:
            table.add_row(Text(heading, "bold"))
        for name, value, source in rows:
            lines = "\n".join(f"  {line}" if heading else line for line in broken(name, NAME_CELLS))
            table.add_row(lines, value, Text(source, "dim" if source == CHOSEN else "bold green"))
    console.print(table, highlight=False)
    for source in data["sources"]:
        console.print(Text.assemble((source["key"], "bold green"), f"  {source['what']}"), highlight=False)
        if source["url"]:
            # in one piece, so that it can be clicked and copied
            console.print(Text(f"  {source['url']}", "dim"), highlight=False, soft_wrap=True)
    console.print(Text(f"{CHOSEN}  nobody has published this number", "dim"), highlight=False)


def profiles_table(profiles: Iterable[Profile], *, ascii_only: bool) -> Table:
    """Name, placement, title and number of rules of each."""
    table = Table(box=box.ASCII if ascii_only else box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("profile", "placement", "rules", "title"):
        table.add_column(heading, overflow="fold")
    for profile in profiles:
        name = Text(profile.name, "bold")
        table.add_row(name, profile.placement.value, str(len(profile.rules)), profile.title)
    return table


def value_at(written: Any, path: str) -> Any:
    """The value at `rules.0.when` of a loaded YAML file; None where the file leaves it out."""
    for key in path.split("."):
        written = _uncited(written)
        if isinstance(written, list) and key.isdigit() and int(key) < len(written):
            written = written[int(key)]
        elif isinstance(written, dict) and key in (keys := {str(name): name for name in written}):
            written = written[keys[key]]  # a quantile's name is a number in the file
        else:
            return None
    return written


def words(value: Any) -> str:
    """A value of the file in words: `reset towards both`."""
    value = _plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {words(one)}".strip() for key, one in value.items())
    if isinstance(value, list):
        return "; ".join(words(one) for one in value)
    return "" if value is None else " ".join(str(value).split())


def _groups(data: dict[str, Any]) -> Iterator[tuple[str, list[Cells]]]:
    """Rule by rule, by its name: when, what it then does, and the rest; then what belongs to no rule, without one."""
    rest = {value["path"]: value for value in data["values"]}
    for number, rule in enumerate(data["rules"]):
        prefix = f"rules.{number}."
        own = {path.removeprefix(prefix): rest.pop(path) for path in [*rest] if path.startswith(prefix)}
        when = own.pop("when")
        yield rule["name"], [("when", rule["when"], when["source"]), *_actions(rule["do"], own), *_cells(own)]
    yield "", _cells(rest)


def _actions(do: list[Any], own: dict[str, Any]) -> Iterator[Cells]:
    """One row for each action, in short where rows of its own follow; what does nothing on the wire has no source."""
    for number, action in enumerate(do):
        name = f"do.{number}"
        cited = own.pop(name, {"source": ""})
        told_below = any(path.startswith(f"{name}.") for path in own)
        yield (
            "do" if len(do) == 1 else name,
            words(_in_short(action) if told_below else action),
            cited["source"],
        )


def _in_short(action: Any) -> Any:
    """What kind of action it is, and towards whom."""
    [(kind, parameters)] = _plain(action).items()
    towards = parameters.get("towards") if isinstance(parameters, dict) else None
    return {kind: {"towards": towards} if towards else None}


def _cells(values: dict[str, Any]) -> list[Cells]:
    return [(path, words(value["value"]), value["source"]) for path, value in values.items()]


def _plain(value: Any) -> Any:
    """The value itself, text in one line, without what the file says of sources."""
    value = _uncited(value)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "source"}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return " ".join(value.split()) if isinstance(value, str) else value


def _uncited(value: Any) -> Any:
    """The value, where the file says beside it where it comes from."""
    return value["value"] if isinstance(value, dict) and set(value) == {"value", "source"} else value
