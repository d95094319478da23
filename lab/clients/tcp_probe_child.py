"""The probe, a process of its own on its host: says exactly what it is told to, in exactly these segments or packets.

Run as `python tcp_probe_child.py SETTINGS`, a JSON file (see `tcp_probe.run`). Prints one line `report: [...]` with a
word and the port for each connection. Knows nothing of any lab: standard library only, so that it starts in an instant.

Raw packets go out by IPPROTO_RAW, header included; the kernel routes them and knows nothing of their connection.

A scenario may start hundreds of these, so a module that only some kinds need is imported by them: half the time.

Sources: raw(7), ipv6(7), tcp(7) for TCP_REPAIR; RFC 9293 3.1, RFC 1071.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import time

TYPE_CHECKING = False  # that of `typing` would have to be imported
if TYPE_CHECKING:
    import ssl
    from typing import Any

    Settings = dict[str, Any]

ANSWER_BYTES = 65_536
FLAGS = {letter: 1 << bit for bit, letter in enumerate("FSRPAUEC")} | {"N": 1 << 8}
ISN, ACK = 1_000_000, 2_000_000
"""Sequence and acknowledgment number of raw packets without a handshake begin here (chosen)."""
FIRST_IP_ID = 4000
_TCP_REPAIR, _TCP_REPAIR_QUEUE, _TCP_QUEUE_SEQ = 19, 20, 21
_RECEIVE_QUEUE, _SEND_QUEUE = 1, 2
_REPAIR_ON, _REPAIR_OFF_QUIETLY = 1, -1


# --- what is said -------------------------------------------------------------------------------------------------


def http_request(settings: Settings) -> bytes:
    """A GET as a browser would begin it."""
    head = (
        f"GET {settings['path']} HTTP/1.1\r\nHost: {settings['host']}\r\nUser-Agent: probe\r\nAccept: */*\r\n"
    )
    return (head + "Connection: close\r\n\r\n").encode()


def tls_engine(settings: Settings) -> tuple[ssl.SSLObject, ssl.MemoryBIO, ssl.MemoryBIO]:
    """OpenSSL's client without a socket: (engine, what came in, what is to go out)."""
    import ssl

    context = ssl.create_default_context(cafile=settings["ca_file"])
    if settings["tls_version"] == "1.2":
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    return context.wrap_bio(incoming, outgoing, server_hostname=settings["host"]), incoming, outgoing


def client_hello(settings: Settings) -> bytes:
    from ssl import SSLWantReadError

    engine, _, outgoing = tls_engine(settings)
    try:
        engine.do_handshake()
    except SSLWantReadError:
        pass
    hello = outgoing.read()
    return in_records(with_esni(hello) if settings["esni"] else hello, settings["records"])


def with_esni(hello: bytes) -> bytes:
    """The same ClientHello with an encrypted_server_name extension in place of the name (draft-ietf-tls-esni-02).

    Cipher suite, key share, digest and 260 bytes of secret, all zero: nobody on the way can tell.
    """
    at = 5 + 4 + 34
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at]
    extensions, rest = b"", hello[at + 2 :]
    while rest:
        end = 4 + int.from_bytes(rest[2:4], "big")
        extensions += rest[:end] if rest[:2] != b"\0\0" else b""
        rest = rest[end:]
    secret = struct.pack("!HHH32xH32xH260x", 0x1301, 29, 32, 32, 260)
    extensions += struct.pack("!HH", 0xFFCE, len(secret)) + secret
    body = hello[9:at] + len(extensions).to_bytes(2, "big") + extensions
    message = hello[5:6] + len(body).to_bytes(3, "big") + body
    return hello[:3] + len(message).to_bytes(2, "big") + message


def random_bytes(settings: Settings, number: int) -> bytes:
    """The same in every run, others in every connection."""
    from random import Random

    return Random(number).randbytes(settings["random"])


def content_of(word: str, settings: Settings) -> bytes:
    """What a raw packet carries, or a part of it."""
    if word == "random":
        return random_bytes(settings, 0)
    return http_request(settings) if word == "http" else client_hello(settings)


