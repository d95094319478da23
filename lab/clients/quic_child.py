"""The process of the QUIC client: `quic_child.py SETTINGS`, a JSON file (see `quic.run`). Prints one line
`report: [word, port]`: `answered`, or what came in between: `timeout`, `closed`.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import QuicProtocolVersion

MESSAGE = b"the same words back, please"
INITIAL_BYTES = 1200
"""Of a ClientHello no more fits into one Initial (RFC 9000 14.1)."""
VERSIONS = {1: QuicProtocolVersion.VERSION_1, 2: QuicProtocolVersion.VERSION_2}


def bound_socket(family: socket.AddressFamily, port: int) -> socket.socket:
    """A UDP socket of this IP version only: the same port may be in use over the other. port: 0 for any."""
    found = socket.socket(family, socket.SOCK_DGRAM)
    found.setblocking(False)
    if family == socket.AF_INET6:
        found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    found.bind(("", port))
    return found


def filler(size_bytes: int) -> list[str]:
    """Protocols that nobody speaks, which make a ClientHello longer by about so much (RFC 7301)."""
    return [f"unknown-{number:07}" for number in range(size_bytes // 16)]


async def talk(settings: dict[str, Any]) -> tuple[str, int]:
    """One connection: (how it ended, its port)."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=[settings["alpn"], *filler((settings["initials"] - 1) * INITIAL_BYTES)],
        original_version=VERSIONS[settings["quic_version"]],
        supported_versions=[VERSIONS[settings["quic_version"]]],
        server_name=settings["host"],
        cafile=settings["ca_file"],
        verify_mode=ssl.CERT_REQUIRED,
    )
    family = socket.AF_INET if settings["family"] == 4 else socket.AF_INET6
    [(_, _, _, _, server), *_] = socket.getaddrinfo(settings["server"], settings["port"], family)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        lambda: QuicConnectionProtocol(QuicConnection(configuration=configuration)),
        sock=bound_socket(family, settings["source_port"]),
    )
    port = int(transport.get_extra_info("sockname")[1])
    if settings["random"]:
        transport.sendto(random.Random(0).randbytes(settings["random"]), server)
        await asyncio.sleep(settings["pause"])
    try:
        protocol.connect(server)
        await asyncio.wait_for(protocol.wait_connected(), settings["time_limit_s"])
        for _ in range(settings["messages"]):
            reader, writer = await protocol.create_stream()
            writer.write(MESSAGE)
            writer.write_eof()
            if await asyncio.wait_for(reader.read(), settings["time_limit_s"]) != MESSAGE:
                return "closed", port
            await asyncio.sleep(settings["apart"])
        return "answered", port
    except TimeoutError:
        return "timeout", port
    except ConnectionError:
        return "closed", port
    finally:
        protocol.close()
        transport.close()


def main() -> None:
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    print("report:", json.dumps(asyncio.run(talk(settings))))


if __name__ == "__main__":
    main()
