"""What the kernel and the box say to each other: marks, numbers, names, and the knobs of the network namespace.

Pure. The rules that use them are in `gate`, the answers that carry them in `live`.

A packet that comes to us says in its mark what conntrack knows (`ORIGINAL`, `REPLY`, `FIRST`). A verdict that decides
something for the rest of the connection goes back with `ANSWERED` and the flags of `decision.Offload` (bits 0-3) by
NF_REPEAT: the packet walks through the gate again, which keeps the flags in the connection's mark and then lets the
packet go or drops it. From there on the kernel answers alone, as long as the generation in the connection's mark
(bits 8-23), which the gate writes there when it queues a packet, is the present one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from middlebox.profile import Redirect
from middlebox.wants import Plan

LOG_GROUP: Final = 2012
"""Where copies go (chosen, per network namespace too)."""
LABEL_BYTES: Final = 16
"""What a connection's label holds: of a TCP header all but checksum, urgent pointer and options."""
COPY_BYTES: Final = 2087
"""The longest packet that is copied, with its IP header (chosen: more than a segment of a plain link; no search is
long). With IPv6's header, whose length does not count it, as long as `nftables.COMMON_DATA`."""
COPIES_AT_ONCE: Final = 256
"""How many copies the kernel keeps for one read (chosen: 64 kB)."""
QUEUE_NUMBER: Final = 2012
"""One queue carries IPv4 and IPv6 (chosen; queue numbers are per network namespace)."""

INJECT_FROM: Final = "tlab-in"
INJECT_INTO: Final = "tlab-out"
"""The two ends of the injection port: frames are written to the first and routed from the second."""

OFFLOAD_MASK: Final = 0xF
SEEN: Final = 1 << 4
"""Connection mark: some packet of it has been queued."""
LED: Final = 1 << 5
"""Connection mark: somebody was asked where it goes."""
STRANGE: Final = 1 << 6
"""Packet mark, kernel to us: conntrack does not know its connection yet, and will from the first packet that leaves."""
NOTED: Final = 1 << 7
"""Connection mark: its SYN went on unasked; its header stands in the connection's label. Packet mark, kernel to us: so
it was with its connection, and has come to an end."""
GENERATION_SHIFT: Final = 8
GENERATIONS: Final = 1 << 16
GENERATION_MASK: Final = (GENERATIONS - 1) << GENERATION_SHIFT
ORIGINAL: Final = 1 << 24
REPLY: Final = 1 << 25
"""Packet mark, kernel to us: sent by the end that spoke first, or by the end that answered, as conntrack has seen it.
Neither: conntrack knows nothing of this packet."""
FIRST: Final = 1 << 26
"""Packet mark, kernel to us: the first packet that is queued of this connection."""
ANSWERED: Final = 1 << 27
"""Packet mark, us to kernel: this mark carries a decision."""
DROPPED: Final = 1 << 28
"""Packet mark, us to kernel: and the packet itself is dropped."""
REDIRECTED: Final = 1 << 29
"""Packet mark, us to kernel: it goes elsewhere; the number of the place stands where connections have the
generation."""
ELEPHANT: Final = 1 << 30
"""Packet mark, kernel to us: of a connection that may pass, by the generation in the mark, and carries much."""
COPIED: Final = 1 << 31
"""Connection mark: the first that its client said went on too, and a copy of it to us. Packet mark: so it was."""

EXACT_TTLS: Final = {0: "02:00:00:00:01:00", 255: "02:00:00:00:01:ff"}
"""TTLs that routing cannot leave on a packet (it takes one), set by the gate by the frame's source address."""

SYSCTLS: Final = {
    # Sequence numbers are what the ends make of them: conntrack must not call a packet invalid and lose its mark.
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    "net/netfilter/nf_conntrack_tcp_loose": "1",
    # Kept short so that thousands of connections a second do not fill the table (chosen).
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait": "30",
    # Forged packets come with any source address.
    "net/ipv4/conf/all/rp_filter": "0",
}
UDP_TIMEOUTS_S: Final = {
    "net/netfilter/nf_conntrack_udp_timeout": 30,
    "net/netfilter/nf_conntrack_udp_timeout_stream": 120,
}
"""The kernel's own. It may not remember for longer than the box that datagrams of a flow are none of its business."""
CHECKSUM_SYSCTL: Final = "net/netfilter/nf_conntrack_checksum"
"""Whether a packet with a wrong checksum belongs to its connection. If not, it decides nothing for it."""


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where the box stands: its two interfaces, and what happens to packets when it does not answer."""

    inside: str
    outside: str
    fail_open: bool = True
    queue: int = QUEUE_NUMBER
    takes_copies: bool = False
    """Somebody reads the copies of packets that need not be asked about. Not where packets stop when the box does."""


def sysctls(plan: Plan) -> dict[str, str]:
    """Knobs of the network namespace, below /proc/sys; none when nothing is queued."""
    if not plan.wants and not plan.redirects:
        return {}
    idle_s = max(-(-plan.idle_ns // 10**9), 1)
    timeouts = {name: str(min(seconds, idle_s)) for name, seconds in UDP_TIMEOUTS_S.items()}
    return {**SYSCTLS, **timeouts, CHECKSUM_SYSCTL: f"{plan.checks_checksum:d}"}


def generation_of(mark: int) -> int:
    """The generation that stands in the mark of a packet or of a connection."""
    return (mark & GENERATION_MASK) >> GENERATION_SHIFT


def redirect_mark(plan: Plan, to: Redirect) -> int:
    """What a packet is marked with whose connection goes there."""
    return REDIRECTED | plan.redirects.index(to) << GENERATION_SHIFT
