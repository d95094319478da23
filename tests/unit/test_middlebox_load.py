"""Profiles and deployments: what is written in YAML is what the model holds."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from middlebox.expression import parse_expression
from middlebox.flow import Direction
from middlebox.load import load_deployment, load_profile, profile_names, unsourced_values
from middlebox.packet import ACK, RST
from middlebox.profile import (
    AckFrom,
    Computed,
    Constant,
    Copied,
    Counter,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Look,
    Mirrored,
    Overlap,
    Placement,
    Profile,
    Quantiles,
    Reassembly,
    Reset,
    SeqFrom,
    StateFrom,
    Towards,
    Uniform,
)

RULE = "rules: [{name: a, when: tcp, do: [reset]}]\n"

Load = Callable[[str], Profile]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a profile from its text, less the two lines that all of them have."""

    def load_text(text: str) -> Profile:
        file = tmp_path / "mine.yaml"
        file.write_text(f"profile: mine\nplacement: in-path\n{text}", encoding="utf-8")
        return load_profile(file)

    return load_text


def look_of(profile: Profile, rule: int = 0) -> Look:
    """The look of a rule's first action, which is a reset."""
    action = profile.rules[rule].do[0]
    assert isinstance(action, Reset)
    return action.look


def test_profile_minimal_has_the_models_defaults(load: Load) -> None:
    """What a file does not say is as the model says, and a bare reset goes to both ends."""
    profile = load(RULE)
    assert (profile.name, profile.title, profile.placement) == ("mine", "mine", Placement.IN_PATH)
    [rule] = profile.rules
    assert rule.do == (Reset(Towards.BOTH, Look()),)
    assert (rule.probability, rule.direction, rule.residual) == (1.0, None, None)


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("count: 3", "count", 3),
        ("flags: RA", "flags", RST | ACK),
        ("flags: ra", "flags", RST | ACK),
        ("seq: copied", "seq", SeqFrom.COPIED),
        ("seq: trigger-ack", "seq", SeqFrom.TRIGGER_ACK),
        ("seq: 0xffffffff", "seq", Constant(0xFFFFFFFF)),
        ("ack: zero", "ack", AckFrom.ZERO),
        ("ack: 1", "ack", Constant(1)),
        ("window: random", "window", Uniform(0, 65535)),
        ("window: copied", "window", Copied()),
        ("ttl: {initial: 128}", "ttl", Constant(128)),
        ("ttl: 250", "ttl", Constant(250)),
        ("ttl: mirror", "ttl", Mirrored()),
        ("ttl: random", "ttl", Uniform(1, 255)),
        ("ttl: {initial: 48 + window % 64}", "ttl", Computed(parse_expression("48 + window % 64"))),
        ("ip_id: 30_000", "ip_id", Constant(30000)),
        ("ip_id: {range: [163, 65119]}", "ip_id", Uniform(163, 65119)),
        ("ip_id: (-1 - 13 * window) & 0xffff", "ip_id", Computed(parse_expression("(-1 - 13 * window) & 0xffff"))),
        ("window: {counter: {start: 1980, per: group}}", "window", Counter(1980, 1, 65536, "group")),
        ("window: {counter: {start: 1, step: 2, modulo: 100}}", "window", Counter(1, 2, 100, "box")),
        ("dont_fragment: true", "dont_fragment", True),
        ("tos: 0x10", "tos", 16),
        ("options: 01:01", "options", b"\x01\x01"),
        ("options: {hex: 01}", "options", b"\x01"),
        ("payload: 01:02:03:04:05:06:07:08:09:00", "payload", bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])),
        ("payload: {text: '01:02'}", "payload", b"01:02"),
        ('payload: "500 error\\r\\n"', "payload", b"500 error\r\n"),
        ("spacing: 20us", "spacing_ns", 20_000),
        ("delay: 1.5ms", "delay", 1_500_000),
        ("delay: 0", "delay", 0),
        (
            "delay: {quantiles: {0: 11.53ms, 50: 16.42ms, 100: 445.39ms}}",
            "delay",
            Quantiles(((0.0, 11_530_000), (0.5, 16_420_000), (1.0, 445_390_000))),
        ),
    ],
)  # fmt: skip
def test_look_field_is_read(load: Load, written: str, field: str, value: object) -> None:
    """Each form in which a field of a look may be written gives its value in the model."""
    profile = load(f"defaults: {{look: {{{written}}}}}\n{RULE}")
    assert getattr(look_of(profile), field) == value


