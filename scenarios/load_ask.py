"""What a step tells its client besides: the name to ask for, how the bytes are cut, raw packets, a mail's ends.

Comes out as plain data, which goes through `Target.ask` to the driver and into result.json as it is. Which client takes
what is the clients' business (`lab.clients.base.Client.takes`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from lab.clients.registry import CLIENTS
from middlebox.packet import parse_flag_letters
from middlebox.reader import Reader
from middlebox.yamlsource import Node, either

MAX_CONNECTIONS = 500
MAX_PACKETS = 200
MAX_MAIL_BYTES = 5_000_000
"""Of one step: more would test the machine, not the box (chosen)."""

_NAME = re.compile(r"[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_ADDRESS = re.compile(r"[A-Za-z0-9.+_-]+@[A-Za-z0-9.-]+")
_HEX = re.compile(r"([0-9A-Fa-f]{2}(:|$))+")
_LATIN = 0x100
_SECONDS = MappingProxyType({"after": "after_s", "later": "later_s"})
"""How long before a packet: by the clock, and by that of the box's memory, which `scenarios.cast` turns into it."""

Ask = Mapping[str, Any]


def read_ask(reader: Reader, fields: Mapping[str, Node], before: Ask, client: str) -> Ask:
    """What these fields say, over what was said before. A key that the client does not take is a problem, and what
    was said before and means nothing to another client is left out."""
    takes = CLIENTS[client].takes if client in CLIENTS else frozenset(READERS)
    found = {key: value for key, value in before.items() if key in takes}
    for key, node in fields.items():
        if key not in READERS:
            continue
        if key not in takes:
            what = f"a key that {client} takes" + (f", {either(sorted(takes))}" if takes else "")
            reader.problem(node, what, "remove it" if takes else "remove it: it takes none", got=key)
        else:
            found[key] = READERS[key](reader, node)
    return MappingProxyType(found)


def _name(reader: Reader, node: Node) -> str:
    if isinstance(node.value, str) and _NAME.fullmatch(node.value):
        return node.value
    reader.problem(node, "a name such as blocked.example", "it becomes Host header and SNI")
    return ""


def _address(reader: Reader, node: Node) -> str:
    if isinstance(node.value, str) and _ADDRESS.fullmatch(node.value):
        return node.value
    reader.problem(
        node, "a mail address such as bob@mail.example", "the lab's servers take mail for mail.example"
    )
    return ""


def _sizes(reader: Reader, node: Node) -> list[int]:
    return [reader.whole(n, 1, 65535, what="a size") for n in reader.items(node, "sizes", at_least=1)]


def _bytes(reader: Reader, node: Node) -> str:
    """Text that stands for bytes one by one."""
    text = reader.text(node, "text")
    if any(ord(letter) >= _LATIN for letter in text):
        reader.problem(node, "characters up to \\xff, each one byte", "write bytes as \\xNN")
    return text


def _port(reader: Reader, node: Node) -> int:
    return reader.whole(node, 1, 65535, what="a port")


def _packets(reader: Reader, node: Node) -> list[dict[str, Any]]:
    packets: list[dict[str, Any]] = []
    for item in reader.items(node, "packets", at_least=1):
        packet = _packet(reader, item)
        packets += [packet] * packet.pop("times", 1)
    if len(packets) > MAX_PACKETS:
        reader.problem(node, f"at most {MAX_PACKETS} packets", "send fewer", got=str(len(packets)))
    return packets


def _packet(reader: Reader, node: Node) -> dict[str, Any]:
    fields = reader.mapping(node, ("flags",), _PACKET_READERS)
    if "content" in fields and "payload" in fields:
        reader.problem(fields["payload"], "either content or payload", "remove one of them", got="both")
    if "part" in fields and "content" not in fields:
        reader.problem(
            fields["part"], "content of which to take a part", "add content: http, tls or random", got="none"
        )
    packet: dict[str, Any] = {"flags": _flags(reader, fields["flags"]) if "flags" in fields else "A"}
    for key, value in fields.items():
        if key != "flags":
            packet[_SECONDS.get(key, key)] = _PACKET_READERS[key](reader, value)
    return packet


