"""Can a filter still match? Three-valued evaluation, as two Python expressions for each part of the tree.

Taken as constant are the addresses, ports, protocol and IP version of a packet, its direction, the side it came in
from and its subscriber: they are the same for all packets of one flow and direction. Other header fields may take
any value. A dissected field can only appear while its group is in `alive`, and only from the end that sends it.
Counters only grow.

What comes out False is certain; True may be too hopeful.
"""

from __future__ import annotations

from .codegen import Generator
from .fields import Field, Origin
from .typed import (
    AndTest,
    CompareTest,
    Const,
    FieldValue,
    Leaf,
    MemberTest,
    NotTest,
    OrTest,
    TypedTest,
    fields_of,
)


def can_match(node: TypedTest, generator: Generator) -> str:
    """A Python expression over `p`, `flow` and `alive`."""
    return _Partial(generator).can(node, wanted=True)


class _Partial:
    def __init__(self, generator: Generator) -> None:
        self._generator = generator

    def can(self, node: TypedTest, *, wanted: bool) -> str:
        """Whether the test can come out as `wanted` for this or a later packet."""
        match node:
            case NotTest(test):
                return self.can(test, wanted=not wanted)
            case AndTest(tests) | OrTest(tests):
                all_needed = isinstance(node, AndTest) == wanted
                parts = dict.fromkeys(self.can(test, wanted=wanted) for test in tests)
                return _combine(list(parts), all_needed=all_needed)
        return self._can_leaf(node, wanted=wanted)

    def _can_leaf(self, node: Leaf, *, wanted: bool) -> str:
        fields = fields_of(node)
        if all(field.per_flow for field in fields):
            self._generator.assume_present = wanted
            expression = self._generator.test(node)
            self._generator.assume_present = False
            return expression if wanted else f"(not {expression})"
        if len(fields) == 1 and fields[0].grows:
            return _can_counter(node, wanted=wanted)
        if not wanted:
            return "True"
        # Whatever is compared: a test is false when one of its fields is not there.
        conditions = dict.fromkeys(condition for field in fields for condition in _can_appear(field))
        return _combine(list(conditions), all_needed=True)


def _combine(parts: list[str], *, all_needed: bool) -> str:
    neutral, decided = ("True", "False") if all_needed else ("False", "True")
    if decided in parts:
        return decided
    parts = [part for part in parts if part != neutral]
    if len(parts) < 2:
        return parts[0] if parts else neutral
    return f"({(' and ' if all_needed else ' or ').join(parts)})"


def _can_appear(field: Field) -> tuple[str, ...]:
    if field.origin is not Origin.DISSECTED:
        return field.where.same
    sender = () if field.sent_by is None else (f"flow.direction == {int(field.sent_by)}",)
    return (*field.where.same, *sender, f"{field.group!r} in alive")


def _can_counter(node: Leaf, *, wanted: bool) -> str:
    """A counter against a constant: only what needs it to stay small can become impossible."""
    match node:
        case CompareTest(relation, FieldValue(field), Const(_, limit)):
            read = field.items[0]
            if not wanted:
                opposite = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}
                relation = opposite[relation]
            if relation in ("<", "<="):
                return f"({read} {relation} {limit!r})"
            return f"({read} <= {limit!r})" if relation == "==" else "True"
        case MemberTest(FieldValue(field), elements) if wanted:
            largest = max(
                int(element.value if isinstance(element, Const) else element.high) for element in elements
            )
            return f"({field.items[0]} <= {largest})"
    return "True"
