"""Faults and scripts in `steps:` of a scenario: `{fault: cut, on: access1}` and what `tcp-script` is to do.

Names are checked against what there is: kinds of `lab.faults`, nodes of the topology that can have such a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lab.faults import FAULTS
from lab.topology import Role
from middlebox.reader import Reader
from middlebox.yamlsource import Node
from scenarios.model import Fault, ScriptLine

MAX_SEND_BYTES = 1_000_000
"""In one line of a script (chosen: ten seconds on a slow link)."""

_WORDS = ("end", "abort")
_VERBS = ("send", "receive", "fault")


def read_fault(reader: Reader, node: Node, nodes: Mapping[Role, Sequence[str]]) -> Fault:
    """`{fault: KIND, on: NODE}`. nodes: names by role."""
    fields = reader.mapping(node, ("fault", "on"))
    kind = (
        reader.word(fields["fault"], sorted(FAULTS), what="a fault of the lab") if "fault" in fields else ""
    )
    if kind not in FAULTS or "on" not in fields:
        return Fault("", "")
    role = FAULTS[kind].role
    names = nodes[role]
    if not names:
        reader.problem(fields["on"], f"a {role.value} in this world", f"{kind} happens at a {role.value}")
        return Fault("", "")
    return Fault(kind, reader.word(fields["on"], names, what=f"a {role.value}, where {kind} can happen"))


def read_script(reader: Reader, node: Node, nodes: Mapping[Role, Sequence[str]]) -> tuple[ScriptLine, ...]:
    """`script:` of a step whose client is `tcp-script`."""
    return tuple(_line(reader, entry, nodes) for entry in reader.items(node, "lines", at_least=1))


def _line(reader: Reader, node: Node, nodes: Mapping[Role, Sequence[str]]) -> ScriptLine:
    if isinstance(node.value, str):
        return ScriptLine(
            reader.word(node, _WORDS, what="end, abort, {send: ...}, {receive: ...} or {fault: ...}")
        )
    verb = next((verb for verb in _VERBS if isinstance(node.value, dict) and verb in node.value), None)
    if verb == "fault":
        return ScriptLine("fault", fault=read_fault(reader, node, nodes))
    if verb is None:
        then = "write {send: 100}, {receive: 100}, {fault: KIND, on: NODE}, end or abort"
        reader.problem(node, "a line of a script", then)
        return ScriptLine("end")
    field = reader.mapping(node, (verb,))[verb]
    if verb == "send":
        if isinstance(field.value, str):
            return ScriptLine("send", data=field.value.encode())
        size = reader.whole(field, 1, MAX_SEND_BYTES, what="text, or a number of bytes")
        return ScriptLine("send", data=b"x" * size)
    if isinstance(field.value, str) and field.value:
        return ScriptLine("receive", data=field.value.encode())
    size = reader.whole(field, 1, MAX_SEND_BYTES, what="the text, or the number of bytes, to wait for")
    return ScriptLine("receive", size=size)
