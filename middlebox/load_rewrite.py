"""`rewrite:` in a profile -> `profile.Rewrite`: what becomes of the bytes of a packet that goes on."""

from __future__ import annotations

import re

from middlebox.load_look import read_flags
from middlebox.load_sources import ProfileReader
from middlebox.profile import Rewrite, Substitution
from middlebox.reader import optional
from middlebox.yamlsource import Node


def read_rewrite(reader: ProfileReader, node: Node) -> Rewrite:
    """`rewrite:` of a rule, every value of which is one about the real system."""
    fields = reader.mapping(node, (), ("replace", "flags", "strip"))
    if fields == {} and node.value == {}:
        reader.problem(node, "something to change", "write {replace: [{match: ..., with: ...}]}")
    for key in ("flags", "strip"):
        if key in fields:
            reader.cite(fields[key])
    replaced = reader.one_or_more(fields["replace"], "substitutions") if "replace" in fields else []
    return Rewrite(
        substitutions=tuple(_substitution(reader, item) for item in replaced),
        flags=optional(fields, "flags", lambda n: read_flags(reader, n), None),
        strip="strip" in fields and reader.flag(fields["strip"]),
    )


def _substitution(reader: ProfileReader, node: Node) -> Substitution:
    fields = reader.mapping(node, ("match", "with"))
    for value in fields.values():
        reader.cite(value)
    pattern, template = re.compile(b"(?!)"), b""
    if "match" in fields:
        text = reader.text(fields["match"], "a regular expression")
        try:
            pattern = re.compile(text.encode("latin-1"))
        except (re.error, UnicodeEncodeError, OverflowError, RecursionError) as error:
            reader.problem(fields["match"], "a regular expression over bytes", f"{error}")
    if "with" in fields and isinstance(fields["with"].value, str):
        template = fields["with"].value.encode("latin-1", "replace")
        try:
            # An empty pattern with the same groups shows whether the template speaks of any that are not there.
            names = {number: name for name, number in pattern.groupindex.items()}
            groups = (f"(?P<{names[i]}>)" if i in names else "()" for i in range(1, pattern.groups + 1))
            re.sub("".join(groups).encode(), template, b"")
        except (re.error, IndexError) as error:
            reader.problem(fields["with"], "a template for what was matched", f"{error}")
    elif "with" in fields:
        reader.problem(fields["with"], "text to put in its place", 'put it in quotes, "" for nothing')
    return Substitution(pattern, template)
