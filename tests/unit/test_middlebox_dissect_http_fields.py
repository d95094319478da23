"""The fields of HTTP and the headers they come from."""

from __future__ import annotations

from middlebox.dissect.http_fields import HEADER_FIELDS, HTTP_FIELDS


def test_every_header_has_a_field() -> None:
    """What is looked up by header name is a field that exists, and the name is as headers are compared."""
    assert set(HEADER_FIELDS.values()) <= HTTP_FIELDS.keys()
    assert all(name == name.lower() for name in HEADER_FIELDS)
    assert HEADER_FIELDS[b"user-agent"] == "http.user_agent"
