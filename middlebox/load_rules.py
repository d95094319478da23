"""`rules:` and `tcp:` in a profile -> `profile.Rule` and `profile.TcpReading`.

Checks what no single value shows: an on-path box cannot drop, names are unique, a filter must compile.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from middlebox.filters import CompiledFilter, FilterError, compile_filter
from middlebox.flow import Direction
from middlebox.load_look import Fields, look_fields, read_look
from middlebox.load_sources import ProfileReader
from middlebox.profile import (
    Action,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Overlap,
    Placement,
    Reassembly,
    Reset,
    Residual,
    Rule,
    StateFrom,
    TcpReading,
    Towards,
)
from middlebox.reader import optional
from middlebox.yamlsource import Node, either, nearest

MAX_RESIDUAL_ENTRIES = 1_000_000
"""Capacity of a residual table: memory, not realism, sets the end (chosen)."""

MAX_FLOWS = 1_000_000
"""As above, for the flow table (chosen)."""

NAME = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")

_RESIDUAL_ONLY = MappingProxyType(dict.fromkeys(("refresh", "capacity", "key", "for"), "below residual:"))
_LOOK_ONLY = MappingProxyType(
    dict.fromkeys(
        ("count", "flags", "seq", "ack", "window", "ttl", "ip_id", "delay", "payload"), "below look:"
    )
)


def read_name(reader: ProfileReader, node: Node, what: str) -> str:
    """A name such as reset-both-on-starttls: it ends up in file names, events and Wireshark comments."""
    if isinstance(node.value, str) and NAME.fullmatch(node.value) and len(node.value) <= 80:
        return node.value
    reader.problem(
        node, f"{what} of small letters, digits and -", "name it by what it does: reset-both-on-starttls"
    )
    return ""


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
        self.actions: Mapping[str, Callable[[Node], Action]] = {
            "reset": self.reset, "drop": self.drop, "log": self.log,
        }  # fmt: skip

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
        for key in ("when", "probability"):
            if key in fields:
                reader.cite(fields[key])
        return Rule(
            name=optional(fields, "name", lambda n: read_name(reader, n, "a rule name"), ""),
            when=read_filter(reader, fields["when"]) if "when" in fields else _never(),
            do=optional(fields, "do", self.read_do, ()),
            probability=optional(fields, "probability", reader.share, 1.0),
            direction=optional(fields, "direction", self.direction, None),
            residual=optional(fields, "residual", self.residual, None),
        )

    def direction(self, node: Node) -> Direction:
        words = {direction.word: direction for direction in Direction}
        return words[self.reader.word(node, words)]

    def residual(self, node: Node) -> Residual:
        reader = self.reader
        fields = reader.mapping(node, ("key", "for", "do"), ("refresh", "capacity"))
        for name, value in fields.items():
            if name != "do":
                reader.cite(value)
        return Residual(
            key=optional(fields, "key", self.residual_key, ()),
            duration_ns=optional(fields, "for", lambda n: reader.duration_ns(n, at_least=1), 1),
            refresh=optional(fields, "refresh", reader.flag, False),
            do=optional(fields, "do", self.read_do, ()),
            capacity=optional(fields, "capacity", lambda n: reader.whole(n, 1, MAX_RESIDUAL_ENTRIES), 65536),
        )

    def residual_key(self, node: Node) -> tuple[KeyPart, ...]:
        parts = {part.value: part for part in KeyPart}
        words: list[str] = []
        for item in self.reader.items(node, "key parts", at_least=1):
            word = self.reader.word(item, parts)
            if word in words:
                self.reader.problem(item, "each part of the key once", "remove it")
            words.append(word)
        return tuple(parts[word] for word in words)

    # --- actions ---

    def read_do(self, node: Node) -> tuple[Action, ...]:
        return tuple(self.action(item) for item in self.reader.items(node, "actions", at_least=1))

    def action(self, node: Node) -> Action:
        reader, place = self.reader, (node.line, node.column)
        if isinstance(node.value, dict) and len(node.value) == 1:
            [(name, parameters)] = node.value.items()
            place = node.keys[name]
        elif isinstance(node.value, str):
            name, parameters = node.value, Node(None, node.line, node.column, node.path)
        else:
            expected = f"one action, {either(self.actions)}"
            got = f"{len(node.value)} keys" if isinstance(node.value, dict) and node.value else None
            reader.problem(node, expected, "write each action with a - of its own", got=got)
            return Log()
        if name not in self.actions:
            at = Node(name, *place, node.path)
            reader.problem(
                at, f"one of the actions {either(self.actions)}", nearest(name, self.actions) or "use one"
            )
            return Log()
        if name == "drop" and self.placement is Placement.ON_PATH:
            then = "write placement: in-path, or take the drop out"
            reader.problem(
                Node(name, *place, node.path), "an action that an on-path box can take, reset or log", then
            )
        return self.actions[name](parameters)

    def reset(self, node: Node) -> Reset:
        reader = self.reader
        if node.value is None:
            return Reset(Towards.BOTH, read_look(reader, node, self.look))
        known = ("towards", "look", "to_client", "to_server")
        fields = reader.mapping(node, (), known, elsewhere=_LOOK_ONLY)
        ends = {end.value: end for end in Towards}
        towards = ends[reader.word(fields["towards"], ends)] if "towards" in fields else Towards.BOTH
        layers = [self.look, optional(fields, "look", lambda n: look_fields(reader, n), {})]
        looks: dict[str, Fields] = {
            key: look_fields(reader, fields[key]) for key in ("to_client", "to_server") if key in fields
        }
        for key, end in (("to_client", Towards.CLIENT), ("to_server", Towards.SERVER)):
            if key in fields and towards not in (end, Towards.BOTH):
                then = f"remove it, or write towards: {end.value} or both"
                reader.key_problem(node, key, f"no {key} where the reset goes towards {towards.value}", then)
        return Reset(
            towards,
            read_look(reader, node, *layers),
            read_look(reader, node, *layers, looks["to_client"]) if "to_client" in looks else None,
            read_look(reader, node, *layers, looks["to_server"]) if "to_server" in looks else None,
        )

    def drop(self, node: Node) -> Drop:
        if node.value is None:
            return Drop()
        scopes = {scope.value: scope for scope in DropScope}
        return Drop(scopes[self.reader.word(node, scopes)])

    def log(self, node: Node) -> Log:
        if node.value not in (None, {}):
            self.reader.problem(node, "no parameters for log", "write - log")
        return Log()


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
        "check_checksum": "checks_checksum", "check_ack": "checks_ack", "check_data_offset": "checks_data_offset",
        "end_on_rst": "ends_on_rst", "end_on_fin": "ends_on_fin", "buffer": "buffer_bytes", "idle": "idle_ns",
        "max_flows": "max_flows", "join_tls_records": "join_tls_records",
    }  # fmt: skip
    fields = reader.mapping(node, (), names)
    reads: dict[str, Callable[[Node], object]] = {
        "state": lambda n: StateFrom(reader.word(n, [state.value for state in StateFrom])),
        "reassembly": lambda n: Reassembly(reader.word(n, [r.value for r in Reassembly])),
        "overlap": lambda n: Overlap(reader.word(n, [o.value for o in Overlap])),
        "buffer": lambda n: reader.size_bytes(n, 0, 16 * 2**20),
        "idle": lambda n: reader.duration_ns(n, at_least=1),
        "max_flows": lambda n: reader.whole(n, 1, MAX_FLOWS),
    }
    values: dict[str, Any] = {}
    for key, value in fields.items():
        reader.cite(value)
        values[names[key]] = reads.get(key, reader.flag)(value)
    return TcpReading(**values)
