"""What a filter needs to see: which packets must come to user space, which dissectors must run.

Computed from the typed tree by over-approximation: every packet that can match passes at least one selector; a
packet that passes one need not match.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from middlebox.flow import Direction

from .fields import Field, Origin, Type
from .runtime import PATTERN_WINDOW_BYTES
from .typed import (
    AndTest,
    Between,
    CompareTest,
    Const,
    ContainsTest,
    FieldValue,
    Leaf,
    MatchesTest,
    MemberTest,
    NotTest,
    OrTest,
    TypedTest,
    fields_of,
)
from .words import Words, words_of

# More alternatives than this are joined into wider ones: each costs the kernel a rule (chosen).
MAX_SELECTORS = 16

Transport = Literal["tcp", "udp", "other", "any"]
Ranges = tuple[tuple[int, int], ...]
METER = "subscriber.bytes"
"""The field whose value is made of every packet of every flow."""

_BOTH = frozenset(Direction)
_ALL_PORTS: Ranges = ((0, 0xFFFF),)


@dataclass(frozen=True, slots=True)
class Selector:
    """Packets of one transport whose ports lie in these ranges (inclusive; None: any port).

    `payload_only`: packets without transport payload cannot match. `protocols`: in each that matches, dissectors have
    found fields of all of these.
    """

    transport: Transport
    src_ports: Ranges | None
    dst_ports: Ranges | None
    payload_only: bool
    protocols: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Needs:
    """`protocols`: dissectors to run. `fields`: the dissected fields that are read. `window_bytes`: how much of the
    stream before a payload must be at hand. `directions`: those whose packets can match. `own`: the fields of
    our own that are read, which Wireshark does not know. `counts`: how much of the flow has been seen matters.
    `meters`: how much of the subscriber's whole traffic. `per_flow`: the answer is the same for every packet of a flow
    and direction."""

    protocols: frozenset[str]
    fields: frozenset[str]
    selectors: tuple[Selector, ...]
    window_bytes: int
    directions: frozenset[Direction]
    own: frozenset[str]
    counts: bool
    meters: bool
    per_flow: bool
    words: Words | None = None
    """Of these at least one stands in what the sender has said by then (`words_of`); None: not known."""

    @property
    def wireshark(self) -> bool:
        """Whether only Wireshark's fields are used, so that the filter can be pasted there."""
        return not self.own


@dataclass(frozen=True, slots=True)
class _Region:
    """A set of packets that holds all that can make a test true."""

    transport: Transport = "any"
    src_ports: Ranges = _ALL_PORTS
    dst_ports: Ranges = _ALL_PORTS
    payload_only: bool = False
    directions: frozenset[Direction] = _BOTH
    protocols: frozenset[str] = frozenset()


def needs_of(test: TypedTest) -> Needs:
    fields = fields_of(test)
    regions = _regions(test, wanted=True)
    dissected = [field for field in fields if field.origin is Origin.DISSECTED]
    return Needs(
        protocols=frozenset(field.group.partition(".")[0] for field in dissected),
        fields=frozenset(field.name for field in dissected),
        selectors=tuple(dict.fromkeys(map(_selector, regions))),
        window_bytes=_window_bytes(test),
        directions=frozenset().union(*(region.directions for region in regions)),
        own=frozenset(field.name for field in fields if field.origin is Origin.OWN),
        counts=any(field.grows for field in fields),
        meters=any(field.name == METER for field in fields),
        per_flow=all(field.per_flow for field in fields),
        words=words_of(test),
    )


def _selector(region: _Region) -> Selector:
    src = None if region.src_ports == _ALL_PORTS else region.src_ports
    dst = None if region.dst_ports == _ALL_PORTS else region.dst_ports
    return Selector(region.transport, src, dst, region.payload_only, region.protocols)


def _regions(node: TypedTest, *, wanted: bool) -> tuple[_Region, ...]:
    """Where the test can come out as `wanted`; no region at all if nowhere."""
    match node:
        case NotTest(test):
            return _regions(test, wanted=not wanted)
        case AndTest(tests) | OrTest(tests):
            parts = [_regions(test, wanted=wanted) for test in tests]
            if isinstance(node, AndTest) != wanted:
                return _bounded(tuple(region for part in parts for region in part))
            met: tuple[_Region, ...] = (_Region(),)
            for part in parts:
                pairs = (_intersection(a, b) for a in met for b in part)
                met = _bounded(tuple(region for region in pairs if region is not None))
            return met
    return _leaf_regions(node) if wanted else (_Region(),)


