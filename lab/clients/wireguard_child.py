"""The process of the WireGuard client: `wireguard_child.py SETTINGS`, a JSON file (see `wireguard.run`).

Prints one line `report: [word, port]`: `answered`, or what came in between: `timeout`, `refused`, `unreachable`.
"""

from __future__ import annotations

import configparser
import json
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from nacl.exceptions import CryptoError
from wireguard import Initiator
from wireguard.exceptions import WireguardException

MESSAGE = b"the same words back, please"
_ECHO_PORT, _OWN_PORT = 7, 7007
_MAX_DATAGRAM_BYTES = 65_535
TICK_S = 0.01
"""How often the protocol's own timers are looked at; as py-wg does it (async_initiator.py)."""


def datagram(source: str, destination: str, data: bytes) -> bytes:
    """A UDP datagram over IPv4, without a UDP checksum, for the inside of the tunnel (RFC 791, RFC 768)."""
    udp = struct.pack(">4H", _OWN_PORT, _ECHO_PORT, 8 + len(data), 0) + data
    ends = socket.inet_aton(source) + socket.inet_aton(destination)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0) + ends
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return header[:10] + struct.pack(">H", ~total & 0xFFFF) + header[12:] + udp


def talk(initiator: Initiator, line: socket.socket, question: bytes, time_limit_s: float) -> str:
    """Shake hands, ask, and wait until the answer has come: how it ended. line: connected to the server."""
    line.settimeout(TICK_S)
    deadline = time.monotonic() + time_limit_s
    asked = False
    while time.monotonic() < deadline:
        if initiator.state_connected and not asked:
            initiator.encode_transport(question)
            asked = True
        for message in initiator.update_state():
            line.send(message)
        try:
            inside = initiator.decode_packet(line.recv(_MAX_DATAGRAM_BYTES))
        except (
            TimeoutError,
            WireguardException,
            CryptoError,
        ):  # nothing came, or something that is not for us
            continue
        if inside is not None and MESSAGE in inside:
            return "answered"
    return "timeout"


def main() -> None:
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    keys = configparser.ConfigParser()
    keys.read(settings["keys"])
    initiator = Initiator(keys["Interface"]["PrivateKey"], keys["Peer server"]["PublicKey"])
    question = datagram(keys["Interface"]["Address"], keys["Peer server"]["AllowedIPs"], MESSAGE)
    family = socket.AF_INET if settings["family"] == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as line:
        line.connect((settings["server"], settings["port"]))
        port = line.getsockname()[1]
        try:
            word = talk(initiator, line, question, settings["time_limit_s"])
        except ConnectionRefusedError:
            word = "refused"
        except OSError:  # what ICMP says, in the kernel's words
            word = "unreachable"
    print("report:", json.dumps([word, port]))


if __name__ == "__main__":
    main()
