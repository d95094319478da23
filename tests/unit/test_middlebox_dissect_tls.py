"""TLS: records and handshake messages over segments and over each other, and when they end."""

from __future__ import annotations

import sys

import pytest

from middlebox.dissect import Fields
from middlebox.dissect.tls import MAX_HANDSHAKE_BYTES, MAX_RECORD_BYTES, TlsDissector, tls_plan
from middlebox.flow import Direction
from tests.unit.dissect_talk import DEAD, C, S, feed
from tests.unit.tls_bytes import client_hello, message, record, server_hello, vector

NAME = "tls.handshake.extensions_server_name"
RETRY_RANDOM = bytes.fromhex(
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)  # RFC 8446 4.1.3


def tls(*fields: str, join_records: bool = True) -> TlsDissector:
    return TlsDissector(tls_plan(frozenset(fields) if fields else None, join_records=join_records))


CHANGE_CIPHER_SPEC = record(20, b"\x01")
FINISHED = record(22, bytes.fromhex("00112233445566778899aabbccddeeff"))
DATA = record(23, b"x" * 100)


def test_hello_over_two_segments_appears_with_the_second() -> None:
    """The fields of a ClientHello come with the segment that completes its record."""
    hello = record(22, client_hello())
    dissector = tls()
    assert feed(dissector, C, hello[:40]) == {"tls": [True]}
    fields = feed(dissector, C, hello[40:])
    assert fields[NAME] == ["web.example"]
    assert fields["tls.record.length"] == [len(hello) - 5]


def test_hello_over_three_records_is_joined() -> None:
    """A handshake message may go on in the next record; its fields come once, with the last one."""
    hello = client_hello()
    dissector = tls()
    assert "tls.handshake.type" not in feed(dissector, C, record(22, hello[:2]) + record(22, hello[2:50]))
    fields = feed(dissector, C, record(22, hello[50:]))
    assert fields["tls.handshake.type"] == [1]
    assert fields[NAME] == ["web.example"]


def test_hello_over_records_is_not_seen_by_a_box_that_does_not_join_them() -> None:
    """With join_records off, a fragmented ClientHello has no fields, and a whole one later still has."""
    hello = client_hello()
    dissector = tls(join_records=False)
    assert NAME not in feed(dissector, C, record(22, hello[:50]) + record(22, hello[50:]))
    assert feed(dissector, C, record(22, hello))[NAME] == ["web.example"]


def test_two_messages_in_one_record_are_both_seen() -> None:
    """A record may hold several handshake messages."""
    fields = feed(tls(), S, record(22, server_hello() + message(11, b"certificate") + message(14, b"")))
    assert fields["tls.handshake.type"] == [2, 11, 14]
    assert fields["tls.handshake.length"] == [40, 11, 0]


def test_long_certificate_is_counted_not_kept() -> None:
    """A message whose body nobody reads is skipped over records, and the next message is found behind it."""
    certificate = message(11, bytes(40_000))
    dissector = tls()
    seen = [
        feed(dissector, S, record(22, certificate[start : start + 16_000])) for start in (0, 16_000, 32_000)
    ]
    assert [fields.get("tls.handshake.type") for fields in seen] == [None, None, [11]]
    assert feed(dissector, S, record(22, message(14, b"")))["tls.handshake.type"] == [14]


def test_hello_longer_than_the_limit_is_not_read() -> None:
    """A hello that says it is longer than the limit is skipped: its type is seen at its end, its name never."""
    hello = client_hello(extensions=b"\x00\x15" + vector(2, bytes(65_000)))
    assert len(hello) < MAX_HANDSHAKE_BYTES
    long_hello = message(1, hello[4:] + bytes(1000))
    assert len(long_hello) > MAX_HANDSHAKE_BYTES
    dissector = tls()
    fields: Fields = {}
    for start in range(0, len(long_hello), 16_000):
        dissector.feed(C, record(22, long_hello[start : start + 16_000]), fields)
    assert fields["tls.handshake.type"] == [1]
    assert NAME not in fields


