"""Protocol dissectors: which one reads a flow, and every field that a rule can name.

Adding a protocol: a file with its dissector, and its line below. A text protocol goes by the server's port; TLS is
found by its first bytes on any other port, and inside a text protocol after STARTTLS or STLS.
"""

from __future__ import annotations

from collections.abc import Mapping

from middlebox.dissect.base import Alive, Dissector, Fields, FieldSpec, FieldType, Value, field_group
from middlebox.dissect.imap import ImapDissector
from middlebox.dissect.pop import PopDissector
from middlebox.dissect.smtp import SmtpDissector
from middlebox.dissect.text import TextDissector
from middlebox.dissect.tls import TlsDissector, tls_plan

_TEXT_PROTOCOLS: tuple[type[TextDissector], ...] = (SmtpDissector, ImapDissector, PopDissector)
_DISSECTORS: tuple[type[Dissector], ...] = (*_TEXT_PROTOCOLS, TlsDissector)

ALL_FIELDS: Mapping[str, FieldSpec] = {
    name: spec for dissector in _DISSECTORS for name, spec in dissector.FIELDS.items()
}

# Wireshark's. TLS is found on any port.
DEFAULT_PORTS: Mapping[str, frozenset[int]] = {
    "smtp": frozenset({25, 587}),
    "imap": frozenset({143}),
    "pop": frozenset({110}),
}


def dissector_for(
    server_port: int,
    wanted: frozenset[str],
    ports: Mapping[str, frozenset[int]],
    *,
    wanted_fields: frozenset[str] | None = None,
    join_records: bool = True,
) -> Dissector | None:
    """A new dissector for one flow, or None if nothing that is wanted can be in it.

    wanted: protocol names. ports: server ports of each text protocol. wanted_fields: the fields that rules read, None
    for all; the others cost nothing and are not reported. join_records: see `TlsPlan`.
    """
    tls = tls_plan(wanted_fields, join_records=join_records) if "tls" in wanted else None
    for text in _TEXT_PROTOCOLS:
        if server_port in ports.get(text.protocol, ()):
            reads_lines = text.protocol in wanted
            return text(wanted=reads_lines, tls=tls) if reads_lines or tls else None
    return TlsDissector(tls) if tls else None


__all__ = [
    "ALL_FIELDS",
    "DEFAULT_PORTS",
    "Alive",
    "Dissector",
    "FieldSpec",
    "FieldType",
    "Fields",
    "Value",
    "dissector_for",
    "field_group",
]
