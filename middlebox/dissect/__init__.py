"""Protocol dissectors: which one reads a flow, and every field that a rule can name.

Adding a protocol: a file with its dissector, and its line below. A mail protocol goes by the server's port, which it
has to itself; the others are found by their first bytes on any other port. TLS is also found inside a mail protocol
after STARTTLS or STLS, and behind an HTTP CONNECT or a SOCKS request.
"""

from __future__ import annotations

from collections.abc import Mapping

from middlebox.dissect.base import (
    Alive,
    DatagramDissector,
    Dissector,
    Fields,
    FieldSpec,
    FieldType,
    Value,
    field_group,
)
from middlebox.dissect.bittorrent import BittorrentDissector
from middlebox.dissect.candidates import one_of
from middlebox.dissect.dns import DnsDatagramDissector, DnsStreamDissector
from middlebox.dissect.dns_message import dns_plan
from middlebox.dissect.gre import GreDissector
from middlebox.dissect.http import HttpDissector, http_plan
from middlebox.dissect.http_message import READS_ALL, HttpReading
from middlebox.dissect.ike import NAT_PORT, EspDissector, IkeDissector
from middlebox.dissect.imap import ImapDissector
from middlebox.dissect.l2tp import L2tpDissector
from middlebox.dissect.openvpn import OpenvpnDatagramDissector, OpenvpnStreamDissector
from middlebox.dissect.pop import PopDissector
from middlebox.dissect.pptp import PptpDissector
from middlebox.dissect.quic import READS_ALL as QUIC_READS_ALL, QuicDissector, QuicReading, quic_plan
from middlebox.dissect.smtp import SmtpDissector
from middlebox.dissect.socks import SocksDissector
from middlebox.dissect.ssh import SshDissector
from middlebox.dissect.text import TextDissector
from middlebox.dissect.tls import TlsDissector, tls_plan
from middlebox.dissect.wireguard import WireguardDissector
from middlebox.packet import PROTOCOL_UDP

PROTOCOL_GRE, PROTOCOL_ESP = 47, 50

_TEXT_PROTOCOLS: tuple[type[TextDissector], ...] = (SmtpDissector, ImapDissector, PopDissector)
# On any TCP port, and with nothing to set but the fields that are wanted.
_BY_FIRST_BYTES = (SshDissector, OpenvpnStreamDissector, PptpDissector, BittorrentDissector)
_DISSECTORS: tuple[type[Dissector], ...] = (
    *_TEXT_PROTOCOLS,
    TlsDissector,
    HttpDissector,
    DnsStreamDissector,
    *_BY_FIRST_BYTES,
    SocksDissector,
    QuicDissector,
    WireguardDissector,
    IkeDissector,
    EspDissector,
    L2tpDissector,
    GreDissector,
)

ALL_FIELDS: Mapping[str, FieldSpec] = {
    name: spec for dissector in _DISSECTORS for name, spec in dissector.FIELDS.items()
}

# Wireshark's. What is not named here is found on any port.
DEFAULT_PORTS: Mapping[str, frozenset[int]] = {
    "smtp": frozenset({25, 587}),
    "imap": frozenset({143}),
    "pop": frozenset({110}),
    "dns": frozenset({53}),
    "isakmp": frozenset({500, 4500}),
    "l2tp": frozenset({1701}),
}


def dissector_for(
    server_port: int,
    wanted: frozenset[str],
    ports: Mapping[str, frozenset[int]],
    *,
    wanted_fields: frozenset[str] | None = None,
    join_records: bool = True,
    http: HttpReading = READS_ALL,
) -> Dissector | None:
    """A new dissector for one TCP flow, or None if nothing that is wanted can be in it.

    wanted: protocol names. ports: server ports of each text protocol. wanted_fields: the fields that rules read, None
    for all; the others cost nothing and are not reported. join_records: see `TlsPlan`. http: see `HttpReading`.
    """
    tls = tls_plan(wanted_fields, join_records=join_records) if "tls" in wanted else None
    for text in _TEXT_PROTOCOLS:
        if server_port in ports.get(text.protocol, ()):
            reads_lines = text.protocol in wanted
            return text(wanted=reads_lines, tls=tls) if reads_lines or tls else None
    parts: list[Dissector] = []
    if "dns" in wanted and server_port in ports.get("dns", ()):
        parts.append(DnsStreamDissector(dns_plan(wanted_fields)))
    if tls:
        parts.append(TlsDissector(tls))
    if "http" in wanted:
        parts.append(HttpDissector(http_plan(wanted_fields, http), tls))
    if "socks" in wanted:
        parts.append(SocksDissector(wanted_fields, tls))
    parts += [dissector(wanted_fields) for dissector in _BY_FIRST_BYTES if dissector.protocol in wanted]
    return one_of(parts)


def datagram_dissector_for(
    protocol: int,
    client_port: int,
    server_port: int,
    wanted: frozenset[str],
    ports: Mapping[str, frozenset[int]],
    *,
    wanted_fields: frozenset[str] | None = None,
    quic: QuicReading = QUIC_READS_ALL,
) -> Dissector | None:
    """A new dissector for one flow of UDP datagrams or of another IP protocol, or None if nothing wanted can be in it.

    protocol: IP protocol number; ports are 0 where it has none. The rest is as in `dissector_for`.
    quic: see `QuicReading`.
    """
    if protocol == PROTOCOL_GRE:
        return GreDissector(wanted_fields) if "gre" in wanted else None
    if protocol == PROTOCOL_ESP:
        return EspDissector(wanted_fields, in_udp=False) if "esp" in wanted else None
    if protocol != PROTOCOL_UDP:
        return None
    parts: list[Dissector] = []
    if "dns" in wanted and server_port in ports.get("dns", ()):
        parts.append(DnsDatagramDissector(dns_plan(wanted_fields)))
    if "quic" in wanted:
        parts.append(QuicDissector(quic_plan(wanted_fields, quic)))
    if "openvpn" in wanted:
        parts.append(OpenvpnDatagramDissector(wanted_fields))
    if "wg" in wanted:
        parts.append(WireguardDissector(wanted_fields))
    if "isakmp" in wanted:
        parts.append(IkeDissector(wanted_fields, on_own_port=server_port in ports.get("isakmp", ())))
    if "esp" in wanted and NAT_PORT in (client_port, server_port):
        parts.append(EspDissector(wanted_fields, in_udp=True))
    if "l2tp" in wanted:
        parts.append(L2tpDissector(wanted_fields, on_own_port=server_port in ports.get("l2tp", ())))
    return one_of(parts)


__all__ = [
    "ALL_FIELDS",
    "DEFAULT_PORTS",
    "Alive",
    "DatagramDissector",
    "Dissector",
    "FieldSpec",
    "FieldType",
    "Fields",
    "HttpReading",
    "QuicReading",
    "Value",
    "datagram_dissector_for",
    "dissector_for",
    "field_group",
]
