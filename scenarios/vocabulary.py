"""The words of `expect:` and `wait:`: what can be counted, what may never cross, how far a connection had come.

Must never: hold anything but words. What they come to is decided in `checks`, `crossings` and `wire`.
"""

from __future__ import annotations

CAPTURE_COUNTS = ("forged_rst", "genuine_rst_from_client", "genuine_rst_from_server")
"""What a `capture:` expectation can count.

forged_rst: RSTs in that capture that the events say the box forged, or made of other packets.
genuine_rst_from_client / _from_server: RSTs in that capture with the client's (server's) address as source that were
not forged, less those with which a kernel answers late packets after a forged RST has ended its socket.
"""

NEVER_CROSSES = ("auth", "mail", "starttls", "application-data")
"""What a `never_crosses:` expectation can name.

auth: SMTP AUTH, IMAP LOGIN or AUTHENTICATE, POP3 USER, PASS or AUTH in clear text.
mail: SMTP MAIL FROM or DATA in clear text.
starttls: the STARTTLS or STLS command itself.
application-data: a TLS record of type 23 from the client; without one, nothing of the client's can have crossed
encrypted either. (The server's own are no sign: in TLS 1.3 it answers the ClientHello with such records.)
"""

PHENOMENA = (
    "syn", "syn-ack", "rst", "fin", "data", "keepalive", "retransmission", "zero-window", "pause", "line", "lost",
    "overtaken",
)  # fmt: skip
"""What a `wire:` expectation can count; `scenarios.wire` says what each is."""

STAGES = ("syn", "handshake", "data", "fin")
"""How far a connection had come, by what one capture shows: no SYN+ACK yet; no data yet; data; one side had ended."""

EVENTS = (
    "flow_seen", "rule_matched", "packet_forged", "packet_dropped", "packet_rewritten", "packet_held",
    "residual_started", "residual_hit", "residual_ended", "connection_redirected", "profile_changed", "reload_failed",
)  # fmt: skip
"""Events of the box that an `events:` expectation can count and a `wait:` can wait for."""
