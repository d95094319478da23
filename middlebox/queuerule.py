"""EDGE. The one rule that nft cannot be told: `queue` on kernels without CONFIG_NFT_QUEUE.

iptables' NFQUEUE target is there where the queue is, and nf_tables takes iptables' targets in its own chains
(CONFIG_NFT_COMPAT); `nft list` shows the rule as `queue num 2012 bypass`. It is said to the kernel in nf_tables' own
netlink messages, since nft has no words for it.

Sources: linux/netfilter/nf_tables.h, nf_tables_compat.h, nfnetlink.h, xt_NFQUEUE.h; netlink(7).
"""

from __future__ import annotations

import os
import socket
import struct
from typing import Final

_NETLINK_NETFILTER: Final = 12
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_CREATE, _NLM_F_APPEND = 0x1, 0x4, 0x400, 0x800
_NLMSG_ERROR: Final = 2
_NLA_F_NESTED: Final = 0x8000
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NFNL_SUBSYS_NFTABLES: Final = 10
_NFT_MSG_NEWRULE: Final = 6
_NFPROTO_INET: Final = 1
_NFTA_RULE_TABLE, _NFTA_RULE_CHAIN, _NFTA_RULE_EXPRESSIONS = 1, 2, 4
_NFTA_LIST_ELEM: Final = 1
_NFTA_EXPR_NAME, _NFTA_EXPR_DATA = 1, 2
_NFTA_TARGET_NAME, _NFTA_TARGET_REV, _NFTA_TARGET_INFO = 1, 2, 3
_NFQUEUE_REVISION: Final = 3
_NFQ_FLAG_BYPASS: Final = 1


def add_queue_rule(table: str, chain: str, *, queue: int, fail_open: bool) -> None:
    """Append `queue` to a chain of an `inet` table. fail_open: with nobody at the queue, packets pass.

    OSError: the kernel refused.
    """
    # struct xt_NFQ_info_v3 (first queue, how many queues, flags), padded to 8 bytes
    info = struct.pack("=HHH2x", queue, 1, _NFQ_FLAG_BYPASS if fail_open else 0)
    target = _nested(
        _NFTA_EXPR_DATA,
        _attribute(_NFTA_TARGET_NAME, b"NFQUEUE\0"),
        _attribute(_NFTA_TARGET_REV, struct.pack("!I", _NFQUEUE_REVISION)),
        _attribute(_NFTA_TARGET_INFO, info),
    )
    rule = (
        _attribute(_NFTA_RULE_TABLE, table.encode() + b"\0")
        + _attribute(_NFTA_RULE_CHAIN, chain.encode() + b"\0")
        + _nested(
            _NFTA_RULE_EXPRESSIONS, _nested(_NFTA_LIST_ELEM, _attribute(_NFTA_EXPR_NAME, b"target\0"), target)
        )
    )
    flags = _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_APPEND
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER) as netlink:
        netlink.send(
            _message(_BATCH_BEGIN, 0, 0, b"")
            + _message(_NFNL_SUBSYS_NFTABLES << 8 | _NFT_MSG_NEWRULE, flags, _NFPROTO_INET, rule)
            + _message(_BATCH_END, 0, 0, b"")
        )
        answer = netlink.recv(0x10000)
    _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", answer)
    if kind == _NLMSG_ERROR and error:
        raise OSError(-error, os.strerror(-error))


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, *attributes: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, b"".join(attributes))


def _message(kind: int, flags: int, family: int, attributes: bytes) -> bytes:
    body = struct.pack("!BBH", family, 0, _NFNL_SUBSYS_NFTABLES) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, _NLM_F_REQUEST | flags, 0, 0) + body