def _leaf_regions(node: Leaf) -> tuple[_Region, ...]:
    fields = fields_of(node)
    region: _Region | None = _Region()
    for field in fields:
        region = region and _intersection(region, _field_region(field))
    if region is None:
        return ()
    countable = len(fields) == 1 and fields[0].type in (Type.NUMBER, Type.CHOICE)
    if not countable or not isinstance(node, CompareTest | MemberTest):
        return (region,)
    name = fields[0].name
    values = _accepted(node)
    if values is None:
        return (region,)
    if name == "tcp.len":
        return (replace(region, payload_only=not _met(values, ((0, 0),))),)
    if name == "flow.direction":
        directions = frozenset(
            direction for direction in Direction if _met(values, ((direction, direction),))
        )
        return (replace(region, directions=directions),) if directions else ()
    if not fields[0].zero_if_absent:
        return (region,)
    return _port_regions(region, name.rpartition(".")[2], values, every=node.every)


def _field_region(field: Field) -> _Region:
    directions = _BOTH if field.sent_by is None else frozenset({field.sent_by})
    transport: Transport = field.where.transport  # type: ignore[assignment]
    dissected = field.origin is Origin.DISSECTED
    protocols = frozenset({field.group.partition(".")[0]}) if dissected else frozenset()
    return _Region(transport, payload_only=field.with_payload, directions=directions, protocols=protocols)


def _port_regions(region: _Region, which: str, ports: Ranges, *, every: bool) -> tuple[_Region, ...]:
    if not ports:
        return ()
    src, dst = replace(region, src_ports=ports), replace(region, dst_ports=ports)
    if which == "port":
        return (replace(src, dst_ports=ports),) if every else (src, dst)
    return (src,) if which == "srcport" else (dst,)


def _accepted(node: CompareTest | MemberTest) -> Ranges | None:
    """The numbers up to 65535 that a field may have, when it is compared with constants."""
    match node:
        case MemberTest(FieldValue(), elements):
            return merged_ranges(tuple(_ends(element) for element in elements))
        case CompareTest(relation, FieldValue(), Const(_, value)) if isinstance(value, int):
            below, above = (
                ((0, value - 1),) if value else (),
                ((value + 1, 0xFFFF),) if value < 0xFFFF else (),
            )
            same = ((value, value),)
            return {
                "==": same, "!=": below + above, "<": below, "<=": merged_ranges(below + same),
                ">": above, ">=": merged_ranges(same + above),
            }[relation]  # fmt: skip
    return None


def _ends(element: Const | Between) -> tuple[int, int]:
    if isinstance(element, Const):
        return int(element.value), int(element.value)
    return int(element.low), int(element.high)


def merged_ranges(ranges: Ranges) -> Ranges:
    """In order, without overlaps, neighbours joined."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _met(one: Ranges, other: Ranges) -> Ranges:
    """What lies in both."""
    common = ((max(a, c), min(b, d)) for a, b in one for c, d in other)
    return merged_ranges(tuple((low, high) for low, high in common if low <= high))


def _intersection(one: _Region, other: _Region) -> _Region | None:
    src, dst = _met(one.src_ports, other.src_ports), _met(one.dst_ports, other.dst_ports)
    directions = one.directions & other.directions
    if "any" not in (one.transport, other.transport) and one.transport != other.transport:
        return None
    if not src or not dst or not directions:
        return None
    transport = other.transport if one.transport == "any" else one.transport
    protocols = one.protocols | other.protocols
    return _Region(transport, src, dst, one.payload_only or other.payload_only, directions, protocols)


def _bounded(regions: tuple[_Region, ...]) -> tuple[_Region, ...]:
    """The same packets or more, in at most MAX_SELECTORS regions."""
    regions = tuple(dict.fromkeys(regions))
    if len(regions) <= MAX_SELECTORS:
        return regions
    joined: dict[tuple[str, bool, frozenset[str]], _Region] = {}
    for region in regions:
        key = (region.transport, region.payload_only, region.protocols)
        joined[key] = _union(joined[key], region) if key in joined else region
    return tuple(joined.values())


def _union(one: _Region, other: _Region) -> _Region:
    """Packets of either, and some more: ports are joined one by one."""
    src, dst = merged_ranges(one.src_ports + other.src_ports), merged_ranges(one.dst_ports + other.dst_ports)
    return replace(one, src_ports=src, dst_ports=dst, directions=one.directions | other.directions)


def _window_bytes(node: TypedTest) -> int:
    match node:
        case NotTest(test):
            return _window_bytes(test)
        case AndTest(tests) | OrTest(tests):
            return max(map(_window_bytes, tests))
        case ContainsTest(FieldValue(Field(name="tcp.payload")), Const(_, needle)) if isinstance(
            needle, bytes
        ):
            return max(len(needle) - 1, 0)
        case MatchesTest(FieldValue(Field(name="tcp.payload"))):
            return PATTERN_WINDOW_BYTES
    return 0
