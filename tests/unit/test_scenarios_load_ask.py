"""What a step tells its client besides: plain data, only what that client takes."""

from __future__ import annotations

from pathlib import Path

from scenarios.model import Step, steps_of
from tests.unit.yaml_files import scenario

HEAD = """
scenario: x
purpose: to be told
middlebox: {profile: watch-sni}
services: {web: nginx}
"""


def test_ask_is_plain_data_in_the_drivers_words(tmp_path: Path) -> None:
    """Names, sizes and packets come out as JSON would have them; times in seconds, options without colons."""
    loaded = scenario(
        tmp_path,
        HEAD
        + """
steps:
  - {on: sim1, client: probe-tls, to: web.example, as: a, host: b.example, segments: [3, 5], records: [7],
     tls_version: 1.2, connections: 4, timestamps: false, source_port: 40000}
  - on: sim1
    client: probe-packets
    to: web.example
    as: b
    handshake: true
    packets:
      - {flags: sa, seq: -1, ack: 0, ttl: 3, checksum: bad, options: "01:01:01:00", data_offset: 6, after: 20ms}
      - {flags: none, content: http, part: [0, 9]}
      - {flags: PA, payload: "\\x16\\xff"}
expect:
  - {step: a, outcome: success}
  - {step: b, outcome: sent}
""",
    )
    first, second = steps_of(loaded.steps)
    assert dict(first.ask) == {
        "host": "b.example", "segments": [3, 5], "records": [7], "tls_version": "1.2", "connections": 4,
        "timestamps": False, "source_port": 40000,
    }  # fmt: skip
    assert second.ask["handshake"] is True
    assert second.ask["packets"] == [
        {"flags": "SA", "seq": -1, "ack": 0, "ttl": 3, "checksum": "bad", "options": "01010100", "data_offset": 6,
         "after_s": 0.02},
        {"flags": "", "content": "http", "part": [0, 9]},
        {"flags": "PA", "payload": "\x16\xff"},
    ]  # fmt: skip


def test_control_with_another_client_keeps_what_that_client_takes(tmp_path: Path) -> None:
    """A control that changes the client changes one thing: what means nothing to the new one is left out."""
    loaded = scenario(
        tmp_path,
        HEAD
        + """
steps:
  - {on: sim1, client: probe-tls, to: web.example, as: a, host: b.example, segments: [3]}
expect:
  - {step: a, outcome: success}
controls:
  - {name: real-client, client: curl-https}
  - {name: other-name, host: c.example}
""",
    )
    real, other = (next(steps_of(control.steps)) for control in loaded.controls)
    assert real == Step("a", "sim1", "curl-https", "web.example", ask={"host": "b.example"})
    assert dict(other.ask) == {"host": "c.example", "segments": [3]}


def test_mail_and_forms_and_protocols_are_asked_for_in_plain_words(tmp_path: Path) -> None:
    """Sizes in bytes, addresses as they are; a page's login form; an IP protocol by its number."""
    loaded = scenario(
        tmp_path,
        HEAD.replace("{web: nginx}", "{web: nginx, mail: embedded}")
        + """
steps:
  - {on: sim1, client: curl-submission, as: a, size: 2kB, sender: a@x.example, recipient: b@mail.example}
  - {on: sim1, client: curl-http, to: web.example, as: b, form: true}
  - {on: sim1, client: probe-ip, to: web.example, as: c, protocol: 47, send: "\\x30\\x01"}
expect:
  - {step: a, outcome: success}
  - {step: b, outcome: success}
  - {step: c, outcome: sent}
""",
    )
    asked = [dict(step.ask) for step in steps_of(loaded.steps)]
    assert asked == [
        {"size": 2000, "sender": "a@x.example", "recipient": "b@mail.example"},
        {"form": True},
        {"protocol": 47, "send": "\x30\x01"},
    ]


def test_packet_that_is_sent_often_is_as_many_packets(tmp_path: Path) -> None:
    """Each waits before it; numbers count from what would be right."""
    loaded = scenario(
        tmp_path,
        HEAD
        + """
steps:
  - on: sim1
    client: probe-packets
    to: web.example
    as: a
    random: 9
    packets: [{flags: S}, {flags: PA, content: random, ack_ahead: 7, after: 20ms, times: 3}]
expect:
  - {step: a, outcome: sent}
""",
    )
    [step] = steps_of(loaded.steps)
    again = {"flags": "PA", "content": "random", "ack_ahead": 7, "after_s": 0.02}
    assert step.ask["packets"] == [{"flags": "S"}, again, again, again]
