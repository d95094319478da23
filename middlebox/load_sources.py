"""Where a profile's numbers come from: `source:` keys and `{value: X, source: KEY}` in a YAML tree.

A `source: KEY` in a mapping covers everything below it unless something there names another. `resolve_sources` takes
these keys out of the tree, so that the readers of rules and looks never see them, and leaves their word on each node.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from middlebox.profile import CHOSEN
from middlebox.reader import Reader
from middlebox.yamlsource import Node, SourceError, either, nearest


class ProfileReader(Reader):
    """A Reader that also writes down which source each cited value has.

    cited: path of a value -> key of its source, None where none covers it
    """

    def __init__(self, path: str, text: str, error: type[SourceError]) -> None:
        super().__init__(path, text, error)
        self.cited: dict[str, str | None] = {}
        self.lines: dict[str, int] = {}

    def cite(self, node: Node) -> None:
        """Every scalar at or below this node is a statement about a real system."""
        for leaf in _walk(node):
            if leaf.scalar is not None:
                self.cite_as(leaf.path, leaf)

    def cite_as(self, path: str, node: Node) -> None:
        """What this node says as a whole is a statement about a real system, and `path` is what it is called."""
        self.cited[path] = node.source
        self.lines[path] = node.line


def resolve_sources(reader: Reader, node: Node, known: Collection[str], covering: str | None = None) -> Node:
    """The tree without its source keys; a new node where `{value: X, source: KEY}` stood. Paths lose the `.value`."""
    if isinstance(node.value, dict):
        if "source" in node.value:
            covering = _source_key(reader, node.value.pop("source"), known)
            if list(node.value) == ["value"]:
                inner = node.value["value"]
                inner.path = node.path
                return resolve_sources(reader, inner, known, covering)
        for key, child in node.value.items():
            child.path = f"{node.path}.{key}" if node.path else key
            node.value[key] = resolve_sources(reader, child, known, covering)
    elif isinstance(node.value, list):
        for i, child in enumerate(node.value):
            child.path = f"{node.path}.{i}"
            node.value[i] = resolve_sources(reader, child, known, covering)
    node.source = covering
    return node


def _source_key(reader: Reader, node: Node, known: Collection[str]) -> str:
    keys = [*known, CHOSEN]
    if isinstance(node.value, str) and node.value in keys:
        return node.value
    hint = nearest(node.value, keys) if isinstance(node.value, str) else ""
    reader.problem(node, f"the key of a source, {either(keys)}", hint or "add it to sources:")
    return CHOSEN


def _walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    if isinstance(node.value, dict | list):
        for child in node.value.values() if isinstance(node.value, dict) else node.value:
            yield from _walk(child)
