"""The gate's rules for connections that need not be asked about as long as their clients say no word of a rule.

To ask about every SYN and every request costs two packets in user space for each connection, most of them for nothing.
Here the kernel itself looks for the words of the rules (`Want.words`) in the first that a client says.

    gate     the common ones of all these, by their bytes
    begin    the SYN goes on, and its header is kept with the connection
    noted    what else goes on: what the server sends, what is empty
    speak    the first that the client says goes on with a copy, unless one of the words is in it

Everything else is asked about, and whoever reads that reads first what went before (`recall`).
"""

from __future__ import annotations

from typing import Final

from middlebox.filters import merged_ranges
from middlebox.kernel import COPIED, COPIES_AT_ONCE, COPY_BYTES, LOG_GROUP, NOTED, Wiring
from middlebox.nftables import (
    COMMON_DATA,
    COMMON_SYN,
    EMPTY,
    IS_SYN,
    PLAIN,
    connection_mark,
    flags_among,
    listed,
    packet_mark,
)
from middlebox.wants import Plan, Want

NOTE: Final = "note"
"""The chain that keeps the header of a SYN and lets it go on: `netfilterrules`, nft cannot say that."""
WORDS: Final = "words"
"""The chain with a rule for each word of a plan: `netfilterrules` too."""

_TO_READ: Final = f"log group {LOG_GROUP} snaplen 1 queue-threshold 1"
"""The kernel hands over the copies that it has kept, before the packet."""
END_OF_NOTING: Final = (
    # Of what conntrack calls invalid nobody knows the connection here.
    f"ct state invalid {_TO_READ}",
    f"meta l4proto tcp ct mark & {COPIED:#x} == {COPIED:#x} {_TO_READ} {packet_mark(COPIED)}",
    f"meta l4proto tcp ct mark & {NOTED:#x} == {NOTED:#x} {packet_mark(NOTED)} {connection_mark(0, NOTED | COPIED)}",
)
"""A packet of such a connection is asked about."""


_GOES_ON: Final = flags_among({"syn": 0, "rst": 0})
_FRESH: Final = "ct mark 0 ct status & confirmed == 0"
"""Of a connection that begins with this packet. A label can be written once: what is written later is added to it."""


def common_rules(plan: Plan, wiring: Wiring, now: int) -> list[str]:
    """Nearly all packets of such connections that are not empty, told from all others by their bytes first."""
    noted = f"ct mark & {~COPIED & 0xFFFFFFFF:#x} == {now | NOTED:#x}"
    said = f"ct mark {now | NOTED:#x} ct direction original goto speak"
    return [
        *_common_syns(plan, wiring, now),
        *(f"{data} {said}" for data in COMMON_DATA),
        f"{noted} meta l4proto tcp jump noted",
    ]


def _common_syns(plan: Plan, wiring: Wiring, now: int) -> list[str]:
    """For words on any port only. SYNs from outside, and from ports as low as those of others, take the long way."""
    if not any(want.words and want.ports is None for want in plan.wants):
        return []
    ports = merged_ranges(tuple(ports for want in _others(plan) for ports in want.ports or ()))
    apart = f"@th,0,16 & {_bits_above(ports[-1][1]):#x} != 0 @th,16,16 != {listed(ports)} " if ports else ""
    outward = f'iif "{wiring.inside}" oif "{wiring.outside}"'
    return [f"{syn} {apart}{outward} {_FRESH} {_note(now)}" for syn in COMMON_SYN]


def _others(plan: Plan) -> list[Want]:
    """Who asks about connections whatever they say."""
    return [want for want in plan.wants if not want.words and want.transport in ("tcp", "any")]


def _bits_above(port: int) -> int:
    """Of a port number: the bits of which one is set only in greater ones."""
    return 0xFFFF & ~((1 << port.bit_length()) - 1)


def noting_rules(plan: Plan, now: int) -> dict[str, list[str]]:
    """The three chains. `noted` gets TCP segments only, so their headers can be looked at without asking first."""
    copy = f"log group {LOG_GROUP} snaplen {COPY_BYTES} queue-threshold {COPIES_AT_ONCE}"
    copied = f"ct mark set {now | NOTED | COPIED:#x} accept"
    return {
        "begin": [
            *(
                f"{IS_SYN} {plain} {empty} {_FRESH} {_note(now)}"
                for plain, empty in zip(PLAIN, EMPTY, strict=True)
            ),
            "goto data",
        ],
        "noted": [
            f"ct direction reply {flags_among({'rst': 0, 'ack': 1})} accept",
            *(f"{empty} {_GOES_ON} accept" for empty in EMPTY),
            f"{_GOES_ON} ct mark & {COPIED:#x} == 0 ct direction original meta length <= {COPY_BYTES} goto speak",
        ],
        "speak": [f"jump {WORDS}", *(f"{plain} {copy} {copied}" for plain in PLAIN)],
    }


def _note(now: int) -> str:
    return f"ct mark set {now | NOTED:#x} goto {NOTE}"