def _flags(reader: Reader, node: Node) -> str:
    if node.value == "none":
        return ""
    if isinstance(node.value, str) and node.value:
        try:
            parse_flag_letters(node.value)
            return node.value.upper()
        except ValueError:
            pass
    reader.problem(node, "TCP flags as letters out of FSRPAUECN, or none", "a SYN+ACK is written SA")
    return ""


def _part(reader: Reader, node: Node) -> list[int]:
    ends = [reader.whole(n, 0, 65535) for n in reader.items(node, "two places", at_least=2)]
    if len(ends) != 2 or ends[0] > ends[1]:
        reader.problem(node, "the first byte and the one behind the last", "write [0, 100]")
        return [0, 0]
    return ends


def _options(reader: Reader, node: Node) -> str:
    text = node.value if isinstance(node.value, str) else ""
    if _HEX.fullmatch(text) and len(text) % 12 == 11 and len(text) <= 119:
        return text.replace(":", "")
    reader.problem(node, "TCP options in hex, whole words of 4 bytes, such as 01:01:01:01", "fill up with 01")
    return ""


_PACKET_READERS: Mapping[str, Callable[[Reader, Node], Any]] = MappingProxyType(
    {
        "flags": _flags,
        "content": lambda reader, node: reader.word(node, ("http", "tls", "random")),
        "payload": _bytes,
        "part": _part,
        "seq": lambda reader, node: reader.whole(node, -0x80000000, 0x7FFFFFFF),
        "ack": lambda reader, node: reader.whole(node, 0, 0xFFFFFFFF),
        "ack_ahead": lambda reader, node: reader.whole(node, -0x80000000, 0x7FFFFFFF),
        "ttl": lambda reader, node: reader.whole(node, 1, 255),
        "checksum": lambda reader, node: reader.word(node, ("good", "bad")),
        "options": _options,
        "data_offset": lambda reader, node: reader.whole(node, 0, 15),
        "times": lambda reader, node: reader.whole(node, 1, MAX_PACKETS),
        "after": lambda reader, node: reader.duration_ns(node) / 1e9,
        "later": lambda reader, node: reader.duration_ns(node) / 1e9,
    }
)

READERS: Mapping[str, Callable[[Reader, Node], Any]] = MappingProxyType(
    {
        "host": _name,
        "send": _bytes,
        "segments": _sizes,
        "records": _sizes,
        "tls_version": lambda reader, node: reader.word(
            Node(node.raw, node.line, node.column, node.path), ("1.2", "1.3")
        ),
        "connections": lambda reader, node: reader.whole(node, 1, MAX_CONNECTIONS),
        "timestamps": lambda reader, node: reader.flag(node),
        "packets": _packets,
        "source_port": _port,
        "handshake": lambda reader, node: reader.flag(node),
        "messages": lambda reader, node: reader.whole(node, 1, MAX_CONNECTIONS),
        "pause": lambda reader, node: reader.duration_ns(node) / 1e9,
        "quic_version": lambda reader, node: reader.whole(node, 1, 2, what="a version of QUIC"),
        "initials": lambda reader, node: reader.whole(node, 1, 3, what="a number of packets"),
        "ttl": lambda reader, node: reader.whole(node, 1, 255, what="a TTL"),
        "esni": lambda reader, node: reader.flag(node),
        "random": lambda reader, node: reader.whole(node, 1, 65535, what="a size"),
        "apart": lambda reader, node: reader.duration_ns(node, at_least=1) / 1e9,
        "record": lambda reader, node: reader.word(node, ("A", "AAAA")),
        "protocol": lambda reader, node: reader.whole(node, 1, 255, what="an IP protocol number"),
        "form": lambda reader, node: reader.flag(node),
        "sender": lambda reader, node: _address(reader, node),
        "recipient": lambda reader, node: _address(reader, node),
        "size": lambda reader, node: reader.size_bytes(node, 0, MAX_MAIL_BYTES),
    }
)
"""Every key that a step may have for its client."""
