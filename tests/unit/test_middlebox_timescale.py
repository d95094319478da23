"""A faster clock: what is remembered ends sooner, what a capture shows stays."""

from __future__ import annotations

from pathlib import Path

from middlebox.load import load_deployment
from middlebox.profile import Mark, Reset
from middlebox.timescale import scaled

FILE = """
profile: mine
placement: on-path
defaults: {look: {delay: 100ms, spacing: 10ms}}
tcp: {idle: 600s}
rules:
  - name: a
    when: tcp
    do: [reset, {mark: {word: seen, key: [client_ip], for: 60s}}]
    residual:
      key: [client_ip]
      for: 90s
      do:
        - {when: tcp.flags.syn == 1, do: [reset]}
        - {when: tcp, do: [{mark: {word: again, key: [client_ip], for: 60s}}]}
"""


def test_time_scale_shortens_what_is_remembered_and_nothing_else(tmp_path: Path) -> None:
    """Residuals, marks and idle connections take a hundredth of their time; delays and spacing stay."""
    (tmp_path / "mine.yaml").write_text(FILE, encoding="utf-8")
    box = tmp_path / "box.yaml"
    box.write_text(
        "deployment: box\ntime_scale: 0.01\ntimeline: [{at: 5s, profile: mine}]\n", encoding="utf-8"
    )
    deployment = load_deployment(box)
    [profile] = deployment.profiles()
    [rule] = profile.rules
    reset, mark = rule.do
    assert rule.residual is not None
    assert rule.residual.duration_ns == 900_000_000
    assert isinstance(mark, Mark)
    assert mark.duration_ns == 600_000_000
    assert [a.duration_ns for a in rule.residual.actions if isinstance(a, Mark)] == [600_000_000]
    assert profile.tcp.idle_ns == 6_000_000_000
    assert isinstance(reset, Reset)
    assert (reset.look.delay, reset.look.spacing_ns) == (100_000_000, 10_000_000)
    assert deployment.timeline[0].at_ns == 5_000_000_000


def test_time_scale_of_one_changes_nothing() -> None:
    """The deployment itself comes back."""
    deployment = load_deployment("watch-sni")
    assert scaled(deployment, 1) is deployment
