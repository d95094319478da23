"""Messages as the kernel writes them are read back, whatever is wrong with them."""

from __future__ import annotations

import errno
import struct

from hypothesis import given, strategies as st

from middlebox import netlink


def test_message_is_laid_out_as_the_kernel_wants_it() -> None:
    """The bytes of linux/netlink.h and nfnetlink.h: length, kind, flags, two zeros, family, version, resource."""
    made = netlink.message(4, 1, netlink.attribute(3, b"abcde"), flags=netlink.ACK, family=2, resource=2012)
    assert made == struct.pack("=IHHII", 32, 0x0401, 5, 0, 0) + b"\x02\0\x07\xdc" + b"\x09\0\x03\0abcde\0\0\0"


def test_what_was_put_together_is_taken_apart_again() -> None:
    """Several messages, each with attributes of odd lengths and one inside another."""
    inner = netlink.nested(7, netlink.attribute(1, b"xyz"))
    data = netlink.message(4, 0, netlink.attribute(9, b"p"), inner, flags=0) * 2
    found = [
        [
            (kind, data[at:stop])
            for kind, at, stop in netlink.attributes(data, start + netlink.GENERAL_BYTES, end)
        ]
        for kind_, start, end in netlink.messages(data)
        if kind_ == 0x0400
    ]
    assert found == [[(9, b"p"), (7, netlink.attribute(1, b"xyz"))]] * 2


def test_error_of_the_kernel_is_its_number() -> None:
    """An acknowledgment is an error message with the number 0; any other answer is none."""
    for number in (0, errno.EPERM):
        assert netlink.error_of(struct.pack("=IHHIIi", 36, netlink.ERROR, 0, 0, 0, -number)) == number
    assert netlink.error_of(struct.pack("=IHHIIi", 36, 0x0401, 0, 0, 0, -1)) == 0


@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end(data: bytes) -> None:
    """Lengths that lie neither raise nor hang, and no part reaches beyond the bytes."""
    for _, start, end in netlink.messages(data):
        assert start <= len(data) >= end
        for _, value, value_end in netlink.attributes(data, start + netlink.GENERAL_BYTES, end):
            assert value_end <= end and value <= len(data)
