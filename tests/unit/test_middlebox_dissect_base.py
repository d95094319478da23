"""The words that all dissectors share."""

from __future__ import annotations

import pytest

from middlebox.dissect.base import Fields, add, field_group


def test_add_appends_values_in_order() -> None:
    """A field that occurs twice has both values, the first one first."""
    fields: Fields = {}
    add(fields, "smtp.response.code", 250)
    add(fields, "smtp.response.code", 354)
    assert fields == {"smtp.response.code": [250, 354]}


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("smtp", "smtp"),
        ("smtp.req.command", "smtp"),
        ("tls", "tls"),
        ("tls.record.version", "tls"),
        ("tls.alert_message.desc", "tls"),
        ("tls.handshake.type", "tls.handshake"),
        ("tls.handshake.extensions_server_name", "tls.handshake"),
    ],
)
def test_field_group_sets_the_handshake_apart(name: str, group: str) -> None:
    """A field's group is its protocol, but handshake fields of TLS are a group of their own."""
    assert field_group(name) == group