def opening(settings: Settings, number: int) -> bytes:
    """What a connection says first, of all kinds but tls."""
    if settings["kind"] == "http":
        return http_request(settings)
    if settings["kind"] == "hello":
        return client_hello(settings)
    said: bytes = settings["send"].encode("latin-1")
    return said + random_bytes(settings, number)


def in_records(hello: bytes, sizes: list[int]) -> bytes:
    """The same message, cut into records with so many bytes of it each, the rest in one more (RFC 8446 5.1)."""
    if not sizes:
        return hello
    return b"".join(hello[:3] + len(part).to_bytes(2, "big") + part for part in cut(hello[5:], sizes))


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    return [part for part in (*parts, data[at:]) if part]


# --- with the kernel's TCP -----------------------------------------------------------------------------------------


def talk(settings: Settings, number: int) -> tuple[str, int]:
    """One connection, from connecting to the answer, in one word, and its port."""
    family = socket.AF_INET if settings["family"] == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(settings["time_limit_s"])
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            bind(connection, settings, number)
        except OSError as error:
            return f"errno {error.errno}", 0
        word = talk_on(connection, settings, number)
        return word, int(connection.getsockname()[1])


def bind(made: socket.socket, settings: Settings, number: int) -> None:
    """To the port of this connection, which may be in use over the other IP version, or have been before."""
    if made.family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("", settings["source_port"] + number))


def talk_on(connection: socket.socket, settings: Settings, number: int) -> str:
    try:
        connection.connect((settings["server"], settings["port"]))
        if settings["kind"] == "tls":
            return talk_tls(connection, settings)
        say(connection, opening(settings, number), settings)
        return "answered" if connection.recv(ANSWER_BYTES) else "closed"
    except OSError as error:
        return f"errno {error.errno}" if error.errno else "timeout"


def say(connection: socket.socket, data: bytes, settings: Settings) -> None:
    """Each part a segment of its own: nothing is joined, as the one before has gone out."""
    for part in cut(data, settings["segments"]):
        connection.sendall(part)


def talk_tls(connection: socket.socket, settings: Settings) -> str:
    """A handshake, a GET, the first bytes of its answer, in one word."""
    import ssl

    try:
        return get_over_tls(connection, settings)
    except ssl.SSLError as error:
        return "closed" if isinstance(error, ssl.SSLEOFError) else f"tls: {error}"


def get_over_tls(connection: socket.socket, settings: Settings) -> str:
    from ssl import SSLWantReadError

    engine, incoming, outgoing = tls_engine(settings)
    request = http_request(settings)
    first = True
    while True:
        try:
            engine.do_handshake()
            if request:
                engine.write(request)
                request = b""
            answer = engine.read(ANSWER_BYTES)
        except SSLWantReadError:
            answer = None
        said = outgoing.read()
        if first:
            said, first = in_records(said, settings["records"]), False
            say(connection, said, settings)
        elif said:
            connection.sendall(said)
        if answer is not None:
            return "answered" if answer else "closed"
        heard = connection.recv(ANSWER_BYTES)
        if not heard:
            return "closed"
        incoming.write(heard)


def say_datagram(settings: Settings, number: int) -> tuple[str, int]:
    """One datagram, and nothing is expected. `sent`, and the port."""
    family = socket.AF_INET if settings["family"] == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sender:
        bind(sender, settings, number)
        if family == socket.AF_INET:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, settings["ttl"])
        else:
            sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, settings["ttl"])
        sender.sendto(opening(settings, number), (settings["server"], settings["port"]))
        return "sent", int(sender.getsockname()[1])


def say_packet(settings: Settings, number: int) -> tuple[str, int]:
    """One packet of an IP protocol without ports. `sent`, and no port."""
    family = socket.AF_INET if settings["family"] == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_RAW, settings["protocol"]) as sender:
        sender.sendto(opening(settings, number), (settings["server"], 0))
        return "sent", 0


# --- raw packets ---------------------------------------------------------------------------------------------------