def test_look_layers_win_from_the_inside(load: Load) -> None:
    """defaults < rule < action < one end of the action, field by field."""
    profile = load("""
defaults: {look: {ttl: 1, window: 1, tos: 1, ip_id: 1}}
rules:
  - name: a
    when: tcp
    look: {window: 2, tos: 2, ip_id: 2}
    do: [{reset: {look: {tos: 3, ip_id: 3}, to_client: {ip_id: 4}}}]
  - {name: b, when: tcp, do: [reset]}
""")
    action = profile.rules[0].do[0]
    assert isinstance(action, Reset)
    assert action.look == Look(ttl=Constant(1), window=Constant(2), tos=3, ip_id=Constant(3))
    assert action.look_to_client == Look(ttl=Constant(1), window=Constant(2), tos=3, ip_id=Constant(4))
    assert action.look_to_server is None
    assert look_of(profile, rule=1) == Look(ttl=Constant(1), window=Constant(1), tos=1, ip_id=Constant(1))


def test_rule_with_everything_is_read(load: Load) -> None:
    """Actions in order, chance, direction, and who stays punished."""
    [rule] = load("""
rules:
  - name: a
    when: tcp.dstport == 25
    direction: server-to-client
    probability: 0.882
    do: [log, {reset: {towards: client}}, drop, {drop: flow}, {drop: direction}]
    residual: {key: [client_ip, server_ip, server_port], for: 3min, refresh: true, capacity: 10, do: [drop]}
""").rules
    assert rule.do == (
        Log(), Reset(Towards.CLIENT, Look()), Drop(DropScope.PACKET), Drop(DropScope.FLOW), Drop(DropScope.DIRECTION),
    )  # fmt: skip
    assert (rule.probability, rule.direction) == (0.882, Direction.SERVER_TO_CLIENT)
    assert rule.residual is not None
    assert rule.residual.key == (KeyPart.CLIENT_IP, KeyPart.SERVER_IP, KeyPart.SERVER_PORT)
    assert (rule.residual.duration_ns, rule.residual.refresh, rule.residual.capacity) == (
        180 * 10**9,
        True,
        10,
    )
    assert rule.residual.do == (Drop(),)


def test_tcp_knobs_are_read(load: Load) -> None:
    """Each knob, under its name in the file, is set to something else than its default."""
    tcp = load(f"""
tcp: {{state: synack, handshake: true, reassembly: none, overlap: last, check_checksum: true, check_ack: true,
      check_data_offset: false, end_on_rst: false, end_on_fin: true, buffer: 4KiB, idle: 5min, max_flows: 10,
      join_tls_records: false}}
{RULE}""").tcp
    assert (tcp.state_from, tcp.reassembly, tcp.overlap) == (StateFrom.SYNACK, Reassembly.NONE, Overlap.LAST)
    assert (tcp.handshake, tcp.checks_checksum, tcp.checks_ack, tcp.checks_data_offset) == (
        True,
        True,
        True,
        False,
    )
    assert (tcp.ends_on_rst, tcp.ends_on_fin, tcp.join_tls_records) == (False, True, False)
    assert (tcp.buffer_bytes, tcp.idle_ns, tcp.max_flows) == (4096, 300 * 10**9, 10)


def test_ports_of_text_protocols_are_read(load: Load) -> None:
    """Single ports and ranges, both ends included."""
    profile = load(f'ports: {{smtp: [25, "2500-2502"], pop: [110]}}\n{RULE}')
    assert profile.ports == {"smtp": {25, 2500, 2501, 2502}, "pop": {110}}


def test_provenance_covers_what_is_below_unless_overridden(load: Load) -> None:
    """A source key holds for everything below it, a nearer one wins, and nothing said means chosen."""
    profile = load("""
sources: [{key: SP25, what: a paper}, {key: WC10, what: code}]
defaults:
  source: SP25
  look: {count: 3, ttl: {initial: {value: 64, source: WC10}}, ip_id: {value: {range: [163, 65119]}, source: chosen}}
rules:
  - name: a
    when: tcp
    probability: {value: 0.5, source: WC10}
    do: [reset]
tcp: {handshake: true}
""")
    assert profile.provenance == {
        "defaults.look.count": "SP25",
        "defaults.look.ttl.initial": "WC10",
        "defaults.look.ip_id.range.0": "chosen",
        "defaults.look.ip_id.range.1": "chosen",
        "rules.0.when": "chosen",
        "rules.0.probability": "WC10",
        "tcp.handshake": "chosen",
    }
    assert look_of(profile).ttl == Constant(64)
    assert look_of(profile).ip_id == Uniform(163, 65119)
    assert profile.rules[0].probability == 0.5


