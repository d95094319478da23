"""Which dissector reads a flow."""

from __future__ import annotations

import pytest

from middlebox.dissect import (
    ALL_FIELDS,
    DEFAULT_PORTS,
    Dissector,
    FieldType,
    datagram_dissector_for,
    dissector_for,
)


@pytest.mark.parametrize(
    ("port", "wanted", "protocol"),
    [
        (587, {"smtp"}, "smtp"),
        (25, {"smtp", "tls"}, "smtp"),
        (143, {"imap"}, "imap"),
        (110, {"pop"}, "pop"),
        (587, {"tls"}, "smtp"),
        (143, {"tls"}, "imap"),
        (465, {"smtp", "tls"}, "tls"),
        (993, {"tls"}, "tls"),
        (4711, {"tls"}, "tls"),
    ],
)
def test_protocol_goes_by_port_and_tls_is_everywhere(port: int, wanted: set[str], protocol: str) -> None:
    """A text protocol is read on its ports, also for the TLS inside it; TLS on all the others."""
    dissector = dissector_for(port, frozenset(wanted), DEFAULT_PORTS)
    assert dissector is not None
    assert dissector.protocol == protocol


@pytest.mark.parametrize(("port", "wanted"), [(587, {"imap"}), (80, {"smtp"}), (443, set[str]())])
def test_flow_in_which_nothing_wanted_can_be_has_no_dissector(port: int, wanted: set[str]) -> None:
    """Nobody reads a flow in vain."""
    assert dissector_for(port, frozenset(wanted), DEFAULT_PORTS) is None


def groups(dissector: Dissector | None) -> set[str]:
    """What such a flow can be."""
    return set() if dissector is None else {group for alive in dissector.alive for group in alive}


@pytest.mark.parametrize(
    ("protocol", "client_port", "server_port", "found"),
    [
        (17, 40000, 53, {"dns", "quic", "wg"}),
        (17, 40000, 443, {"quic", "wg"}),
        (17, 4500, 4500, {"quic", "wg", "esp"}),
        (47, 0, 0, {"gre"}),
        (50, 0, 0, {"esp"}),
        (1, 0, 0, set[str]()),
    ],
)
def test_datagrams_go_by_protocol_and_port(
    protocol: int, client_port: int, server_port: int, found: set[str]
) -> None:
    """UDP can be several things until its first datagrams decide; other IP protocols are one."""
    wanted = frozenset({"dns", "quic", "wg", "gre", "esp"})
    dissector = datagram_dissector_for(
        protocol, client_port, server_port, wanted, DEFAULT_PORTS, wanted_fields=frozenset(wanted)
    )
    assert groups(dissector) == found


def test_what_is_not_wanted_is_not_looked_for() -> None:
    """A rule on GRE alone leaves UDP and ESP alone."""
    for protocol in (17, 50):
        assert datagram_dissector_for(protocol, 1, 2, frozenset({"gre"}), DEFAULT_PORTS) is None


def test_mail_ports_belong_to_mail() -> None:
    """HTTP on port 25 is not looked for; on port 80 it is, beside TLS."""
    assert dissector_for(25, frozenset({"http"}), DEFAULT_PORTS) is None
    assert groups(dissector_for(80, frozenset({"http", "tls"}), DEFAULT_PORTS)) == {
        "http",
        "tls",
        "tls.handshake",
    }


def test_ports_of_a_profile_replace_the_defaults() -> None:
    """SMTP is found on the port that the profile names, and only there."""
    ports = {"smtp": frozenset({2525})}
    assert dissector_for(2525, frozenset({"smtp"}), ports) is not None
    assert dissector_for(587, frozenset({"smtp"}), ports) is None


def test_only_groups_of_wanted_fields_are_alive() -> None:
    """A rule on the name in the hello alone lets the flow go when the handshake is over."""
    wanted = frozenset({"tls.handshake.extensions_server_name", "tcp.dstport"})
    dissector = dissector_for(443, frozenset({"tls"}), DEFAULT_PORTS, wanted_fields=wanted)
    assert dissector is not None
    assert dissector.alive == ({"tls.handshake"}, {"tls.handshake"})


def test_every_protocol_is_a_field_of_its_own() -> None:
    """The bare name of a protocol can stand in a rule."""
    for protocol in {name.partition(".")[0] for name in ALL_FIELDS}:
        assert ALL_FIELDS[protocol].type is FieldType.BOOL
