"""Names and types: what loads makes sense, what does not is told apart and explained."""

from __future__ import annotations

import pytest

from middlebox.packet import PSH, SYN, Packet
from tests.unit.filter_kit import error_of, matches, tcp, udp


@pytest.mark.parametrize(
    ("text", "offset", "message"),
    [
        ("tcp.prot == 80", 0, "expected a field, got 'tcp.prot'; did you mean tcp.port?"),
        ('smtp.req.comand == "QUIT"', 0, "did you mean smtp.req.command?"),
        ("nonsense.field", 0, "see docs/filters.md"),
        ("tcp.seq == 1", 0, "write tcp.seq_raw"),
        ("tcp.srcport == tcp.ack", 15, "write tcp.ack_raw"),
        ("tcp.window_size == 1", 0, "write tcp.window_size_value"),
        ("tcp.flags.rst", 0, "write tcp.flags.reset"),
        ("frame.number == 1", 0, "write flow.packets"),
        ('tcp.port == "80"', 12, "expected a number for tcp.port, got '80'"),
        ("tcp.port == telnet", 12, "expected a number for tcp.port, got 'telnet'"),
        ("tcp.port == tcp.prot", 12, "did you mean tcp.port?"),
        ("smtp.req.command == 5", 20, "expected text in double quotes for smtp.req.command, got '5'"),
        ("smtp.req.command == EHLO", 20, "expected text in double quotes"),
        ("tcp.flags.syn == yes", 17, "expected a boolean"),
        ("tcp.payload == hello", 15, "expected bytes such as 16:03:01"),
        ("ip.src == 2001:db8::1", 10, "expected an IPv4 address or prefix for ip.src"),
        ("ip.src == ipv6.src", 10, "expected an IPv4 address or prefix for ip.src, got ipv6.src"),
        ("tcp.port == ip.src", 12, "expected a number for tcp.port, got ip.src"),
        ("80 == tcp.port", 0, "put the field first"),
        ('"a" == smtp.req.command', 0, "put the field first"),
        ("tcp.port == 65536", 12, "expected a number from 0 to 65535 for tcp.port, got 65536"),
        ("ip.ttl in {1..256}", 14, "expected a number from 0 to 255 for ip.ttl, got 256"),
        ("tcp.port in {90..80}", 13, "swap its ends"),
        ("tcp.port in {udp.port}", 13, "write == for it"),
        ("ip.src in {10.0.0.0/8..10.0.0.9}", 11, "two single values around .."),
        ("tcp.flags.syn in {0..1}", 18, "got a range"),
        ("tcp.payload[0] in {1}", 11, "compare with == instead"),
        ("ip.ttl[0] == 5", 6, "expected text, bytes or an address before [ ], got ip.ttl"),
        ("tcp.port[0] == 5", 8, "which is a number"),
        ("ip.ttl contains 5", 0, "expected text or bytes on the left of contains, got ip.ttl"),
        ('ip.src matches "1"', 0, "expected text or bytes on the left of matches"),
        ("tcp.payload contains smtp.req.command", 21, "after contains"),
        ("len(tcp.payload)", 0, "write len(x) > 0"),
        ("len(tcp.port) == 2", 4, "expected text or bytes in len()"),
        ('upper(tcp.payload) == "A"', 6, "expected text in upper()"),
        ('uper(smtp.req.command) == "A"', 0, "did you mean upper?"),
        ("count(tcp.port) == 2", 0, "the functions are upper, lower, len"),
        ("len(tcp.payload[0:2]) == 2", 15, "expected a field in len()"),
        ("tcp.flags.syn + 1 == 2", 14, "expected a number for +"),
        ("ip.src + 1 == 2", 7, "expected a number for +"),
        ("tcp.port / 0 == 1", 11, "expected anything but 0 after /"),
        ("tcp.port == 1 / 0", 14, "expected anything but 0 after /"),
        ('tcp.port == "a" + 1', 12, "expected a number"),
        ("ip.src == 1 + 1", 12, "got arithmetic"),
        ('flow.direction == "up"', 18, '"client-to-server" or "server-to-client"'),
        ('flow.direction > "client-to-server"', 15, "expected == or != for flow.direction"),
        ("udp == 1", 4, "write udp[0:4]"),
        ("payload.popcount > many", 19, "expected a decimal number"),
    ],
)
def test_mistake_is_shown_with_its_place_and_a_way_out(text: str, offset: int, message: str) -> None:
    """A filter that makes no sense does not load, and says which word is the trouble."""
    error = error_of(text)
    assert message in error.message
    assert error.offset == offset


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("tcp.port == 0x1bb", tcp(dport=443)),
        ("tcp.port == 0b11", tcp(dport=3)),
        ("tcp.port == 0110", tcp(dport=0o110)),
        ("ip.ttl == 'a'", tcp(ttl=ord("a"))),
        ("tcp.flags.syn == True and tcp.flags.ack == FALSE", tcp(flags=SYN)),
        ("tcp.dstport - 100 == -20", tcp(dport=80)),
        ("tcp.dstport == 40 + 40", tcp(dport=80)),
        ("-tcp.dstport == -80", tcp(dport=80)),
        ("tcp.payload[0] == 16 and tcp.payload[1] == 'G' and tcp.payload[2] == \"E\"", tcp(b"\x16GE")),
        ("udp.payload[0] & 80", udp(b"\x80")),
        ("payload.popcount > 3 and payload.popcount < 4.6", tcp(b"\x0f")),
        ('flow.direction in {"client-to-server"}', tcp()),
        ("tcp.srcport == tcp.dstport", tcp(sport=80, dport=80)),
        ("tcp.flags.syn == tcp.flags.ack", tcp(flags=PSH)),
        ("smtp.req.command contains smtp.req.parameter", tcp()),
        ("ip.src in {10.0.0.0/8, 192.0.2.1, 192.0.2.4..192.0.2.9}", tcp(src="192.0.2.5")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_wireshark_allows_loads(text: str, packet: Packet) -> None:
    """Every form of number, boolean, byte and address that the language has, each true of the packet that it names."""
    assert matches(text, packet, {"smtp.req.command": ["EHLO"], "smtp.req.parameter": ["HL"]})
