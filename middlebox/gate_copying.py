"""The gate's rules for connections that need not be asked about as long as their clients say no word of a rule.

To ask about every SYN and every request costs two packets in user space for each connection, most of them for nothing.
Here the kernel itself looks for the words of the rules (`Want.words`) in the first that a client says.

    begin    the SYN goes on, and its header is kept with the connection
    noted    what else goes on: what the server sends, what is empty
    speak    the first that the client says goes on with a copy, unless one of the words is in it

Everything else is asked about, and whoever reads that reads first what went before (`recall`).
"""

from __future__ import annotations

from typing import Final

from middlebox.kernel import COPIED, COPIES_AT_ONCE, COPY_BYTES, LOG_GROUP, NOTED
from middlebox.nftables import (
    COMMON_EMPTY,
    COMMON_SYN,
    EMPTY,
    IS_SYN,
    PLAIN,
    connection_mark,
    flags_among,
    listed,
    packet_mark,
)
from middlebox.wants import Plan, Ports

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


_FRESH: Final = "ct mark 0 ct status & confirmed == 0"
"""Of a connection that begins with this packet. A label can be written once: what is written later is added to it."""


def common_syns(plan: Plan, now: int) -> list[str]:
    """Most SYNs, told from all else at once: each connection passes here. For words on any port only."""
    if not any(want.words and want.ports is None for want in plan.wants):
        return []
    apart = [
        f"tcp {end} != {listed(ports)}" for ports in _ports_of_others(plan) for end in ("dport", "sport")
    ]
    return [" ".join([syn, *apart, _FRESH, _note(now)]) for syn in COMMON_SYN]


def noting_rules(plan: Plan, now: int) -> dict[str, list[str]]:
    """The three chains. `noted` gets TCP segments only, so their headers can be looked at without asking first."""
    copy = f"log group {LOG_GROUP} snaplen {COPY_BYTES} queue-threshold {COPIES_AT_ONCE}"
    answers = flags_among({"syn": 0, "rst": 0, "ack": 1})
    goes_on = flags_among({"syn": 0, "rst": 0})
    return {
        "begin": [
            *(
                f"{IS_SYN} {plain} {empty} {_FRESH} {_note(now)}"
                for plain, empty in zip(PLAIN, EMPTY, strict=True)
            ),
            "goto data",
        ],
        "noted": [
            f"ct direction reply {answers} accept",
            *(f"{empty} {goes_on} accept" for empty in (*COMMON_EMPTY, *EMPTY)),
            f"{goes_on} ct mark & {COPIED:#x} == 0 ct direction original meta length <= {COPY_BYTES} goto speak",
            f"ct direction reply {flags_among({'syn': 1, 'rst': 0, 'ack': 1})} accept",
        ],
        "speak": [
            f"jump {WORDS}",
            *(f"{plain} {copy} {connection_mark(COPIED, COPIED)} accept" for plain in PLAIN),
        ],
    }


def _note(now: int) -> str:
    return f"ct mark set {now | NOTED:#x} goto {NOTE}"


def _ports_of_others(plan: Plan) -> list[Ports]:
    """Of connections that are asked about whatever they say."""
    others = [want for want in plan.wants if not want.words and want.transport in ("tcp", "any")]
    return [want.ports for want in others if want.ports is not None]
