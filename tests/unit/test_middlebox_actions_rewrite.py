"""`rewrite`: what becomes of a payload."""

from __future__ import annotations

import re

import pytest

from middlebox.actions.rewrite import rewritten_payload
from middlebox.profile import Rewrite, Substitution


def rewrite(*pairs: tuple[bytes, bytes], strip: bool = False) -> Rewrite:
    return Rewrite(
        tuple(Substitution(re.compile(pattern), template) for pattern, template in pairs), strip=strip
    )


@pytest.mark.parametrize(
    ("pattern", "template", "before", "after"),
    [
        (rb"(250[- ])STARTTLS", rb"\1XXXXXXXA", b"250-STARTTLS\r\n250 HELP\r\n", b"250-XXXXXXXA\r\n250 HELP\r\n"),
        (rb"STARTTLS", b"XXXXXXXX", b"STARTTLS\r\n", b"XXXXXXXX\r\n"),
        (rb"250-STARTTLS\r\n", b"", b"250-SIZE 1\r\n250-STARTTLS\r\n250 HELP\r\n", b"250-SIZE 1\r\n250 HELP\r\n"),
        (rb"absent", b"x", b"as it was", b"as it was"),
    ],
)  # fmt: skip
def test_rewrite_replaces_every_match(pattern: bytes, template: bytes, before: bytes, after: bytes) -> None:
    """What a Cisco box does with STARTTLS (Dur15), and what a stripper does with the list of extensions."""
    assert rewritten_payload(rewrite((pattern, template)), before) == after


def test_rewrite_applies_substitutions_in_order() -> None:
    """A later one sees what an earlier one has made."""
    assert rewritten_payload(rewrite((b"a", b"b"), (b"b", b"c")), b"ab") == b"cc"


def test_rewrite_strip_leaves_nothing() -> None:
    """A data packet that becomes a bare RST loses its payload (the TSPU does that)."""
    assert rewritten_payload(rewrite(strip=True), b"secret") == b""