def test_unsourced_values_are_named_with_their_line(tmp_path: Path) -> None:
    """What names no source at all can be listed, so that a profile for others can say it."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "profile: mine\nplacement: in-path\ntcp: {source: chosen, idle: 60s}\n"
        "rules:\n  - {name: a, source: chosen, when: tcp, do: [reset]}\n"
        "defaults:\n  look:\n    ttl: 64\n",
        encoding="utf-8",
    )
    assert unsourced_values(file) == (f"{file}:8: defaults.look.ttl",)


# --- shipped profiles ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_says_where_each_number_comes_from(name: str) -> None:
    """Every number and flag of a shipped profile has a source or says that it was chosen."""
    assert unsourced_values(name) == ()


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_is_named_as_its_file(name: str) -> None:
    """What one asks for is what the events will say; each source of a file is one that it uses."""
    profile = load_profile(name)
    assert profile.name == name
    used = set(profile.provenance.values()) | {
        "register",
        "silicon",
    }  # these two confirm, and are told in comments
    assert {source.key for source in profile.sources} <= used


@pytest.mark.parametrize("name", [name for name in profile_names() if name.startswith("tmobile")])
def test_shipped_tmobile_header_fields_are_chosen(name: str) -> None:
    """Nobody published the RSTs' header fields, and each profile of that box says so."""
    profile = load_profile(name)
    looks = {path: key for path, key in profile.provenance.items() if ".look." in path}
    assert set(looks.values()) == {"chosen"}
    written = {path.split(".")[2] for path in looks}
    assert {
        "count",
        "flags",
        "seq",
        "ack",
        "window",
        "ttl",
        "ip_id",
        "dont_fragment",
        "tos",
        "delay",
    } <= written
    assert profile.placement is Placement.ON_PATH


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_rules_can_be_pasted_into_wireshark(name: str) -> None:
    """No rule of a shipped profile of this kind needs a field of our own."""
    assert all(rule.when.needs.wireshark for rule in load_profile(name).rules)


# --- deployments ---------------------------------------------------------------------------------------------


def test_deployment_of_plain_profile_is_one_phase_at_zero() -> None:
    """A profile by itself applies to everybody from the start."""
    deployment = load_deployment("watch-sni")
    assert deployment.name == "watch-sni"
    [phase] = deployment.timeline
    assert (phase.at_ns, phase.profile and phase.profile.name) == (0, "watch-sni")
    assert deployment.subscribers == ()


def test_deployment_timeline_and_subscribers_are_read(tmp_path: Path) -> None:
    """Phases in order, `none` as nothing, subscribers by address and network, and one object per profile."""
    file = tmp_path / "d.yaml"
    file.write_text(
        """
deployment: d
timeline:
  - {at: 0s, profile: none}
  - {at: 60s, profile: tmobile-uk-2012}
subscribers:
  - {name: sim2, address: [192.0.2.12, "2001:db8:1::12"], profile: none}
  - name: office
    address: 192.0.2.64/26
    timeline: [{at: 1s, profile: tmobile-uk-2012}]
""",
        encoding="utf-8",
    )
    deployment = load_deployment(file)
    first, second = deployment.timeline
    assert (first.at_ns, first.profile) == (0, None)
    assert second.at_ns == 60 * 10**9
    assert second.profile is not None
    assert second.profile.name == "tmobile-uk-2012"
    sim2, office = deployment.subscribers
    assert (sim2.name, sim2.networks) == (
        "sim2",
        (ip_network("192.0.2.12/32"), ip_network("2001:db8:1::12/128")),
    )
    assert [phase.profile for phase in sim2.timeline] == [None]
    assert office.networks == (ip_network("192.0.2.64/26"),)
    assert office.timeline[0].at_ns == 10**9
    assert deployment.profiles() == (second.profile,)


def test_deployment_with_rules_names_itself_in_its_timeline(tmp_path: Path) -> None:
    """A file may hold a profile and say when it applies."""
    file = tmp_path / "d.yaml"
    file.write_text(
        "profile: minute\nplacement: on-path\ntimeline: [{at: 1min, profile: minute}, {at: 2min, profile: none}]\n"
        + RULE,
        encoding="utf-8",
    )
    deployment = load_deployment(file)
    assert deployment.name == "minute"
    assert [(p.at_ns, p.profile and p.profile.name) for p in deployment.timeline] == [
        (60 * 10**9, "minute"),
        (120 * 10**9, None),
    ]


def test_deployment_finds_profiles_beside_it(tmp_path: Path) -> None:
    """A path in a file counts from that file's folder, wherever the program was started."""
    (tmp_path / "box.yaml").write_text(f"profile: box\nplacement: on-path\n{RULE}", encoding="utf-8")
    file = tmp_path / "d.yaml"
    file.write_text("deployment: d\ntimeline: [{at: 0s, profile: box.yaml}]\n", encoding="utf-8")
    [profile] = load_deployment(file).profiles()
    assert profile.name == "box"
