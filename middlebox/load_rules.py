"""`rules:`, `tcp:`, `http:` and `quic:` in a profile -> `profile.Rule`, and how well the box reads these.

Checks what no single value shows: an on-path box cannot drop, names are unique, a filter must compile.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from middlebox.dissect import HttpReading, QuicReading
from middlebox.dissect.http import MAX_HEADER_BYTES
from middlebox.filters import CompiledFilter, FilterError, compile_filter
from middlebox.load_actions import ActionReader, read_direction, read_key, read_name
from middlebox.load_look import Fields, look_fields, read_delay
from middlebox.load_redirect import check_redirect
from middlebox.load_sources import ProfileReader
from middlebox.profile import (
    Case,
    Overlap,
    Placement,
    Reassembly,
    Residual,
    Rule,
    SecondSyn,
    StateFrom,
    TcpReading,
)
from middlebox.reader import optional
from middlebox.yamlsource import Node, either

MAX_RESIDUAL_ENTRIES = 1_000_000
"""Capacity of a residual table: memory, not realism, sets the end (chosen)."""

MAX_FLOWS = 1_000_000
"""As above, for the flow table (chosen)."""

_RESIDUAL_ONLY = MappingProxyType(
    dict.fromkeys(("refresh", "capacity", "key", "for", "after"), "below residual:")
)


def read_rules(reader: ProfileReader, node: Node, placement: Placement, defaults: Fields) -> tuple[Rule, ...]:
    """All rules of a profile. defaults: the fields of `defaults: {look: ...}`."""
    seen: dict[str, int] = {}
    rules = []
    for item in reader.items(node, "rules", at_least=1):
        rule = _RuleReader(reader, placement, defaults).read(item)
        name_node = item.value.get("name") if isinstance(item.value, dict) else None
        if name_node is not None and rule.name in seen:
            reader.problem(name_node, "a rule name of its own", f"line {seen[rule.name]} has it already")
        elif name_node is not None and rule.name:
            seen[rule.name] = name_node.line
        rules.append(rule)
    return tuple(rules)


class _RuleReader:
    """Reads one rule; knows the placement and the looks around its actions."""

    def __init__(self, reader: ProfileReader, placement: Placement, look: Fields) -> None:
        self.reader = reader
        self.placement = placement
        self.look = look

    def read(self, node: Node) -> Rule:
        reader = self.reader
        optional_keys = ("look", "probability", "direction", "residual")
        fields = reader.mapping(
            node,
            ("name", "when", "do"),
            optional_keys,
            elsewhere={**_RESIDUAL_ONLY, "towards": "below reset:"},
        )
        if "look" in fields:
            self.look = self.look | look_fields(reader, fields["look"])
        for key in ("when", "probability", "direction"):
            if key in fields:
                reader.cite(fields[key])
        rule = Rule(
            name=optional(fields, "name", lambda n: read_name(reader, n, "a rule name"), ""),
            when=read_filter(reader, fields["when"]) if "when" in fields else _never(),
            do=optional(fields, "do", ActionReader(reader, self.placement, self.look).read, ()),
            probability=optional(fields, "probability", reader.share, 1.0),
            direction=optional(fields, "direction", lambda n: read_direction(reader, n), None),
            residual=optional(fields, "residual", self.residual, None),
        )
        if {"when", "do"} <= fields.keys():
            check_redirect(reader, fields, rule)
        return rule

    def residual(self, node: Node) -> Residual:
        reader = self.reader
        fields = reader.mapping(node, ("key", "for", "do"), ("refresh", "capacity", "after"))
        for name, value in fields.items():
            if name != "do":
                reader.cite(value)
        actions = ActionReader(reader, self.placement, self.look)
        depends = "do" in fields and _is_case(fields["do"])
        return Residual(
            key=optional(fields, "key", lambda n: read_key(reader, n), ()),
            duration_ns=optional(fields, "for", lambda n: reader.duration_ns(n, at_least=1), 1),
            refresh=optional(fields, "refresh", reader.flag, False),
            do=() if depends else optional(fields, "do", actions.read, ()),
            capacity=optional(fields, "capacity", lambda n: reader.whole(n, 1, MAX_RESIDUAL_ENTRIES), 65536),
            cases=self.cases(fields["do"], actions) if depends else (),
            after=optional(fields, "after", lambda n: read_delay(reader, n), 0),
        )

    def cases(self, node: Node, actions: ActionReader) -> tuple[Case, ...]:
        """`do:` of a residual that depends on the packet: `- {when: ..., do: [...]}`."""
        reader = self.reader
        found: list[Case] = []
        for item in reader.items(node, "cases"):
            fields = reader.mapping(item, ("when", "do"))
            if "when" not in fields or "do" not in fields:
                continue
            reader.cite(fields["when"])
            when = read_filter(reader, fields["when"])
            if when.needs.protocols:
                what = either(sorted(when.needs.protocols))
                then = "who is punished is not read any more; ask for tcp.flags.syn, say"
                reader.problem(fields["when"], "a filter over single packets", then, got=f"one over {what}")
            found.append(Case(when, actions.read(fields["do"])))
        return tuple(found)


def _is_case(node: Node) -> bool:
    first = node.value[0].value if isinstance(node.value, list) and node.value else None
    return isinstance(first, dict) and "when" in first


# --- filters -------------------------------------------------------------------------------------------------------


def read_filter(reader: ProfileReader, node: Node) -> CompiledFilter:
    text = reader.text(node, "a filter as text")
    if not text:
        return _never()
    try:
        return compile_filter(text, file=reader.path, line=node.line, column=node.column)
    except FilterError as error:
        # The filter's own idea of its position knows nothing of YAML's quotes and folded lines.
        line, column = node.place(reader.text_of_file, error.offset)
        reader.add(line, column, error.message)
        return _never()


def _never() -> CompiledFilter:
    """Stands in for a filter that could not be read; the profile is refused anyway."""
    return compile_filter("tcp.port == 0")


# --- how it reads TCP ----------------------------------------------------------------------------------------------


def read_tcp(reader: ProfileReader, node: Node) -> TcpReading:
    """`tcp:`, all keys optional; what is not written is as in `TcpReading`."""
    names = {
        "state": "state_from", "handshake": "handshake", "reassembly": "reassembly", "overlap": "overlap",
        "second_syn": "second_syn", "check_checksum": "checks_checksum", "check_ack": "checks_ack",
        "check_data_offset": "checks_data_offset", "end_on_rst": "ends_on_rst", "end_on_fin": "ends_on_fin",
        "resync_on_rst": "resync_on_rst", "resync_on_refusal": "resync_on_refusal", "buffer": "buffer_bytes",
        "idle": "idle_ns", "max_flows": "max_flows", "join_tls_records": "join_tls_records",
    }  # fmt: skip
    fields = reader.mapping(node, (), names)
    reads: dict[str, Callable[[Node], object]] = {
        "state": lambda n: StateFrom(reader.word(n, [state.value for state in StateFrom])),
        "reassembly": lambda n: Reassembly(reader.word(n, [r.value for r in Reassembly])),
        "overlap": lambda n: Overlap(reader.word(n, [o.value for o in Overlap])),
        "second_syn": lambda n: SecondSyn(reader.word(n, [s.value for s in SecondSyn])),
        "resync_on_rst": reader.share,
        "resync_on_refusal": reader.share,
        "buffer": lambda n: reader.size_bytes(n, 0, 16 * 2**20),
        "idle": lambda n: reader.duration_ns(n, at_least=1),
        "max_flows": lambda n: reader.whole(n, 1, MAX_FLOWS),
    }
    values: dict[str, Any] = {}
    for key, value in fields.items():
        reader.cite(value)
        values[names[key]] = reads.get(key, reader.flag)(value)
    return TcpReading(**values)


def read_http(reader: ProfileReader, node: Node) -> HttpReading:
    """`http:`, all keys optional; what is not written is as in `HttpReading`."""
    names = {
        "first_request_only": "first_request_only", "uri_limit": "uri_bytes",
        "header_name_limit": "header_name_limit", "crlf_only": "crlf_only",
    }  # fmt: skip
    values: dict[str, Any] = {}
    for key, value in reader.mapping(node, (), names).items():
        reader.cite(value)
        is_size = key.endswith("_limit")
        values[names[key]] = reader.size_bytes(value, 1, MAX_HEADER_BYTES) if is_size else reader.flag(value)
    return HttpReading(**values)


MAX_PATIENCE = 1000
"""Datagrams that are no QUIC, of one flow (chosen)."""


def read_quic(reader: ProfileReader, node: Node) -> QuicReading:
    """`quic:`, all keys optional; what is not written is as in `QuicReading`."""
    fields = reader.mapping(node, (), ("join_initials", "patience", "opens_server"))
    values: dict[str, Any] = {}
    for key, value in fields.items():
        reader.cite(value)
        values[key] = reader.whole(value, 1, MAX_PATIENCE) if key == "patience" else reader.flag(value)
    return QuicReading(**values)