@pytest.mark.parametrize("end", [C, S])
def test_handshake_dies_with_the_first_ciphertext(end: Direction) -> None:
    """After ChangeCipherSpec and an encrypted message no handshake can come in this direction, in the other it can."""
    dissector = tls()
    feed(dissector, end, record(22, client_hello() if end is C else server_hello()) + CHANGE_CIPHER_SPEC)
    assert "tls.handshake" in dissector.alive[end]
    fields = feed(dissector, end, FINISHED)
    assert "tls.handshake.type" not in fields
    assert dissector.alive[end] == {"tls"}
    assert dissector.alive[end.opposite] == {"tls", "tls.handshake"}


def test_nothing_is_alive_when_only_the_handshake_is_wanted_and_over() -> None:
    """With only handshake fields wanted, data records leave nothing that could still come."""
    dissector = tls(NAME)
    assert dissector.alive == ({"tls.handshake"}, {"tls.handshake"})
    feed(dissector, C, record(22, client_hello()) + DATA)
    feed(dissector, S, record(22, server_hello()) + DATA)
    assert dissector.alive == DEAD


def test_second_hello_after_a_retry_request_is_seen() -> None:
    """HelloRetryRequest and ChangeCipherSpec are followed by both hellos again, in clear."""
    dissector = tls(NAME, "tls.handshake.type")
    feed(dissector, C, record(22, client_hello()))
    feed(dissector, S, record(22, server_hello(RETRY_RANDOM, tls13=True)) + CHANGE_CIPHER_SPEC)
    fields = feed(dissector, C, CHANGE_CIPHER_SPEC + record(22, client_hello("second.example")))
    assert fields[NAME] == ["second.example"]
    assert feed(dissector, S, record(22, server_hello(tls13=True)))["tls.handshake.type"] == [2]


def test_early_data_does_not_end_the_handshake() -> None:
    """After early data the server may still ask for another ClientHello; after its ServerHello it may not."""
    early = client_hello(extensions=b"\x00\x2a\x00\x00")
    dissector = tls(NAME)
    feed(dissector, C, record(22, early) + CHANGE_CIPHER_SPEC + DATA)
    assert dissector.alive[C] == {"tls.handshake"}
    feed(dissector, S, record(22, server_hello(RETRY_RANDOM, tls13=True)))
    assert feed(dissector, C, record(22, client_hello("second.example")))[NAME] == ["second.example"]
    feed(dissector, S, record(22, server_hello(tls13=True)))
    feed(dissector, C, DATA)
    assert dissector.alive[C] == frozenset()


def test_data_of_tls_13_is_an_opaque_type() -> None:
    """Once the ServerHello chose TLS 1.3, type 23 is shown as opaque, as in Wireshark; before and in 1.2 it is not."""
    dissector = tls()
    assert feed(dissector, C, record(22, client_hello()) + DATA)["tls.record.content_type"] == [22, 23]
    feed(dissector, S, record(22, server_hello(tls13=True)))
    assert feed(dissector, S, DATA)["tls.record.opaque_type"] == [23]


def test_alert_in_clear_has_level_and_description() -> None:
    """A fatal handshake_failure is 2 and 40; an encrypted alert has neither."""
    dissector = tls()
    fields = feed(dissector, S, record(21, b"\x02\x28"))
    assert fields["tls.alert_message.level"] == [2]
    assert fields["tls.alert_message.desc"] == [40]
    assert "tls.alert_message.level" not in feed(dissector, S, record(21, bytes(26)))


