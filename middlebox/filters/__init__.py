"""The `when:` language: Wireshark's display filters, checked at load and compiled to Python.

errors -> lexer -> parser (syntax) -> check (typed, fields, literals, patterns) -> codegen, partial, needs, words
-> compile.
`compile_filter` is the way in. docs/filters.md is the guide for those who write filters.

Never here: reading packets or profiles, keeping state, the clock.

Sources: wireshark-filter(4), Wireshark 4.0 epan/dfilter; the tests compare with tshark packet for packet.
"""

from __future__ import annotations

from .compile import CompiledFilter, compile_filter
from .errors import FilterError
from .fields import BUILT_IN, Field, FlowView, Origin, Type
from .needs import Needs, Selector, merged_ranges
from .words import MOST_WORDS, VERBATIM

__all__ = [
    "BUILT_IN",
    "MOST_WORDS",
    "VERBATIM",
    "CompiledFilter",
    "Field",
    "FilterError",
    "FlowView",
    "Needs",
    "Origin",
    "Selector",
    "Type",
    "compile_filter",
    "merged_ranges",
]
