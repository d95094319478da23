"""docs/scenarios.md names every client and every outcome that a scenario can name."""

from __future__ import annotations

import re
from pathlib import Path

from lab.clients.base import Outcome
from lab.clients.registry import CLIENTS

PAGE = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without its own first two lines."""
    section = PAGE.partition(f"\n### {heading}\n")[2].partition("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_docs_list_every_client_with_its_port() -> None:
    """No client is a secret of the source, and none is promised that there is not."""
    listed = {name: port for names, port, _ in rows("Clients") for name in re.findall(r"`([^`]+)`", names)}
    ports = {client.name: str(client.port) for client in CLIENTS.values()}
    assert listed == ports | {"probe-ip": ""}  # what it sends has no ports


def test_docs_list_every_outcome() -> None:
    """The words of `outcome:` are all explained."""
    assert {cells[0].strip("`") for cells in rows("Outcomes")} == {outcome.value for outcome in Outcome}
