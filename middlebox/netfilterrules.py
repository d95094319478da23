"""EDGE. The rules that nft has no words for, said to the kernel in nf_tables' own netlink messages.

The packet queue on kernels without CONFIG_NFT_QUEUE, and words looked for in a packet: iptables' extensions NFQUEUE
and string do both, and nf_tables takes them in its own chains (CONFIG_NFT_COMPAT). And a header kept in the label of a
connection, sixteen bytes that are otherwise names from a file.

Sources: linux/netfilter/nf_tables.h, nf_tables_compat.h, xt_NFQUEUE.h, xt_string.h.
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

from middlebox.kernel import LABEL_BYTES
from middlebox.netlink import ACK, APPEND, CREATE, NETFILTER, attribute, error_of, message, nested

WORD_BYTES: Final = 127
"""The longest word that the kernel looks for: XT_STRING_MAX_PATTERN_SIZE, less one."""

_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFTABLES, _NEWRULE = 10, 6
_INET: Final = 1
_RULE_TABLE, _RULE_CHAIN, _RULE_EXPRESSIONS = 1, 2, 4
_ELEMENT: Final = 1
_NAME, _DATA = 1, 2
_EXTENSION_NAME, _EXTENSION_REVISION, _EXTENSION_INFO = 1, 2, 3
_REGISTER, _VALUE = 1, 2
_VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 2, 1, 2
_GOTO: Final = -4
_ACCEPT: Final = 1
_PAYLOAD_REGISTER, _PAYLOAD_BASE, _PAYLOAD_OFFSET, _PAYLOAD_LENGTH = 1, 2, 3, 4
_TRANSPORT_HEADER: Final = 2
_CT_KEY, _CT_FROM_REGISTER, _LABEL = 2, 4, 13
_VERDICT_REGISTER, _FIRST_REGISTER = 0, 1
_NFQUEUE_REVISION, _BYPASS = 3, 1
_STRING_REVISION, _ANY_CASE = 1, 2
_HEADERS_BYTES, _LAST_BYTE = 40, 0xFFFF
"""Where words are looked for: behind the shortest headers, IPv4's and TCP's."""


def add_queue_rule(table: str, chain: str, *, queue: int, fail_open: bool) -> None:
    """Append `queue` to a chain of an `inet` table. fail_open: with nobody at the queue, packets pass.

    OSError: the kernel refused.
    """
    # struct xt_NFQ_info_v3 (first queue, how many queues, flags), padded to 8 bytes
    info = struct.pack("=HHH2x", queue, 1, _BYPASS if fail_open else 0)
    _add_rule(table, chain, _extension("target", "NFQUEUE", _NFQUEUE_REVISION, info))


def add_word_rule(table: str, chain: str, word: bytes, *, goto: str) -> None:
    """Append: a packet in which `word` stands, in letters of either case, goes to another chain.

    The algorithm is Knuth, Morris and Pratt's: the other one misses words that lie in two pieces of a packet's memory.
    OSError: the kernel refused.
    """
    # struct xt_string_info: from, to, algorithm, pattern, its length, flags, and a pointer of the kernel's
    info = struct.pack(
        "=HH16s128sBB2x8x",
        _HEADERS_BYTES,
        _LAST_BYTE,
        b"kmp",
        word[:WORD_BYTES],
        min(len(word), WORD_BYTES),
        _ANY_CASE,
    )
    verdict = _verdict(_GOTO, attribute(_VERDICT_CHAIN, goto.encode() + b"\0"))
    _add_rule(table, chain, _extension("match", "string", _STRING_REVISION, info), verdict)


def add_note_rule(table: str, chain: str) -> None:
    """Append: the first LABEL_BYTES of the transport header become the label of the connection, and the packet goes on.

    OSError: the kernel refused.
    """
    load = _expression(
        "payload",
        nested(
            _DATA,
            _number(_PAYLOAD_REGISTER, _FIRST_REGISTER),
            _number(_PAYLOAD_BASE, _TRANSPORT_HEADER),
            _number(_PAYLOAD_OFFSET, 0),
            _number(_PAYLOAD_LENGTH, LABEL_BYTES),
        ),
    )
    keep = _expression(
        "ct", nested(_DATA, _number(_CT_KEY, _LABEL), _number(_CT_FROM_REGISTER, _FIRST_REGISTER))
    )
    _add_rule(table, chain, load, keep, _verdict(_ACCEPT))


def _number(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value))


def _verdict(code: int, *chain: bytes) -> bytes:
    there = nested(_VERDICT, attribute(_VERDICT_CODE, struct.pack("!i", code)), *chain)
    return _expression(
        "immediate", nested(_DATA, _number(_REGISTER, _VERDICT_REGISTER), nested(_VALUE, there))
    )


def _extension(kind: str, name: str, revision: int, info: bytes) -> bytes:
    return _expression(
        kind,
        nested(
            _DATA,
            attribute(_EXTENSION_NAME, name.encode() + b"\0"),
            attribute(_EXTENSION_REVISION, struct.pack("!I", revision)),
            attribute(_EXTENSION_INFO, info),
        ),
    )


def _expression(name: str, data: bytes) -> bytes:
    return nested(_ELEMENT, attribute(_NAME, name.encode() + b"\0"), data)


def _add_rule(table: str, chain: str, *expressions: bytes) -> None:
    rule = message(
        _NFTABLES, _NEWRULE,
        attribute(_RULE_TABLE, table.encode() + b"\0"),
        attribute(_RULE_CHAIN, chain.encode() + b"\0"),
        nested(_RULE_EXPRESSIONS, *expressions),
        flags=ACK | CREATE | APPEND, family=_INET,
    )  # fmt: skip
    batch = message(0, _BATCH_BEGIN, flags=0, resource=_NFTABLES) + rule
    batch += message(0, _BATCH_END, flags=0, resource=_NFTABLES)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER) as netlink:
        netlink.send(batch)
        if error := error_of(netlink.recv(0x10000)):
            raise OSError(error, os.strerror(error))