def test_data_over_many_segments_is_one_record() -> None:
    """The fields of a data record come with its last segment, and its body is not kept."""
    dissector = tls()
    feed(dissector, S, record(22, server_hello()))
    data = record(23, bytes(16_000))
    assert feed(dissector, S, data[:1000]) == {"tls": [True]}
    assert feed(dissector, S, data[1000:15_000]) == {}
    assert feed(dissector, S, data[15_000:] + data)["tls.record.length"] == [16_000, 16_000]


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        bytes.fromhex("802e0100020015000000100100800300"),  # SSL 2 ClientHello
        b"\x16\x02\x01\x00\x20",
        b"\x16\x03\x05\x00\x20",
        b"\x16\x03\x01" + (MAX_RECORD_BYTES + 1).to_bytes(2, "big"),
        b"\x16\x03\x01\x00\x00",
        record(22, b"\x63" + bytes(20)),
    ],
    ids=["http", "ssh", "sslv2", "major-2", "minor-5", "too-long", "empty", "no-handshake-type"],
)
def test_bytes_of_another_protocol_refute_tls_in_both_directions(data: bytes) -> None:
    """What cannot be TLS reports nothing, and nothing is alive any more."""
    dissector = tls()
    assert feed(dissector, C, data) == {}
    assert dissector.alive == DEAD
    assert feed(dissector, S, record(22, server_hello())) == {}


@pytest.mark.parametrize("size", range(1, 6))
def test_too_few_bytes_to_tell_keep_tls_alive(size: int) -> None:
    """As long as a record could have begun, the dissector waits."""
    hello = record(22, client_hello())
    dissector = tls()
    feed(dissector, C, hello[:size])
    assert dissector.alive == ({"tls", "tls.handshake"}, {"tls", "tls.handshake"})
    assert feed(dissector, C, hello[size:])[NAME] == ["web.example"]


def test_restart_forgets_half_a_hello() -> None:
    """Halves that must not be joined are not, and a whole hello later is found."""
    hello = record(22, client_hello())
    dissector = tls()
    feed(dissector, C, hello)
    feed(dissector, C, hello[:40])
    dissector.restart(C)
    assert NAME not in feed(dissector, C, hello[40:])
    dissector.restart(C)
    assert feed(dissector, C, hello)[NAME] == ["web.example"]


def test_segment_from_the_middle_of_a_record_after_a_loss_is_passed_over() -> None:
    """When bytes of a known TLS flow were lost, segments that start no record are passed over, not a refutation."""
    dissector = tls()
    feed(dissector, S, record(22, server_hello()))
    dissector.restart(S)
    assert feed(dissector, S, b"middle of a certificate") == {}
    assert feed(dissector, S, record(22, message(14, b"")))["tls.handshake.type"] == [14]


def test_alive_is_the_same_object_until_something_dies() -> None:
    """The engine compares `alive` with `is`: records that change nothing leave it as it is."""
    dissector = tls()
    before = dissector.alive
    feed(dissector, C, record(22, client_hello()))
    assert dissector.alive is before
    feed(dissector, C, DATA)
    after = dissector.alive
    assert after is not before
    feed(dissector, C, DATA)
    assert dissector.alive is after


def test_unwanted_fields_are_not_reported() -> None:
    """Only the wanted fields are in the answer."""
    assert feed(tls(NAME), C, record(22, client_hello())) == {NAME: ["web.example"]}
    assert feed(tls("tls.record.version"), C, record(22, client_hello(), 0x0301)) == {
        "tls": [True],
        "tls.record.content_type": [22],
        "tls.record.version": [0x0301],
        "tls.record.length": [len(client_hello())],
    }


def test_dissector_of_a_flow_in_its_handshake_is_small() -> None:
    """A flow between hello and answer holds well under a kilobyte, dissector and both halves together."""
    dissector = tls(NAME)
    feed(dissector, C, record(22, client_hello()))
    feed(dissector, S, record(22, server_hello()))
    halves = [half for half in dissector._halves if half is not None]
    assert sum(map(sys.getsizeof, (dissector, dissector._halves, *halves))) < 600
