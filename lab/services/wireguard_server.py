"""The process of the WireGuard server: `wireguard_server.py PORT CONFIGURATION`. Sends back what comes in UDP."""

from __future__ import annotations

import asyncio
import configparser
import sys

from mitmproxy_rs import Stream
from mitmproxy_rs.wireguard import start_wireguard_server

_READ_BYTES = 65_536


async def echo(stream: Stream) -> None:
    """One conversation inside the tunnel."""
    while data := await stream.read(_READ_BYTES):
        stream.write(data)
        await stream.drain()


async def refuse(stream: Stream) -> None:
    """There is nothing to be had over TCP."""
    stream.close()


async def main(port: int, configuration: str) -> None:
    """Serve over both IP versions until the process is ended."""
    known = configparser.ConfigParser()
    known.read(configuration)
    peers = [section["PublicKey"] for name, section in known.items() if name.startswith("Peer ")]
    server = await start_wireguard_server("::", port, known["Interface"]["PrivateKey"], peers, refuse, echo)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
