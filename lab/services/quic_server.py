"""The process of the QUIC server: `quic_server.py PORT ALPN CHAIN KEY`. Sends back what comes on each stream."""

from __future__ import annotations

import asyncio
import sys

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent, StreamDataReceived


class Echo(QuicConnectionProtocol):
    """One connection."""

    def quic_event_received(self, event: QuicEvent) -> None:
        """Answer at once, with the same bytes."""
        if isinstance(event, StreamDataReceived):
            self._quic.send_stream_data(event.stream_id, event.data, end_stream=event.end_stream)
            self.transmit()


async def main(port: int, alpn: str, chain: str, key: str) -> None:
    """Serve over both IP versions until the process is ended."""
    configuration = QuicConfiguration(is_client=False, alpn_protocols=[alpn])
    configuration.load_cert_chain(chain, key)
    await serve("::", port, configuration=configuration, create_protocol=Echo)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:5]))
