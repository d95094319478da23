"""The names under which scenarios call clients."""

from __future__ import annotations

from lab.clients.registry import CLIENTS


def test_clients_are_registered_under_their_own_names() -> None:
    """A client is found by the name it carries, and no two have the same."""
    assert {name: client.name for name, client in CLIENTS.items()} == {name: name for name in CLIENTS}
