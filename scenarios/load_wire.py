"""`wire:` expectations of a scenario: what the packets themselves must show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from middlebox.reader import Reader, optional
from middlebox.yamlsource import Node
from scenarios.model import Count, ExpectWire
from scenarios.vocabulary import PHENOMENA, STAGES


def read_wire(
    reader: Reader,
    node: Node,
    hosts: Sequence[str],
    *,
    count: Callable[[Node], Count],
    step: Callable[[Mapping[str, Node]], str | None],
) -> ExpectWire:
    """`{wire: rst, from: server, stage: data, capture: client, step: NAME, count: 1}`.

    hosts: whose captures there are; count, step: readers of those two keys.
    """
    fields = reader.mapping(node, ("wire", "from"), ("stage", "capture", "step", "count", "at_least", "text"))
    what = reader.word(fields["wire"], PHENOMENA, what="something that a capture can show")
    for key, owner in (("at_least", "pause"), ("text", "line")):
        if what == owner and key not in fields:
            reader.problem(node, f"the key {key!r} beside wire: {owner}", f"add {key}: ...", got="none")
        elif what != owner and key in fields:
            reader.key_problem(node, key, f"{key} only beside wire: {owner}", "remove it")
    return ExpectWire(
        what=what,
        sender=optional(fields, "from", lambda n: reader.word(n, ("client", "server")), "client"),
        count=optional(fields, "count", count, Count(1, None, ">=1")),
        stage=optional(fields, "stage", lambda n: reader.word(n, STAGES), None),
        capture=optional(fields, "capture", lambda n: reader.word(n, ("client", "server", *hosts)), "client"),
        step=step(fields),
        at_least_ns=optional(fields, "at_least", lambda n: reader.duration_ns(n, at_least=1), 0),
        text=optional(fields, "text", lambda n: reader.text(n, "the beginning of a line"), ""),
    )
