"""`do:` in a profile -> the actions of `middlebox.profile`.

Each action is a word with its parameters: `- drop: flow`. What an action may be, where it may be used and what it says
by default is decided here; what it does is decided in `actions`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from types import MappingProxyType

from middlebox.flow import Direction
from middlebox.load_look import Fields, look_fields, read_delay, read_look, read_number
from middlebox.load_redirect import read_redirect
from middlebox.load_rewrite import read_rewrite
from middlebox.load_sources import ProfileReader
from middlebox.look import Constant, Look, Number, Uniform
from middlebox.packet import ACK, FIN, PSH, RST
from middlebox.profile import (
    Action,
    AnswerName,
    Close,
    Delay,
    Dns,
    Drop,
    DropScope,
    Icmp,
    KeyPart,
    Log,
    Mark,
    Placement,
    PortBlock,
    Reply,
    Reset,
    Throttle,
    Towards,
    Unmark,
)
from middlebox.reader import optional
from middlebox.units import RATE_UNITS, parse_quantity
from middlebox.yamlsource import Node, either, nearest

IN_PATH_ONLY = ("drop", "rewrite", "throttle", "delay", "redirect")
"""What a tap with an injector cannot do."""

_NOT_ON_THE_WIRE = ("log", "mark", "unmark")
"""How a profile does something is no statement about the real system."""

BURST_BYTES = 16 * 1024
"""A throttle's bucket unless it says otherwise: a dozen full segments (chosen)."""

MAX_RATE_BITS_PER_S = 10**11

NAME = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_BLOCK = re.compile(r"([a-z_]+) */ *([1-9]\d{0,4})", re.ASCII)

_LOOK_ONLY = MappingProxyType(
    dict.fromkeys(
        ("count", "flags", "seq", "ack", "window", "ttl", "ip_id", "delay", "payload"), "below look:"
    )
)
_OWN_FIELDS = ("flags", "payload", "seq_offsets", "count", "identical")
"""What a look around says about resets, and an action that is none does not take over."""


def read_name(reader: ProfileReader, node: Node, what: str) -> str:
    """A name such as reset-both-on-starttls: it ends up in file names, events and Wireshark comments."""
    if isinstance(node.value, str) and NAME.fullmatch(node.value) and len(node.value) <= 80:
        return node.value
    reader.problem(
        node, f"{what} of small letters, digits and -", "name it by what it does: reset-both-on-starttls"
    )
    return ""


def read_key(reader: ProfileReader, node: Node) -> tuple[KeyPart | PortBlock, ...]:
    """The parts of a residual's or mark's key, each once; a port may be `client_port / 128`, its block of 128."""
    parts = {part.value: part for part in KeyPart}
    found: dict[KeyPart, KeyPart | PortBlock] = {}
    for item in reader.items(node, "key parts", at_least=1):
        block = _BLOCK.fullmatch(item.value) if isinstance(item.value, str) else None
        word = Node(block[1], item.line, item.column, item.path) if block else item
        part = parts[reader.word(word, parts)]
        if part in found:
            reader.problem(item, "each part of the key once", "remove it")
        if block and not part.value.endswith("_port"):
            reader.problem(item, "blocks of ports only", f"write {part.value}, or client_port / {block[2]}")
        found[part] = PortBlock(part, max(int(block[2]), 1)) if block else part
    return tuple(found.values())


def read_direction(reader: ProfileReader, node: Node) -> Direction:
    """`client-to-server` or `server-to-client`."""
    words = {direction.word: direction for direction in Direction}
    return words[reader.word(node, words)]


