"""The kernel's own interpreter runs our filters: what passes is what a rule could need."""

from __future__ import annotations

import ctypes
import shutil
import socket
import struct
import subprocess
from ipaddress import ip_address

import pytest
from hypothesis import example, given, strategies as st

from middlebox.bpf import EMPTY_BYTECODE, PAYLOAD_BYTECODE, PAYLOAD_EXPRESSION, TLS_BYTECODE, TLS_EXPRESSION
from middlebox.packet import decode, tcp_segment

XT_BPF_MAX_INSTRUCTIONS = 64
"""linux/netfilter/xt_bpf.h"""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("expressions", "bytecodes"),
    [
        (PAYLOAD_EXPRESSION, PAYLOAD_BYTECODE),
        ({family: f"not ({text})" for family, text in PAYLOAD_EXPRESSION.items()}, EMPTY_BYTECODE),
        (TLS_EXPRESSION, TLS_BYTECODE),
    ],
    ids=["payload", "empty", "tls"],
)
def test_bytecode_is_what_tcpdump_makes_of_its_expression(
    family: int, expressions: dict[int, str], bytecodes: dict[int, str]
) -> None:
    """The numbers in the source are the translation of the expression beside them."""
    if shutil.which("tcpdump") is None:
        pytest.skip("needs tcpdump as the oracle; CI has it")
    made = subprocess.run(
        ["tcpdump", "-y", "RAW", "-ddd", expressions[family]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert made.stdout.strip().replace("\n", ",") == bytecodes[family]
    assert int(bytecodes[family].partition(",")[0]) <= XT_BPF_MAX_INSTRUCTIONS


def attach(receiver: socket.socket, bytecode: str) -> ctypes.Array[ctypes.c_char]:
    """Have the kernel itself run the bytecode on what a socket receives; keep the result alive meanwhile."""
    count, *instructions = bytecode.split(",")
    packed = b"".join(struct.pack("HBBI", *map(int, one.split())) for one in instructions)
    buffer = ctypes.create_string_buffer(packed)
    program = struct.pack("HP", int(count), ctypes.addressof(buffer))
    so_attach_filter = 26
    receiver.setsockopt(socket.SOL_SOCKET, so_attach_filter, program)
    return buffer


def passes_filter(bytecode: str, data: bytes) -> bool:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        attach(receiver, bytecode)
        receiver.setblocking(False)
        sender.send(data)
        try:
            return receiver.recv(0x10000) == data
        except BlockingIOError:
            return False


@given(
    ipv6=st.booleans(),
    payload=st.binary(max_size=40),
    options=st.integers(0, 10),
    flags=st.integers(0, 0x1FF),
    padding=st.integers(0, 6),
)
def test_payload_filter_passes_exactly_segments_with_payload(
    ipv6: bool, payload: bytes, options: int, flags: int, padding: int
) -> None:
    """The kernel's own interpreter and our decoder agree on which segment carries payload."""
    src, dst = ("2001:db8::1", "2001:db8::2") if ipv6 else ("192.0.2.1", "192.0.2.2")
    data = tcp_segment(
        src=ip_address(src).packed, dst=ip_address(dst).packed, sport=1, dport=2, seq=3, ack=4, flags=flags,
        window=5, ttl=6, options=b"\1" * (4 * options), payload=payload,
    )  # fmt: skip
    packet = decode(data)
    assert packet is not None
    assert passes_filter(PAYLOAD_BYTECODE[6 if ipv6 else 4], data + bytes(padding)) == (
        packet.payload_len > 0
    )


def test_ipv4_options_do_not_hide_a_payload() -> None:
    """The header length is read, not assumed."""
    plain = tcp_segment(
        src=bytes(4), dst=bytes(4), sport=1, dport=2, seq=3, ack=4, flags=0, window=5, ttl=6, payload=b"x"
    )
    total = (len(plain) + 8).to_bytes(2, "big")
    with_options = b"\x47" + plain[1:2] + total + plain[4:20] + bytes(8) + plain[20:]
    empty = b"\x47" + plain[1:2] + (len(plain) + 7).to_bytes(2, "big") + plain[4:20] + bytes(8) + plain[20:-1]
    assert passes_filter(PAYLOAD_BYTECODE[4], with_options)
    assert not passes_filter(PAYLOAD_BYTECODE[4], empty)


def test_ipv6_extension_headers_are_queued_whatever_they_hide() -> None:
    """When in doubt a packet is looked at."""
    bare = tcp_segment(src=bytes(16), dst=bytes(16), sport=1, dport=2, seq=3, ack=4, flags=0, window=5, ttl=6)
    length = (len(bare) - 40 + 8).to_bytes(2, "big")
    extended = bare[:4] + length + b"\x00" + bare[7:40] + b"\x06\x00" + bytes(6) + bare[40:]
    assert not passes_filter(PAYLOAD_BYTECODE[6], bare)
    assert passes_filter(PAYLOAD_BYTECODE[6], extended)


def test_later_ipv4_fragments_are_queued() -> None:
    """A fragment whose TCP header is elsewhere cannot be told to be empty."""
    bare = tcp_segment(src=bytes(4), dst=bytes(4), sport=1, dport=2, seq=3, ack=4, flags=0, window=5, ttl=6)
    assert not passes_filter(PAYLOAD_BYTECODE[4], bare)
    assert passes_filter(PAYLOAD_BYTECODE[4], bare[:6] + b"\x00\x01" + bare[8:])


@given(
    ipv6=st.booleans(),
    payload=st.binary(max_size=3) | st.tuples(st.integers(18, 25), st.integers(2, 4)).map(bytes),
    options=st.integers(0, 10),
    padding=st.integers(0, 6),
)
@example(ipv6=False, payload=b"\x16", options=0, padding=0)
@example(ipv6=True, payload=b"\x17\x03", options=10, padding=0)
def test_tls_filter_passes_exactly_what_may_begin_a_record(
    ipv6: bool, payload: bytes, options: int, padding: int
) -> None:
    """A content type of TLS, and the major version 3 if it is there: the dissector would go on reading."""
    src, dst = ("2001:db8::1", "2001:db8::2") if ipv6 else ("192.0.2.1", "192.0.2.2")
    data = tcp_segment(
        src=ip_address(src).packed,
        dst=ip_address(dst).packed,
        sport=1,
        dport=2,
        seq=3,
        ack=4,
        flags=0x18,
        window=5,
        ttl=6,
        options=b"\1" * (4 * options),
        payload=payload,
    )
    may_begin = payload[:1] in (b"\x14", b"\x15", b"\x16", b"\x17") and payload[1:2] in (b"", b"\x03")
    assert passes_filter(TLS_BYTECODE[6 if ipv6 else 4], data + bytes(padding)) == may_begin
