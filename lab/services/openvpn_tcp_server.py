"""OpenVPN over TCP for any number of clients: `openvpn_tcp_server.py PORT OPENVPN ARGUMENT...`

Without a tunnel device an OpenVPN has one peer. So each connection is handed to an OpenVPN of its own, which listens on
the loopback interface; the bytes are passed on as they are. As an OpenVPN takes a second to notice that somebody has
connected, a few are kept ready. Until a client has spoken they are silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import Process
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

SPARES = 4
"""Ready before their clients come: two subscribers at the same moment, over both IP versions (chosen)."""
PATIENCE_S = 3600
"""How long an OpenVPN waits for its client's handshake; without this it would be a minute from its start (chosen)."""
LOOPBACK = "127.0.0.1"
_FIRST_PORT = 20_000
"""On the loopback interface, and below those that the kernel hands out (chosen)."""
_POLL_S = 0.005
"""How often it is tried whether an OpenVPN listens already (chosen)."""
_READ_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Spare:
    """An OpenVPN, and the connection to it."""

    process: Process
    reader: StreamReader
    writer: StreamWriter


class Listener:
    """Hands each connection to an OpenVPN of its own. openvpn: its command line, but for where it listens."""

    def __init__(self, openvpn: Sequence[str]) -> None:
        self._openvpn = openvpn
        self._ports = itertools.count(_FIRST_PORT)
        self._spares = deque(asyncio.ensure_future(self._start()) for _ in range(SPARES))

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """One connection, from its first byte to the end of its OpenVPN."""
        self._spares.append(asyncio.ensure_future(self._start()))
        inside = await self._spares.popleft()
        ways = {
            asyncio.ensure_future(pass_on(reader, inside.writer)),
            asyncio.ensure_future(pass_on(inside.reader, writer)),
        }
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (inside.writer, writer):
            end.close()
        with contextlib.suppress(ProcessLookupError):  # it may end by itself when its connection does
            inside.process.terminate()
        await inside.process.wait()

    async def _start(self) -> Spare:
        port = next(self._ports)
        where = ("--proto", "tcp4-server", "--local", LOOPBACK, "--port", str(port))
        process = await asyncio.create_subprocess_exec(
            *self._openvpn, *where, "--hand-window", str(PATIENCE_S)
        )
        while process.returncode is None:
            with contextlib.suppress(ConnectionRefusedError):
                return Spare(process, *await asyncio.open_connection(LOOPBACK, port))
            await asyncio.sleep(_POLL_S)
        sys.exit(f"expected OpenVPN to listen on port {port}, got an end with status {process.returncode}")


async def pass_on(reader: StreamReader, writer: StreamWriter) -> None:
    """All that comes, until either side has ended or broken off."""
    with contextlib.suppress(OSError):
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()


async def main(port: int, openvpn: Sequence[str]) -> None:
    """Serve over both IP versions until the process is ended."""
    server = await asyncio.start_server(Listener(openvpn).serve, None, port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
