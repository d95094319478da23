"""Filters and packets at random, such that they meet often enough to be worth comparing.

`FilterSoup` writes filters that load; `packets` builds packets with scapy, which knows nothing of our decoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from random import Random

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, IPv6ExtHdrHopByHop
from scapy.packet import Packet as ScapyPacket

from middlebox.dissect import ALL_FIELDS
from middlebox.filters import BUILT_IN, Origin, Type

PORTS = (0, 25, 80, 443, 465, 587, 1000, 40000, 65535)
V4 = ("10.0.0.1", "10.0.0.2", "10.0.1.9", "192.0.2.11", "203.0.113.25")
V6 = ("2001:db8::1", "2001:db8:1::11", "2001:db8:3::25", "fe80::1")
PREFIXES = {4: (0, 8, 23, 24, 31, 32), 6: (0, 32, 48, 64, 127, 128)}
SMALL = (0, 1, 2, 4, 5, 6, 17, 20, 24, 28, 40, 63, 64, 65, 128, 255)
PAYLOADS = (
    b"",
    b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n",
    b"EHLO sim1\r\n",
    b"StartTLS\r\n",
    b"\x16\x03\x01\x00\x05hello",
    b"\x00\xff\x80ABC\r\n\x00abc\n",
    bytes(range(256)),
    b"ultrasurf",
)
WORDS = ("GET", "get", "host", "EHLO", "starttls", "ABC", "abc", "surf", "\x16\x03", "\xff\x80", "\r\n")
PATTERNS = (
    "^get", "HTTP/1\\\\.[01]", "(?-i)abc", "abc$", "h.*o", "^\\\\x16\\\\x03[\\\\x00-\\\\x04]",
    "[^\\\\r\\\\n]+\\\\r\\\\n",
    "(foo|ehlo|start)", "\\\\d{3}", "\\\\bsim\\\\d", "ultra?surf",
)  # fmt: skip
TEXTS = ("EHLO", "ehlo", "STARTTLS", "web.example", "sim1", "QUIT")


class FilterSoup:
    """Draws filters. `origins` are the kinds of fields they may name."""

    def __init__(self, random: Random, *origins: Origin) -> None:
        self._random = random
        self._fields: list[tuple[str, Type, int]] = [
            (f.name, f.type, f.maximum) for f in BUILT_IN.values() if f.origin in origins
        ]
        if Origin.DISSECTED in origins:
            kinds = {"UINT": Type.NUMBER, "STRING": Type.TEXT}
            self._fields += [
                (name, kinds.get(spec.type.name) or Type[spec.type.name], 0xFF)
                for name, spec in ALL_FIELDS.items()
            ]
        self._words: Mapping[str, Sequence[str]] = {
            name: [f'"{word}"' for word in f.choices] for name, f in BUILT_IN.items() if f.choices
        }

    def filter(self, depth: int = 2) -> str:
        pick = self._random.random()
        if depth == 0 or pick < 0.4:
            return self.leaf()
        if pick < 0.55:
            return f"not {self._grouped(depth)}"
        word = self._random.choice([" and ", " && ", " or ", " || "])
        return word.join(self._grouped(depth) for _ in range(self._random.randint(2, 3)))

    def _grouped(self, depth: int) -> str:
        text = self.filter(depth - 1)
        return text if re.fullmatch(r"[\w.]+", text) else f"({text})"

    def leaf(self) -> str:
        name, kind, maximum = self._random.choice(self._fields)
        bare = self._random.random()
        if bare < 0.15:
            standing = {
                Type.NUMBER: [" & 2", " - 80", " % 2"],
                Type.BYTES: ["[3:]", "[-1]", "[0:2] & 0f:f0"],
            }.get(kind, [""])
            return name + self._random.choice(["", *standing])
        quantifier = self._random.choice(["", "", "", "any ", "all "])
        text = {
            Type.NUMBER: self._number, Type.REAL: self._real, Type.BOOL: self._bool, Type.TEXT: self._text,
            Type.BYTES: self._bytes, Type.IPV4: self._address, Type.IPV6: self._address, Type.CHOICE: self._choice,
        }[kind](name, maximum)  # fmt: skip
        # `all` before a set of several elements: see DIFFERENCES in test_filters_oracle.py.
        return text if quantifier == "all " and ", " in text else quantifier + text

    def _relation(self, *others: str) -> str:
        return self._random.choice(
            ["==", "!=", "===", "!==", "<", "<=", ">", ">=", "eq", "ne", "gt", *others]
        )

    def _some_number(self, maximum: int) -> str:
        pool = [n for n in (*PORTS, *SMALL) if n <= maximum] or [0]
        number = self._random.choice(pool)
        return self._random.choice([str(number), hex(number), bin(number)])

    def _number(self, name: str, maximum: int) -> str:
        form = self._random.random()
        if form < 0.25:
            parts = [self._number_range(maximum) for _ in range(self._random.randint(1, 3))]
            return f"{name} {self._random.choice(['in', 'not in'])} {{{', '.join(parts)}}}"
        if form < 0.45:
            # Results stay within 32 bits and above zero, where Wireshark's arithmetic is that of mathematics.
            name += self._random.choice([" + 7", " * 3", " / 3", " % 5", " & 0x14", " + 2 * 3", " & 3 + 1"])
            if maximum > 0xFFFF:
                name = name.partition(" ")[0] + " & 0xff"
        return f"{name} {self._relation()} {self._some_number(maximum)}"

    def _number_range(self, maximum: int) -> str:
        low, high = sorted(int(self._some_number(maximum), 0) for _ in range(2))
        return self._random.choice([str(low), f"{low}..{high}", f"{low} .. {high}"])

    def _real(self, name: str, maximum: int) -> str:
        return f"{name} {self._relation()} {self._random.choice(['0', '0.5', '1', '3.4', '4.6', '8'])}"

    def _bool(self, name: str, maximum: int) -> str:
        return f"{name} {self._relation()} {self._random.choice(['0', '1', 'True', 'FALSE', '2'])}"

    def _choice(self, name: str, maximum: int) -> str:
        return f"{name} {self._random.choice(['==', '!='])} {self._random.choice(self._words[name])}"

    def _text(self, name: str, maximum: int) -> str:
        quoted = f'"{self._random.choice(TEXTS)}"'
        return self._random.choice(
            [
                f"{name} {self._relation()} {quoted}",
                f"{name} contains {quoted}",
                f'{name} matches "{self._random.choice(PATTERNS)}"',
                f'{name} in {{{quoted}, "QUIT"}}',
                f"len({name}) {self._relation()} {self._random.choice(SMALL)}",
                f"lower({name}) == {quoted.lower()}",
                f"upper({name}) contains {quoted.upper()}",
                f'{name}[0:2] == {quoted[:3]}"',
            ]
        )

    def _slice(self) -> str:
        random = self._random
        start, length = random.choice([0, 1, 3, 5, 8, 200]), random.choice([1, 2, 3, 10])
        return random.choice(
            [
                f"[{start}]", f"[{start}:{length}]", f"[:{length}]", f"[{start}:]", f"[-{length}:]", f"[-{length}]",
                f"[-{length + 2}:{length}]", f"[{start}-{start + length}]", f"[{start}, 0:{length}]", "[0:8][1:2]",
            ]
        )  # fmt: skip

    def _bytes(self, name: str, maximum: int) -> str:
        form = self._random.random()
        if form < 0.1:
            return f"len({name}) {self._relation()} {self._random.choice(SMALL)}"
        if form < 0.2:
            # Never empty: Wireshark 4.0 finds no empty text in an empty slice.
            masked = f"{name}[0:{self._random.choice([1, 2])}] & {self._random.choice(['80', 'f0:0f', '0a'])}"
            return f"{masked} {self._relation()} {self._random.choice(['00', '80', '40:05'])}"
        sliced = name + (self._slice() if form < 0.7 else "")
        if form < 0.35 or form > 0.9:
            return f'{name} matches "{self._random.choice(PATTERNS)}"'
        if sliced in ("ip", "ipv6", "udp"):
            return f"{sliced} contains {self._some_bytes()}"
        return f"{sliced} {self._relation('contains', 'contains', 'contains')} {self._some_bytes()}"

    def _some_bytes(self) -> str:
        payload = self._random.choice(PAYLOADS)
        start = self._random.randrange(len(payload) + 1)
        piece = payload[start : start + self._random.randint(1, 3)] or b"\x45"
        word = self._random.choice(WORDS)
        escaped = "".join(f"\\x{byte:02x}" for byte in word.encode("latin-1"))
        # A colon in front of a single byte, because ff alone is a protocol.
        forms = [piece.hex(":"), piece.hex("-")] if len(piece) > 1 else [f":{piece.hex()}"]
        return self._random.choice([*forms, f'"{escaped}"'])

    def _address(self, name: str, maximum: int) -> str:
        version = 6 if name.startswith(("ipv6", "dns.aaaa")) or name.endswith("V6") else 4
        pool = V6 if version == 6 else V4
        address = self._random.choice(pool)
        other = f"{self._random.choice(pool)}/{self._random.choice(PREFIXES[version])}"
        form = self._random.random()
        if form < 0.2:
            return f"{name} in {{{address}, {other}}}"
        if form < 0.4:
            return f"{name}[{self._random.randrange(4)}] {self._relation()} {self._random.choice(['0a', '01', 'c0'])}"
        return f"{name} {self._relation()} {self._random.choice([address, other])}"


def packets(random: Random, count: int) -> list[ScapyPacket]:
    """IP packets that agree with themselves: right lengths, no fragments, no embedded headers."""
    return [_packet(random) for _ in range(count)]


def _packet(random: Random) -> ScapyPacket:
    ports = {"sport": random.choice(PORTS), "dport": random.choice(PORTS)}
    payload = random.choice(PAYLOADS)
    transport = random.choice(["tcp", "tcp", "tcp", "udp", "icmp"])
    if random.random() < 0.6:
        ip = IP(
            src=random.choice(V4), dst=random.choice(V4), ttl=random.choice(SMALL), id=random.choice((0, 1, 0x1234)),
            tos=random.choice(SMALL), flags=random.choice(["", "DF"]), options=random.choice([b"", b"\x01" * 4]),
        )  # fmt: skip
        icmp = ICMP(type=random.choice([0, 8]), id=7) / payload
    else:
        ip = IPv6(
            src=random.choice(V6), dst=random.choice(V6), hlim=random.choice(SMALL), tc=random.choice(SMALL),
            fl=random.choice((0, 5, 0xFFFFF)),
        )  # fmt: skip
        if random.random() < 0.2:
            ip /= IPv6ExtHdrHopByHop()
        icmp = random.choice([ICMPv6EchoRequest, ICMPv6EchoReply])(data=payload)
    if transport == "udp":
        return ip / UDP(**ports) / payload
    if transport == "icmp":
        return ip / icmp
    return ip / _tcp(random, ports, payload) / payload


def _tcp(random: Random, ports: Mapping[str, int], payload: bytes) -> TCP:
    numbers = (0, 1, 2, 1000, 0xFFFFFFFF)
    # To Wireshark the payload of a RST is no payload: see DIFFERENCES in test_filters_oracle.py.
    flags = random.randrange(512) & (~4 if payload else ~0)
    return TCP(
        **ports, seq=random.choice(numbers), ack=random.choice(numbers), flags=flags,
        reserved=random.choice([0, 0, 5]), window=random.choice(PORTS), urgptr=random.choice((0, 1)),
        options=random.choice([[], [("MSS", 1460)], [("MSS", 1460), ("NOP", None), ("WScale", 7)]]),
    )  # fmt: skip
