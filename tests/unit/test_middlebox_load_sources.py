"""Where the numbers of a profile come from."""

from __future__ import annotations

from pathlib import Path

from middlebox.load import unsourced_values
from middlebox.look import Constant, Uniform
from tests.unit.yaml_files import look_of, profile


def test_provenance_covers_what_is_below_unless_overridden(tmp_path: Path) -> None:
    """A source key holds for everything below it, a nearer one wins, and nothing said means chosen."""
    loaded = profile(
        tmp_path,
        """
sources: [{key: SP25, what: a paper}, {key: WC10, what: code}]
defaults:
  source: SP25
  look: {count: 3, ttl: {initial: {value: 64, source: WC10}}, ip_id: {value: {range: [163, 65119]}, source: chosen}}
rules:
  - name: a
    when: tcp
    probability: {value: 0.5, source: WC10}
    do:
      - {value: reset, source: SP25}
      - drop: {value: flow, source: WC10}
      - close: {towards: client, source: SP25}
      - log
tcp: {handshake: true}
""",
    )
    assert loaded.provenance == {
        "placement": "chosen",
        "defaults.look.count": "SP25",
        "defaults.look.ttl.initial": "WC10",
        "defaults.look.ip_id.range.0": "chosen",
        "defaults.look.ip_id.range.1": "chosen",
        "rules.0.when": "chosen",
        "rules.0.probability": "WC10",
        "rules.0.do.0": "SP25",
        "rules.0.do.1": "WC10",
        "rules.0.do.2": "SP25",
        "tcp.handshake": "chosen",
    }
    assert look_of(loaded).ttl == Constant(64)
    assert look_of(loaded).ip_id == Uniform(163, 65119)
    assert loaded.rules[0].probability == 0.5


def test_unsourced_values_are_named_with_their_line(tmp_path: Path) -> None:
    """What names no source at all can be listed, so that a profile for others can say it."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "profile: mine\nplacement: in-path\ntcp: {source: chosen, idle: 60s}\n"
        "rules:\n  - {name: a, source: chosen, when: tcp, do: [reset]}\n"
        "defaults:\n  look:\n    ttl: 64\n",
        encoding="utf-8",
    )
    assert unsourced_values(file) == (f"{file}:2: placement", f"{file}:8: defaults.look.ttl")
