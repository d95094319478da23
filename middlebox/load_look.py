"""`look:` in a profile -> `look.Look`: what forged packets look like.

A look is written in up to four places (`defaults:`, the rule, the action, the action's `to_client:` or `to_server:`),
each of which may give any of the fields; the innermost wins field by field. So a look is first a mapping of nodes,
merged, and only then read.

Sources: field widths from RFC 791, RFC 8200 and RFC 9293.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from middlebox.expression import NAMES, Expression, parse_expression
from middlebox.load_sources import ProfileReader
from middlebox.look import (
    AckFrom,
    Computed,
    Constant,
    Copied,
    Counter,
    Look,
    Mirrored,
    Number,
    Quantiles,
    SeqFrom,
    Uniform,
)
from middlebox.packet import RST, flag_letters, parse_flag_letters
from middlebox.reader import optional
from middlebox.yamlsource import Node, either, nearest

MAX_COUNT = 64
"""Packets per answer and end; the largest documented group has 28 (chosen)."""

MAX_OPTIONS_BYTES = 40
"""The TCP data offset has four bits: 15 words less the 5 of the fixed header (RFC 9293 3.1)."""

MAX_PAYLOAD_BYTES = 1400
"""Fits an Ethernet frame with every header and option (chosen)."""

Fields = dict[str, Node]
"""A look before it is read: field name -> node."""

_Word = TypeVar("_Word", SeqFrom, AckFrom)
_HEX = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2})+")


def look_fields(reader: ProfileReader, node: Node) -> Fields:
    """The fields that one `look:` gives. Each is checked here, whether or not another look wins over it."""
    fields = reader.mapping(node, (), _READERS)
    for name, value in fields.items():
        reader.cite(value)
        _READERS[name](reader, value)
    return fields


def read_look(reader: ProfileReader, node: Node, *layers: Fields, flag: int = 0) -> Look:
    """One look from its layers, outermost first. node: the action, for problems of the whole; flag: one of the TCP
    flags that the action needs, 0 if it needs none."""
    merged: Fields = {}
    for layer in layers:
        merged |= layer
    values: dict[str, Any] = {_ATTRIBUTES.get(k, k): _READERS[k](reader, n) for k, n in merged.items()}
    look = Look(**values)
    if flag and not look.flags & flag and "flags" in merged:
        letter = flag_letters(flag)
        reader.problem(merged["flags"], f"flags with {letter}", f"write {letter} or {letter}A")
    if len(look.seq_offsets) not in (1, look.count):
        got = f"{len(look.seq_offsets)}"
        where = merged.get("seq_offsets", node)
        reader.problem(
            where, f"one offset, or as many as count ({look.count})", "give one per packet", got=got
        )
    if look.identical and any(look.seq_offsets):
        then = "remove identical, or the offsets"
        reader.problem(merged["identical"], "different seq_offsets or identical packets, not both", then)
    return look


# --- numbers -------------------------------------------------------------------------------------------------------


def read_number(
    reader: ProfileReader, node: Node, low: int, high: int, words: Mapping[str, Number] = MappingProxyType({})
) -> Number:
    """A number of a forged packet between low and high: constant, word, range, counter or arithmetic."""
    words = {"random": Uniform(low, high), "copied": Copied(), **words}
    if isinstance(node.value, bool | float) or node.value is None or isinstance(node.value, list):
        reader.problem(node, _number_forms(low, high, words), "write one of these")
    elif isinstance(node.value, int):
        return Constant(reader.whole(node, low, high))
    elif isinstance(node.value, dict):
        return _read_number_mapping(reader, node, low, high)
    elif node.value in words:
        return words[node.value]
    else:
        try:
            return Computed(parse_expression(node.value))
        except (ValueError, RecursionError, MemoryError):  # the last two: brackets without end
            hint = _number_hint(node.value, words)
            reader.problem(node, _number_forms(low, high, words), hint)
    return Constant(low)


def _number_forms(low: int, high: int, words: Mapping[str, Number]) -> str:
    return f"a number from {low} to {high}, {', '.join(words)}, {{range: [a, b]}}, {{counter: ...}} or arithmetic"


def _number_hint(text: str, words: Mapping[str, Number]) -> str:
    """What its writer may have meant by a text that is no number of a look."""
    if text.isdecimal():
        return "it is too large"
    unknown = [name for name in re.findall(r"[A-Za-z_]\w*", text) if name not in NAMES]
    hint = nearest(text, words) or (nearest(unknown[0], NAMES) if unknown else "")
    if not hint and not unknown:
        hint = _unfinished(text)
    return hint or f"arithmetic knows the names {either(sorted(NAMES))}"


def _unfinished(text: str) -> str:
    """What is missing in arithmetic over names that are known; empty if nothing obvious is."""
    opened, closed = text.count("("), text.count(")")
    if text.rstrip()[-1:] in tuple("+-*/%&|^<>~("):
        return "it ends too early: write a number or a name behind it"
    if opened != closed:
        return "close the bracket: a ) is missing" if opened > closed else "a ( is missing, or remove the )"
    return ""


def _read_number_mapping(reader: ProfileReader, node: Node, low: int, high: int) -> Number:
    fields = reader.mapping(node, (), ("range", "counter"))
    if "range" in fields:
        ends = reader.items(fields["range"], "two numbers", at_least=2)
        if len(ends) == 2:
            first, last = reader.whole(ends[0], low, high), reader.whole(ends[1], low, high)
            if first > last:
                reader.problem(ends[1], f"a number from {first} up", "the smaller number comes first")
            return Uniform(first, last)
        if len(ends) > 2:
            reader.problem(ends[2], "two numbers", "write [smallest, largest]", got="a third one")
    elif "counter" in fields:
        return _read_counter(reader, fields["counter"], low, high)
    elif not node.value:
        reader.problem(node, "range or counter", "write {range: [a, b]}")
    return Constant(low)


def _read_counter(reader: ProfileReader, node: Node, low: int, high: int) -> Counter:
    """The counter that stands here: the same one to every look that takes it over."""
    if (known := reader.counters.get(id(node))) is not None:
        return known
    fields = reader.mapping(node, (), ("start", "step", "modulo", "per", "each", "of"))
    counter = reader.counters[id(node)] = Counter(
        start=optional(fields, "start", lambda n: reader.whole(n, low, high), low),
        step=optional(fields, "step", lambda n: reader.whole(n, -high, high), 1),
        modulo=optional(fields, "modulo", lambda n: reader.whole(n, 1, high + 1), high + 1),
        per=optional(fields, "per", lambda n: reader.word(n, ("box", "group")), "box"),
        each=optional(fields, "each", lambda n: reader.word(n, ("packet", "group")), "packet"),
        of=optional(fields, "of", lambda n: _read_choice(reader, n), None),
    )
    if counter.per == "group" and ("each" in fields or "of" in fields):
        then = "remove per: group, or each: and of:"
        reader.problem(
            node, "each: and of: only for a counter that outlives its group", then, got="per: group"
        )
    return counter


_KNOWN_BEFORE = frozenset(
    {
        "client_port",
        "server_port",
        "sport",
        "dport",
        "trigger_sport",
        "trigger_dport",
        "trigger_ttl",
        "trigger_ip_id",
    }
)
"""What can choose among counters: numbers that are there before any field of the packet is."""


def _read_choice(reader: ProfileReader, node: Node) -> Expression | None:
    """The number that chooses among several counters."""
    try:
        expression = parse_expression(node.raw)
    except (ValueError, RecursionError, MemoryError):
        expression = None
    if expression is None or not expression.names <= _KNOWN_BEFORE:
        reader.problem(node, f"arithmetic over {either(sorted(_KNOWN_BEFORE))}", "write server_port % 13")
        return None
    return expression


def _u32(reader: ProfileReader, node: Node) -> Number:
    return read_number(reader, node, 0, 0xFFFFFFFF)


def _u16(reader: ProfileReader, node: Node) -> Number:
    return read_number(reader, node, 0, 0xFFFF)


def _ttl(reader: ProfileReader, node: Node) -> Number:
    if isinstance(node.value, dict) and "initial" in node.value:
        node = reader.mapping(node, ("initial",))["initial"]
    # random: a TTL of 0 would never leave the box
    words: dict[str, Number] = {"random": Uniform(1, 255), "mirror": Mirrored()}
    return read_number(reader, node, 0, 255, words)


def _seq(reader: ProfileReader, node: Node) -> SeqFrom | Number:
    return _word_or_u32(reader, node, SeqFrom)


def _ack(reader: ProfileReader, node: Node) -> AckFrom | Number:
    return _word_or_u32(reader, node, AckFrom)


def _word_or_u32(reader: ProfileReader, node: Node, kind: type[_Word]) -> _Word | Number:
    words = {word.value: word for word in kind}
    if isinstance(node.value, str):
        if node.value in words:
            return words[node.value]
        if hint := nearest(node.value, words):
            reader.problem(node, f"{', '.join(words)} or a number", hint)
            return next(iter(kind))
    return _u32(reader, node)


# --- the rest of the fields ----------------------------------------------------------------------------------------


def read_flags(reader: ProfileReader, node: Node) -> int:
    """TCP flags as letters."""
    if isinstance(node.value, str) and node.value:
        try:
            return parse_flag_letters(node.value)
        except ValueError:
            pass
    reader.problem(node, "TCP flags as letters out of FSRPAUECN", "RST+ACK is written RA")
    return RST


def _seq_offsets(reader: ProfileReader, node: Node) -> tuple[int, ...]:
    offsets = reader.items(node, "offsets", at_least=1)
    return tuple(reader.whole(n, -0x80000000, 0x7FFFFFFF, what="an offset") for n in offsets) or (0,)


def read_delay(reader: ProfileReader, node: Node) -> int | Quantiles:
    """A duration, or `{quantiles: {0: 11ms, 50: 16ms, 100: 445ms}}` in per cent."""
    if not isinstance(node.value, dict):
        return reader.duration_ns(node)
    quantiles = reader.mapping(node, ("quantiles",)).get("quantiles")
    if quantiles is None:
        return 0
    if not isinstance(quantiles.value, dict) or not quantiles.value:
        reader.problem(
            quantiles, "a mapping from per cent to duration", "write {0: 11ms, 50: 16ms, 100: 445ms}"
        )
        return 0
    points: list[tuple[float, int]] = []
    for key, value in quantiles.value.items():
        try:
            share = float(key) / 100
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1 or (points and share <= points[-1][0]):
            reader.key_problem(quantiles, key, "per cent from 0 to 100, rising", "put the keys in order")
        delay = reader.duration_ns(value)
        if points and delay < points[-1][1]:
            reader.problem(value, "a delay no shorter than the one before", "quantiles never fall")
        points.append((share, delay))
    if points[0][0] != 0 or points[-1][0] != 1:
        reader.problem(quantiles, "quantiles from 0 (shortest) to 100 (longest)", "add the missing end")
    return Quantiles(tuple(points))


def read_bytes(reader: ProfileReader, node: Node, limit: int) -> bytes:
    """`01:02:ff` is hex, any other text is itself; `{hex: 01}` and `{text: ...}` say it openly."""
    data = b""
    if isinstance(node.value, dict):
        fields = reader.mapping(node, (), ("hex", "text"))
        if "hex" in fields:
            try:
                data = bytes.fromhex(fields["hex"].raw.replace(":", " "))
            except ValueError:
                reader.problem(fields["hex"], "bytes in hex such as 01:02:ff", "two digits a byte")
        elif "text" in fields:
            data = reader.text(fields["text"], "text").encode()
    elif isinstance(node.value, str):
        data = (
            bytes.fromhex(node.value.replace(":", "")) if _HEX.fullmatch(node.value) else node.value.encode()
        )
    else:
        reader.problem(node, "text, or bytes in hex such as 01:02:ff", "put text in quotes")
    if len(data) > limit:
        reader.problem(node, f"at most {limit} bytes", "shorten it", got=str(len(data)))
    return data


_READERS: Mapping[str, Callable[[ProfileReader, Node], Any]] = MappingProxyType(
    {
        "count": lambda reader, node: reader.whole(node, 1, MAX_COUNT),
        "flags": read_flags,
        "seq": _seq,
        "seq_offsets": _seq_offsets,
        "ack": _ack,
        "window": _u16,
        "ttl": _ttl,
        "ip_id": _u16,
        "dont_fragment": lambda reader, node: reader.flag(node),
        "tos": lambda reader, node: reader.whole(node, 0, 255),
        "options": lambda reader, node: read_bytes(reader, node, MAX_OPTIONS_BYTES),
        "payload": lambda reader, node: read_bytes(reader, node, MAX_PAYLOAD_BYTES),
        "spacing": lambda reader, node: reader.duration_ns(node),
        "delay": read_delay,
        "identical": lambda reader, node: reader.flag(node),
    }
)
_ATTRIBUTES = MappingProxyType({"spacing": "spacing_ns"})
