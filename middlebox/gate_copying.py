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
    EMPTY,
    FLAGS,
    IS_SYN,
    PLAIN,
    connection_mark,
    flags_among,
    packet_mark,
)
from middlebox.wants import Plan

NOTE: Final = "note"
"""The chain that keeps the header of a SYN and lets it go on: `netfilterrules`, nft cannot say that."""
WORDS: Final = "words"
"""The chain with a rule for each word of a plan: `netfilterrules` too."""

END_OF_NOTING: Final = (
    # The kernel hands over the copies that it has kept, and then the packet.
    f"ct mark & {COPIED:#x} == {COPIED:#x} log group {LOG_GROUP} snaplen 1 queue-threshold 1 {packet_mark(COPIED)}",
    f"ct mark & {NOTED:#x} == {NOTED:#x} {packet_mark(NOTED)} {connection_mark(0, NOTED | COPIED)}",
)
"""A packet of such a connection is asked about."""


def noting_rules(plan: Plan, now: int) -> dict[str, list[str]]:
    """The three chains. `noted` gets TCP segments only, so their headers can be looked at without asking first."""
    copy = f"log group {LOG_GROUP} snaplen {COPY_BYTES} queue-threshold {COPIES_AT_ONCE}"
    answers = flags_among({"syn": 0, "rst": 0, "ack": 1})
    goes_on = flags_among({name: 0 for name, bit in FLAGS.items() if plan.flags & bit})
    return {
        "begin": [
            *(
                f"{IS_SYN} ct mark 0 ct direction original {plain} {empty} ct mark set {now | NOTED:#x} goto {NOTE}"
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
