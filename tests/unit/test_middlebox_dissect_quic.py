"""QUIC: hellos in Initials however they are cut, coalesced packets, and what is no QUIC."""

from __future__ import annotations

import pytest

from middlebox.dissect.quic import MAX_CRYPTO_PIECES, READS_ALL, QuicDissector, QuicReading, quic_plan
from tests.unit.dissect_talk import DEAD, C, S, feed
from tests.unit.quic_bytes import CLIENT_ID, V1, V2, crypto, initial
from tests.unit.tls_bytes import client_hello, server_hello

SNI = "tls.handshake.extensions_server_name"
SHORT = b"\x40" + bytes(30)
HELLO = client_hello("web.example")


def quic(*fields: str, reading: QuicReading = READS_ALL) -> QuicDissector:
    return QuicDissector(quic_plan(frozenset(fields) if fields else None, reading))


def padded(frames: bytes) -> bytes:
    return frames.ljust(1162, b"\x00")


@pytest.mark.parametrize("version", [V1, V2])
def test_name_in_the_initial_is_found(version: int) -> None:
    """The SNI of a ClientHello in one Initial, in both versions, beside the header that anybody can read."""
    fields = feed(quic(), C, initial(padded(crypto(0, HELLO)), version=version, scid=b"abc", number=7))
    assert fields[SNI] == ["web.example"]
    assert fields["quic.version"] == [version]
    assert fields["quic.dcid"] == [CLIENT_ID]
    assert fields["quic.scid"] == [b"abc"]
    assert fields["quic.packet_number"] == [7]
    assert fields["quic.frame_type"] == [6, 0]


def test_frames_of_one_packet_may_come_in_any_order() -> None:
    """Browsers cut the hello into frames and shuffle them, with padding and pings between."""
    pieces = [crypto(40, HELLO[40:]), b"\x00\x01", crypto(0, HELLO[:10]), b"\x01", crypto(5, HELLO[5:40])]
    assert feed(quic(), C, initial(padded(b"".join(pieces))))[SNI] == ["web.example"]


def test_hello_over_two_initials_is_joined() -> None:
    """The name comes with the packet that completes the hello, whichever of the two came first."""
    first, second = crypto(0, HELLO[:50]), crypto(50, HELLO[50:])
    for order in ([first, second], [second, first]):
        dissector = quic()
        assert SNI not in feed(dissector, C, initial(padded(order[0])))
        assert feed(dissector, C, initial(padded(order[1]), number=1))[SNI] == ["web.example"]


def test_hello_over_two_initials_is_missed_by_a_box_that_does_not_join() -> None:
    """The Great Firewall reads each Initial for itself (USENIX25): a hello over two of them passes."""
    dissector = quic(reading=QuicReading(join_initials=False))
    fields = feed(
        dissector,
        C,
        initial(padded(crypto(0, HELLO[:50]))),
        initial(padded(crypto(50, HELLO[50:])), number=1),
    )
    assert SNI not in fields
    assert feed(dissector, C, initial(padded(crypto(0, HELLO)), number=2))[SNI] == ["web.example"]


def test_datagram_beforehand_hides_the_hello_from_an_impatient_box() -> None:
    """With patience 1 one datagram of anything else ends the reading of the flow (quic-sni); else it does not."""
    hello = initial(padded(crypto(0, HELLO)))
    impatient = quic(reading=QuicReading(patience=1))
    assert not feed(impatient, C, b"anything", hello)
    assert impatient.alive == DEAD
    assert feed(quic(), C, b"anything", hello)[SNI] == ["web.example"]


def test_coalesced_packets_are_all_read() -> None:
    """An Initial and a second one in the same datagram are two packets; zeros behind them are none."""
    datagram = initial(crypto(0, HELLO)) + initial(b"\x01" * 20, number=1) + bytes(100)
    fields = feed(quic(), C, datagram)
    assert fields["quic.packet_number"] == [0, 1]
    assert sum(int(size) for size in fields["quic.packet_length"]) == len(datagram) - 100


def test_server_initial_is_opened_with_the_client_s_connection_id() -> None:
    """The ServerHello is found although the server writes other connection IDs."""
    dissector = quic()
    feed(dissector, C, initial(padded(crypto(0, HELLO)), scid=b"client"))
    reply = initial(crypto(0, server_hello()), dcid=b"client", scid=b"server", sender="server")
    assert feed(dissector, S, reply)["tls.handshake.type"] == [2]
    closed = quic(reading=QuicReading(opens_server=False))
    feed(closed, C, initial(padded(crypto(0, HELLO)), scid=b"client"))
    assert "tls.handshake.type" not in feed(closed, S, reply)


def test_keys_change_after_a_retry() -> None:
    """The client's second Initial is sent to the ID that the server chose, and its keys follow from that."""
    dissector = quic()
    feed(dissector, C, initial(padded(crypto(0, HELLO[:20]))))
    again = initial(
        padded(crypto(0, HELLO)), keys_from=b"retried!", dcid=b"retried!", token=b"token", number=1
    )
    fields = feed(dissector, C, again)
    assert fields[SNI] == ["web.example"]
    assert fields["quic.token_length"] == [5]


def test_short_header_ends_the_handshake() -> None:
    """After the first packet of the established connection a rule on the name lets the flow go."""
    dissector = quic(SNI)
    assert dissector.alive == ({"tls.handshake"}, {"tls.handshake"})
    assert feed(dissector, C, initial(padded(crypto(0, HELLO)))) == {SNI: ["web.example"]}
    feed(dissector, C, SHORT)
    assert dissector.alive == (frozenset(), {"tls.handshake"})
    feed(dissector, S, SHORT)
    assert dissector.alive == DEAD


def test_rule_on_quic_itself_sees_every_packet() -> None:
    """Whoever asks for `quic` gets the short headers too."""
    dissector = quic("quic")
    feed(dissector, C, initial(padded(crypto(0, HELLO))), SHORT)
    assert feed(dissector, C, SHORT) == {"quic": [True]}


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        SHORT,
        b"\x80",
        b"\xc0\x12\x34\x56\x78" + bytes(40),
        b"\xc0\x00\x00\x00\x01\xff" + bytes(40),
        bytes(200),
    ],
)
def test_what_is_no_quic_is_given_up_in_the_end(datagram: bytes) -> None:
    """Short headers without a long one before, unknown versions and long connection IDs are no QUIC."""
    dissector = quic()
    assert not feed(dissector, C, *[datagram] * READS_ALL.patience)
    assert dissector.alive == DEAD


def test_pieces_without_a_beginning_are_kept_within_limits() -> None:
    """A client that never sends offset 0 does not fill the memory, and can still be read when it does."""
    dissector = quic()
    for number in range(4 * MAX_CRYPTO_PIECES):
        feed(dissector, C, initial(crypto(1000 + 2 * number, b"x"), number=number))
    kept = dissector._halves[C].early
    assert len(kept) <= MAX_CRYPTO_PIECES
    assert feed(dissector, C, initial(crypto(0, HELLO), number=4 * MAX_CRYPTO_PIECES))[SNI] == ["web.example"]
