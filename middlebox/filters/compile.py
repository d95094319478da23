"""Text of a filter -> two Python functions and what they need to see."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from middlebox.packet import Packet

from .check import Checker
from .codegen import Generator
from .errors import FilterError
from .fields import BUILT_IN, Field, FieldSpecLike, FlowView, dissected_field
from .needs import Needs, needs_of
from .parser import parse
from .partial import can_match
from .runtime import HELPERS

Value = int | str | bytes | bool
Fields = dict[str, list[Value]]
Matches = Callable[[Packet, FlowView, Fields], bool]
# A filter that names one of these looks for TLS handshakes in QUIC too.
_NAMES_QUIC = re.compile(r"\b(?:quic|udp)\b")
MayMatch = Callable[[Packet, FlowView, frozenset[str]], bool]


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """`matches(p, flow, fields)`: whether this packet matches; `fields` is what the dissectors found in it.

    `may_match(p, flow, alive)`: whether this packet or a later one of its flow and direction can match, when only
    the field groups in `alive` can still appear in that direction. False is certain.
    """

    text: str
    matches: Matches
    may_match: MayMatch
    needs: Needs
    source: str


def compile_filter(
    text: str,
    *,
    file: str = "",
    line: int = 1,
    column: int = 1,
    dissected: Mapping[str, FieldSpecLike] | None = None,
) -> CompiledFilter:
    """Compile a filter that begins at line:column of `file`. FilterError: it cannot be used; says where and why.

    `dissected`: the fields that dissectors offer, all of middlebox.dissect unless given.
    """
    try:
        in_quic = _NAMES_QUIC.search(text) is not None
        fields = _all_fields(in_quic) if dissected is None else _known_fields(dissected, in_quic=in_quic)
        return _compile(text, fields, in_quic=in_quic)
    except FilterError as error:
        error.locate(text, file=file, line=line, column=column)
        raise


def _compile(text: str, fields: Mapping[str, Field], *, in_quic: bool) -> CompiledFilter:
    tree = Checker(fields).test(parse(text))
    generator = Generator()
    test, possible = generator.test(tree), can_match(tree, generator)
    source = (
        f"def matches(p, flow, fields):\n    return True if {test} else False\n\n"
        f"def may_match(p, flow, alive):\n    return True if {possible} else False\n"
    )
    namespace: dict[str, object] = {**HELPERS, **generator.constants}
    exec(compile(source, f"<filter {text!r}>", "exec"), namespace)  # noqa: S102 - our own code; what a user wrote is in it only as literals
    needs = needs_of(tree)
    if in_quic and "tls" in needs.protocols:
        needs = replace(needs, protocols=needs.protocols | {"quic"})
    return CompiledFilter(text, namespace["matches"], namespace["may_match"], needs, source)  # type: ignore[arg-type]


def _known_fields(dissected: Mapping[str, FieldSpecLike], *, in_quic: bool) -> Mapping[str, Field]:
    from middlebox.dissect.base import field_group

    return {
        **BUILT_IN,
        **{
            name: dissected_field(name, spec, field_group(name), in_quic=in_quic)
            for name, spec in dissected.items()
        },
    }


@cache
def _all_fields(in_quic: bool) -> Mapping[str, Field]:  # noqa: FBT001 - the key of a cache
    from middlebox.dissect import ALL_FIELDS

    return _known_fields(ALL_FIELDS, in_quic=in_quic)
