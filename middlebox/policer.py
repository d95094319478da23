"""A token bucket for each direction of a connection: what comes faster than the rate is dropped, never queued.

That is policing, as measured in Russia in 2021 (Thr21 section 6.1: packets above the rate are lost), not shaping.
"""

from __future__ import annotations

from middlebox.flow import Direction
from middlebox.profile import Rule


class Policer:
    """`rate_bits_per_s` and `burst_bytes` for each of `directions`. Buckets are full at the start.

    A packet larger than the bucket (the kernel hands over up to 64 kB at once) passes when it is full, and the bucket
    is in debt afterwards, so that the rate holds.
    """

    __slots__ = ("rule", "_ns_per_byte", "_burst", "_tokens", "_filled_ns")

    def __init__(
        self,
        rule: Rule,
        rate_bits_per_s: int,
        burst_bytes: int,
        directions: tuple[Direction, ...],
        now_ns: int,
    ) -> None:
        self.rule = rule
        self._ns_per_byte = 8e9 / max(rate_bits_per_s, 1)
        self._burst = float(burst_bytes)
        self._tokens = dict.fromkeys(directions, self._burst)
        self._filled_ns = dict.fromkeys(directions, now_ns)

    def lets_pass(self, size_bytes: int, direction: Direction, now_ns: int) -> bool:
        """Take the packet's bytes out of its bucket; False, and nothing taken, when there are not enough."""
        if direction not in self._tokens:
            return True
        now_ns = max(now_ns, self._filled_ns[direction])
        earned = (now_ns - self._filled_ns[direction]) / self._ns_per_byte
        tokens = min(self._burst, self._tokens[direction] + earned)
        self._filled_ns[direction] = now_ns
        passes = tokens >= min(size_bytes, self._burst)
        self._tokens[direction] = tokens - size_bytes if passes else tokens
        return passes