class ActionReader:
    """Reads actions; knows the placement of the box and the look around them."""

    def __init__(self, reader: ProfileReader, placement: Placement, look: Fields) -> None:
        self.reader = reader
        self.placement = placement
        self.look = look
        self.actions: Mapping[str, Callable[[Node], Action]] = {
            "reset": self.reset, "close": self.close, "reply": self.reply, "dns": self.dns, "icmp": self.icmp,
            "drop": self.drop, "rewrite": lambda node: read_rewrite(reader, node), "throttle": self.throttle,
            "delay": self.delay, "mark": self.mark, "unmark": lambda node: Unmark(read_name(reader, node, "a mark")),
            "redirect": lambda node: read_redirect(reader, node), "log": self.log,
        }  # fmt: skip

    def read(self, node: Node) -> tuple[Action, ...]:
        """A list of actions that is not empty."""
        return tuple(self.action(item) for item in self.reader.items(node, "actions", at_least=1))

    def action(self, node: Node) -> Action:
        reader, place = self.reader, (node.line, node.column)
        if isinstance(node.value, dict) and len(node.value) == 1:
            [(name, parameters)] = node.value.items()
            place = node.keys[name]
        elif isinstance(node.value, str):
            name, parameters = node.value, Node(None, node.line, node.column, node.path)
        else:
            got = f"{len(node.value)} keys" if isinstance(node.value, dict) and node.value else None
            reader.problem(
                node, f"one action, {either(self.actions)}", "write each action with a - of its own", got=got
            )
            return Log()
        at = Node(name, *place, node.path)
        if name not in self.actions:
            reader.problem(
                at, f"one of the actions {either(self.actions)}", nearest(name, self.actions) or "use one"
            )
            return Log()
        if name in IN_PATH_ONLY and self.placement is Placement.ON_PATH:
            can = [word for word in self.actions if word not in IN_PATH_ONLY]
            then = f"write placement: in-path, or take the {name} out"
            reader.problem(at, f"an action that an on-path box can take, {either(can)}", then)
        if name not in _NOT_ON_THE_WIRE:
            # That it is this action, towards these ends: what it says besides is cited by itself.
            reader.cite_as(node.path, parameters if parameters.source else node)
        return self.actions[name](parameters)

    # --- forged TCP segments ---

    def reset(self, node: Node) -> Reset:
        towards, look, to_client, to_server = self.segments(node, self.look, RST)
        return Reset(towards, look, to_client, to_server)

    def close(self, node: Node) -> Close:
        towards, look, to_client, to_server = self.segments(node, self.look_with_flags(node, "FA"), FIN)
        return Close(towards, look, to_client, to_server)

    def reply(self, node: Node) -> Reply:
        towards, look, to_client, to_server = self.segments(node, self.look_with_flags(node, "PA"), 0)
        # Flags may be all that is said: a SYN+ACK, a bare ACK.
        said = [each for each in (look, to_client, to_server) if each is not None]
        if not any(each.payload or each.flags != PSH | ACK for each in said):
            self.reader.problem(
                node, "a payload to reply with", "write reply: {look: {payload: ...}}", got="none"
            )
        return Reply(towards, look, to_client, to_server)

    def segments(
        self, node: Node, outer: Fields, flag: int
    ) -> tuple[Towards, Look, Look | None, Look | None]:
        """What reset, close and reply share: whom, and the looks. flag: must be among each look's flags."""
        reader = self.reader
        if node.value is None:
            return Towards.BOTH, read_look(reader, node, outer, flag=flag), None, None
        known = ("towards", "look", "to_client", "to_server")
        fields = reader.mapping(node, (), known, elsewhere=_LOOK_ONLY)
        towards = self.towards(fields)
        layers = [outer, optional(fields, "look", lambda n: look_fields(reader, n), {})]
        looks: list[Look | None] = []
        for key, end in (("to_client", Towards.CLIENT), ("to_server", Towards.SERVER)):
            if key not in fields:
                looks.append(None)
                continue
            if towards not in (end, Towards.BOTH):
                then = f"remove it, or write towards: {end.value} or both"
                reader.key_problem(node, key, f"no {key} where it goes towards the {towards.value}", then)
            looks.append(read_look(reader, node, *layers, look_fields(reader, fields[key]), flag=flag))
        return towards, read_look(reader, node, *layers, flag=flag), looks[0], looks[1]

    def towards(self, fields: Mapping[str, Node]) -> Towards:
        ends = {end.value: end for end in Towards}
        return ends[self.reader.word(fields["towards"], ends)] if "towards" in fields else Towards.BOTH

    def look_with_flags(self, node: Node, flags: str) -> Fields:
        """The look around, less what is about resets, with the flags that this action has unless it says otherwise."""
        around = {name: value for name, value in self.look.items() if name not in _OWN_FIELDS}
        return around | {"flags": Node(flags, node.line, node.column, node.path)}

    # --- other forged packets ---

    def dns(self, node: Node) -> Dns:
        reader = self.reader
        known = (
            "a",
            "aaaa",
            "ttl",
            "authoritative",
            "recursion_available",
            "cyclic",
            "any_type",
            "name",
            "look",
        )
        fields = reader.mapping(node, (), known)
        if fields and "a" not in fields and "aaaa" not in fields:
            reader.problem(node, "addresses to answer with", "add a: [192.0.2.1]", got="none")
        for key, value in fields.items():
            if key != "look":
                reader.cite(value)
        names = {name.value: name for name in AnswerName}
        return Dns(
            a=optional(fields, "a", lambda n: self.addresses(n, 4), ()),
            aaaa=optional(fields, "aaaa", lambda n: self.addresses(n, 6), ()),
            look=self.plain_look(node, fields),
            ttl_s=optional(fields, "ttl", lambda n: read_number(reader, n, 0, 0x7FFFFFFF), Constant(300)),
            authoritative="authoritative" in fields and reader.flag(fields["authoritative"]),
            recursion_available="recursion_available" not in fields
            or reader.flag(fields["recursion_available"]),
            cyclic="cyclic" in fields and reader.flag(fields["cyclic"]),
            any_type="any_type" in fields and reader.flag(fields["any_type"]),
            name=optional(fields, "name", lambda n: names[reader.word(n, names)], AnswerName.POINTER),
        )

    def addresses(self, node: Node, version: int) -> tuple[bytes, ...]:
        found: list[bytes] = []
        for item in self.reader.one_or_more(node, "addresses"):
            try:
                address = ip_address(str(item.value))
            except ValueError:
                address = None
            if address is None or address.version != version:
                self.reader.problem(item, f"an IPv{version} address", "put IPv4 below a:, IPv6 below aaaa:")
            else:
                found.append(address.packed)
        return tuple(found)

    def icmp(self, node: Node) -> Icmp:
        reader = self.reader
        numbers = {"type": "kind", "code": "code", "type6": "kind6", "code6": "code6"}
        fields = (
            {}
            if node.value is None
            else reader.mapping(node, (), ("towards", "look", *numbers), elsewhere=_LOOK_ONLY)
        )
        values: dict[str, int] = {}
        for key, attribute in numbers.items():
            if key in fields:
                reader.cite(fields[key])
                values[attribute] = reader.whole(fields[key], 0, 255)
        return Icmp(self.towards(fields), self.plain_look(node, fields), **values)

    def plain_look(self, node: Node, fields: Mapping[str, Node]) -> Look:
        """The look of a packet that is not TCP: of the fields around, those of IP and of time."""
        around = {name: value for name, value in self.look.items() if name not in _OWN_FIELDS}
        own = optional(fields, "look", lambda n: look_fields(self.reader, n), {})
        return read_look(self.reader, node, around, own)

    # --- what becomes of the trigger ---

    def drop(self, node: Node) -> Drop:
        if node.value is None:
            return Drop()
        scopes = {scope.value: scope for scope in DropScope}
        return Drop(scopes[self.reader.word(node, scopes)])

    def throttle(self, node: Node) -> Throttle:
        reader = self.reader
        fields = reader.mapping(node, ("rate",), ("burst", "direction"))
        for value in fields.values():
            reader.cite(value)
        both = (Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT)
        return Throttle(
            rate_bits_per_s=optional(fields, "rate", self.rate, Constant(MAX_RATE_BITS_PER_S)),
            burst_bytes=optional(fields, "burst", lambda n: reader.size_bytes(n, 64, 2**30), BURST_BYTES),
            directions=optional(fields, "direction", lambda n: (read_direction(reader, n),), both),
        )

    def rate(self, node: Node) -> Number:
        if isinstance(node.value, dict):
            ends = self.reader.items(
                self.reader.mapping(node, ("range",)).get("range", node), "two rates", at_least=2
            )
            rates = [self.bits_per_s(end) for end in ends]
            if len(rates) == 2 and rates[0] <= rates[1]:
                return Uniform(rates[0], rates[1])
            self.reader.problem(
                node, "a range of two rates, the smaller first", "write {range: [130kbit, 150kbit]}"
            )
        return Constant(1) if isinstance(node.value, dict) else Constant(self.bits_per_s(node))

    def bits_per_s(self, node: Node) -> int:
        found = parse_quantity(node.raw, RATE_UNITS)
        if found is None or not 1 <= found <= MAX_RATE_BITS_PER_S:
            self.reader.problem(node, "a rate such as 140kbit", "write a number and bit, kbit, Mbit or Gbit")
            return 1
        return found

    def delay(self, node: Node) -> Delay:
        self.reader.cite(node)
        return Delay(read_delay(self.reader, node))

    # --- what is remembered ---

    def mark(self, node: Node) -> Mark:
        reader = self.reader
        if isinstance(node.value, str):
            return Mark(read_name(reader, node, "a mark"))
        fields = reader.mapping(node, ("word",), ("key", "for"))
        if ("key" in fields) != ("for" in fields):
            got = "only " + ("key" if "key" in fields else "for")
            then = "without them the mark is about this connection"
            reader.problem(node, "key and for together", then, got=got)
        for key in ("key", "for"):
            if key in fields:
                reader.cite(fields[key])
        return Mark(
            word=optional(fields, "word", lambda n: read_name(reader, n, "a mark"), ""),
            key=optional(fields, "key", lambda n: read_key(reader, n), ()),
            duration_ns=optional(fields, "for", lambda n: reader.duration_ns(n, at_least=1), 0),
        )

    def log(self, node: Node) -> Log:
        if node.value not in (None, {}):
            self.reader.problem(node, "no parameters for log", "write - log")
        return Log()