def throw(settings: Settings, number: int) -> tuple[str, int]:
    """Send the packets as they are written; nothing is expected. `sent`, and the port."""
    family = socket.AF_INET if settings["family"] == 4 else socket.AF_INET6
    port = settings["source_port"] + number
    seq, ack, held = ISN, ACK, None
    if settings["handshake"]:
        held = socket.socket(family, socket.SOCK_STREAM)
        held.settimeout(settings["time_limit_s"])
        bind(held, settings, number)
        held.connect((settings["server"], settings["port"]))
        seq, ack = numbers_of(held)
    first = seq
    made = {p["content"]: content_of(p["content"], settings) for p in settings["packets"] if p.get("content")}
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        source = source_address(family, settings)
        for place, packet in enumerate(settings["packets"]):
            if packet.get("after_s"):
                time.sleep(packet["after_s"])
            content = packet.get("content")
            payload = made[content] if content else packet.get("payload", "").encode("latin-1")
            payload = payload[slice(*packet.get("part", (None, None)))]
            flags = sum(FLAGS[letter] for letter in packet["flags"])
            here = first + packet["seq"] if "seq" in packet else seq
            ends = (port, settings["port"])
            segment = tcp_segment(
                packet, ends, here, packet.get("ack", ack + packet.get("ack_ahead", 0)), flags, payload
            )
            data = ip_packet(source, settings["server"], segment, packet, FIRST_IP_ID + place)
            raw.sendto(data, (settings["server"], 0))
            if "seq" not in packet:
                seq += len(payload) + bool(flags & FLAGS["S"]) + bool(flags & FLAGS["F"])
    if held is not None:
        held.settimeout(settings["linger_s"])
        try:
            held.recv(ANSWER_BYTES)  # a connection must not end under its packets
        except OSError:
            pass
        held.close()
    return "sent", port


def numbers_of(connection: socket.socket) -> tuple[int, int]:
    """(next sequence number, next expected one) of a connection that the kernel has."""
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _REPAIR_ON)
    found = []
    for queue in (_SEND_QUEUE, _RECEIVE_QUEUE):
        connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR_QUEUE, queue)
        number = connection.getsockopt(socket.IPPROTO_TCP, _TCP_QUEUE_SEQ)
        found.append(number & 0xFFFFFFFF)
    connection.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, _REPAIR_OFF_QUIETLY)
    return found[0], found[1]


def source_address(family: int, settings: Settings) -> str:
    """Which of our addresses the kernel would send from."""
    with socket.socket(family, socket.SOCK_DGRAM) as asked:
        asked.connect((settings["server"], settings["port"]))
        return str(asked.getsockname()[0])


def tcp_segment(
    packet: dict[str, Any], ends: tuple[int, int], seq: int, ack: int, flags: int, payload: bytes
) -> bytes:
    """Its checksum is 0 and is filled in by `ip_packet`."""
    options = bytes.fromhex(packet.get("options", ""))
    words = packet.get("data_offset", 5 + len(options) // 4)
    ack = ack if flags & FLAGS["A"] else 0
    head = struct.pack(
        "!HHIIHHHH", *ends, seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, words << 12 | flags, 64240, 0, 0
    )
    return head + options + payload


def ip_packet(source: str, destination: str, segment: bytes, packet: dict[str, Any], ip_id: int) -> bytes:
    v4 = "." in source
    family = socket.AF_INET if v4 else socket.AF_INET6
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, destination)
    total = checksum(ends + struct.pack("!II", len(segment), socket.IPPROTO_TCP) + segment)
    if packet.get("checksum") == "bad":
        total ^= 0x5555
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    ttl = packet.get("ttl", 64)
    if v4:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), ip_id, 0x4000, ttl, socket.IPPROTO_TCP, 0)
    else:
        head = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, ttl)
    return head + ends + segment


def checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- main ----------------------------------------------------------------------------------------------------------


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123  pathlib is slow to import
        settings: Settings = json.load(file)
    if not settings["timestamps"]:
        with open("/proc/sys/net/ipv4/tcp_timestamps", "w", encoding="ascii") as setting:  # noqa: PTH123
            setting.write("0")  # of this host's own network namespace
    one = {"packets": throw, "udp": say_datagram, "ip": say_packet}.get(settings["kind"], talk)
    count = settings["connections"]
    if settings["apart"]:
        words = []
        for number in range(count):
            words.append(one(settings, number))
            time.sleep(settings["apart"])
    elif count == 1:
        words = [one(settings, 0)]
    else:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(count) as pool:
            words = list(pool.map(one, [settings] * count, range(count)))
    print("report:", json.dumps(words))


if __name__ == "__main__":
    main()
