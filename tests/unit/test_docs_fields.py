"""docs/fields.md names every field that a dissector offers, as the code describes it."""

from __future__ import annotations

from pathlib import Path

from middlebox.dissect import ALL_FIELDS

PAGE = Path(__file__).parents[2] / "docs" / "fields.md"


def row(name: str) -> str:
    spec = ALL_FIELDS[name]
    sender = "" if spec.sent_by is None else spec.sent_by.word.partition("-")[0]
    return f"| `{name}` | {spec.type.value} | {sender} | {spec.description} |"


def test_fields_page_has_every_field_and_no_other() -> None:
    """Each row is what the code says, in the order of the code; what is missing can be copied from the message."""
    shown = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    wanted = list(map(row, ALL_FIELDS))
    assert not [line for line in wanted if line not in shown], "missing"
    assert not [line for line in shown if line not in wanted], "stale"
    assert shown == wanted
