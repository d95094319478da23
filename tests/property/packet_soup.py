"""Packets that nobody should send: real conversations, then cut, flipped, overlapped, fragmented, wrapped.

A generator, not a test. Deterministic for a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from struct import pack

from middlebox.flow import Side
from middlebox.packet import PROTOCOL_TCP, PROTOCOL_UDP, ip_header, tcp_segment, transport_checksum

V4 = (bytes([192, 0, 2, 11]), bytes([203, 0, 113, 25]))
V6 = (bytes.fromhex("20010db8000100000000000000000011"), bytes.fromhex("20010db8000300000000000000000025"))
PORTS = (25, 110, 143, 443, 465, 587, 993, 53, 80, 5201)

CLIENT_LINES = (
    b"EHLO client.example\r\n",
    b"STARTTLS\r\n",
    b"STLS\r\n",
    b"a1 STARTTLS\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"AUTH PLAIN AGFsaWNlAHg=\r\n",
    b"a2 LOGIN {5}\r\n",
    b"alice\r\n",
    b"ultrasurf",
    b"QUIT\r\n",
    b"GET /ultrasurf HTTP/1.1\r\nHost: www.example\r\n\r\n",
    b"\r\n" * 40,
    b"\x00" * 100,
    b"BDAT 100000 LAST\r\n",
)
SERVER_LINES = (
    b"220 mail.example ESMTP\r\n",
    b"250-mail.example\r\n250 STARTTLS\r\n",
    b"354 go on\r\n",
    b"+OK\r\n",
    b"* OK IMAP\r\n",
    b"a1 OK Begin TLS\r\n",
    b"+ \r\n",
    b"421 bye\r\n",
    b"-ERR no\r\n",
)


def client_hello(name: bytes) -> bytes:
    """A TLS ClientHello record with this server name (RFC 8446 4.1.2, RFC 6066 3)."""
    server_name = pack("!HBH", len(name) + 3, 0, len(name)) + name
    extensions = pack("!HH", 0, len(server_name)) + server_name + pack("!HHH3s", 16, 5, 3, b"\x02h2")
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + pack("!HH", 2, 0x1301)
        + b"\x01\0"
        + pack("!H", len(extensions))
        + extensions
    )
    handshake = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(handshake).to_bytes(2, "big") + handshake


TLS_RECORDS = (
    client_hello(b"blocked.example"),
    client_hello(b"\xff" * 300),
    b"\x14\x03\x03\x00\x01\x01",
    b"\x17\x03\x03\x40\x00" + bytes(200),
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x16\x03\x03\xff\xff\x0b\xff\xff\xff",
)


def packets(count: int, seed: int) -> Iterator[tuple[bytes, Side]]:
    """`count` packets with the side they come from."""
    rng = Random(seed)
    seqs: dict[tuple[int, int, bool], int] = {}
    last = b""
    for _ in range(count):
        data, side = _segment(rng, seqs)
        roll = rng.random()
        if roll < 0.10:
            data = data[: rng.randrange(len(data) + 1)]
        elif roll < 0.30:
            data = _flipped(rng, data)
        elif roll < 0.33:
            data = rng.randbytes(rng.randrange(200))
        elif roll < 0.36 and last:
            data = last
        elif roll < 0.42:
            data = _datagram(rng)
        last = data
        yield data, side


def _segment(rng: Random, seqs: dict[tuple[int, int, bool], int]) -> tuple[bytes, Side]:
    client, server = rng.choice((V4, V6))
    port, server_port = 40000 + rng.randrange(20), rng.choice(PORTS)
    from_client = rng.random() < 0.6
    key = (port, server_port, from_client)
    lines = rng.choice((CLIENT_LINES if from_client else SERVER_LINES, TLS_RECORDS))
    payload = b"".join(rng.choice(lines) for _ in range(rng.randrange(3)))
    if rng.random() < 0.4:
        payload = payload[rng.randrange(len(payload) + 1) :][: rng.randrange(1, 30)]
    seq = seqs.get(key, rng.getrandbits(32))
    jitter = rng.choice((0, 0, 0, 0, -5, 3, 60, -60, 1 << 31, rng.getrandbits(32)))
    flags = rng.choice((0x10, 0x18, 0x18, 0x18, 0x02, 0x12, 0x04, 0x14, 0x11, 0x00, 0x1FF))
    seqs[key] = (seq + len(payload) + (flags & 1) + (flags >> 1 & 1)) & 0xFFFFFFFF
    ends = (client, server, port, server_port) if from_client else (server, client, server_port, port)
    data = tcp_segment(
        src=ends[0],
        dst=ends[1],
        sport=ends[2],
        dport=ends[3],
        seq=(seq + jitter) & 0xFFFFFFFF,
        ack=rng.getrandbits(32),
        flags=flags,
        window=rng.getrandbits(16),
        ttl=rng.randrange(256),
        ip_id=rng.getrandbits(16),
        options=rng.choice((b"", b"\x02\x04\x05\xb4", rng.randbytes(rng.randrange(40)))),
        payload=payload,
    )
    if len(client) == 16 and rng.random() < 0.3:
        data = _with_extension_headers(rng, data)
    return data, Side.INSIDE if from_client else Side.OUTSIDE


def _with_extension_headers(rng: Random, data: bytes) -> bytes:
    chain, upper = b"", data[6]
    for _ in range(rng.randrange(1, 20)):
        kind = rng.choice((0, 43, 44, 51, 60, 135))
        size = 0 if kind == 44 else rng.randrange(3)
        chain = bytes((upper, size)) + rng.randbytes(6 + 8 * size) + chain
        upper = kind
    length = (len(data) - 40 + len(chain)) & 0xFFFF
    return data[:4] + length.to_bytes(2, "big") + bytes((upper,)) + data[7:40] + chain + data[40:]


def _flipped(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        # Half of the flips hit the headers, where lengths, offsets and fragment bits are.
        at = rng.randrange(min(60, len(changed))) if rng.random() < 0.5 else rng.randrange(len(changed))
        changed[at] = rng.getrandbits(8)
    return bytes(changed)


def _datagram(rng: Random) -> bytes:
    client, server = rng.choice((V4, V6))
    protocol = rng.choice((PROTOCOL_UDP, PROTOCOL_UDP, PROTOCOL_TCP, 1, 47, 50, 58, 255))
    body = rng.randbytes(rng.randrange(100))
    if protocol == PROTOCOL_UDP:
        head = pack("!HHHH", 40000, rng.choice(PORTS), len(body) + 8, 0)
        checksum = transport_checksum(client, server, PROTOCOL_UDP, head + body)
        body = head[:6] + checksum.to_bytes(2, "big") + body
    return ip_header(client, server, protocol, len(body), ttl=64, ip_id=1, dont_fragment=False, tos=0) + body
