"""`wire:` expectations as the file writes them."""

from __future__ import annotations

from pathlib import Path

from scenarios.model import Count, ExpectWire
from tests.unit.yaml_files import scenario

HEAD = """
scenario: x
purpose: to be read
middlebox: none
steps: [{on: sim1, client: smtplib-submission, as: send}]
expect:
  - {step: send, outcome: rejected}
"""


def test_wire_expectation_has_everything_the_file_says(tmp_path: Path) -> None:
    """Each key, and what is meant where it is left out."""
    text = """
  - {wire: rst, from: server}
  - {wire: pause, at_least: 1500ms, from: client, stage: data, capture: server, step: send, count: "<=2"}
  - {wire: line, text: "454 ", from: server, capture: mail, count: 1}
"""
    assert scenario(tmp_path, HEAD + text).expect[1:] == (
        ExpectWire("rst", "server", Count(1, None, ">=1")),
        ExpectWire(
            "pause", "client", Count(0, 2, "<=2"), stage="data", capture="server", step="send",
            at_least_ns=1_500_000_000,
        ),
        ExpectWire("line", "server", Count(1, 1, "1"), capture="mail", text="454 "),
    )  # fmt: skip
