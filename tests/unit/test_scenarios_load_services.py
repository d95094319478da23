"""`services:` as the file writes them."""

from __future__ import annotations

from pathlib import Path

from tests.unit.yaml_files import scenario

REST = """
scenario: x
purpose: to be read
middlebox: none
steps: [{on: sim1, client: smtplib-submission, as: send}]
expect: [{step: send, outcome: rejected}]
services: """


def test_services_settings_stand_beside_the_program(tmp_path: Path) -> None:
    """What is set otherwise than usual is kept; the usual value, written out, is as if it were not."""
    mail = "{program: postfix, starttls: broken, recipients: taken}"
    text = f"{{mail: {mail}, provider: {{recipients: unknown}}, peer: slow}}"
    loaded = scenario(tmp_path, REST + text)
    assert loaded.services == {"mail": "postfix", "provider": "embedded", "peer": "slow"}
    assert loaded.settings == {"mail": {"starttls": "broken"}, "provider": {"recipients": "unknown"}}


def test_services_by_program_alone_have_no_settings(tmp_path: Path) -> None:
    """The short form is the usual server."""
    assert scenario(tmp_path, REST + "{mail: embedded}").settings == {}
