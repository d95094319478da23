"""Profiles and deployments: what is written in YAML is what the model holds."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from middlebox.load import load_deployment, load_profile, profile_names, unsourced_values
from middlebox.look import Look
from middlebox.profile import Placement, Reset, Towards
from tests.unit.yaml_files import RULES, profile


def test_profile_minimal_has_the_models_defaults(tmp_path: Path) -> None:
    """What a file does not say is as the model says, and a bare reset goes to both ends."""
    loaded = profile(tmp_path, RULES)
    assert (loaded.name, loaded.title, loaded.placement) == ("mine", "mine", Placement.IN_PATH)
    [rule] = loaded.rules
    assert rule.do == (Reset(Towards.BOTH, Look()),)
    assert (rule.probability, rule.direction, rule.residual) == (1.0, None, None)


def test_ports_of_text_protocols_are_read(tmp_path: Path) -> None:
    """Single ports and ranges, both ends included."""
    loaded = profile(tmp_path, f'ports: {{smtp: [25, "2500-2502"], pop: [110]}}\n{RULES}')
    assert loaded.ports == {"smtp": {25, 2500, 2501, 2502}, "pop": {110}}


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_says_where_each_number_comes_from(name: str) -> None:
    """Every number and flag of a shipped profile has a source or says that it was chosen."""
    assert unsourced_values(name) == ()


TOLD_IN_COMMENTS = frozenset({"register", "silicon", "itpro", "cardwell", "hotmail2011"})
"""Sources that confirm, or tell that there was such a box and nothing of how it worked: no value has their key."""


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_is_named_as_its_file(name: str) -> None:
    """What one asks for is what the events will say; each source of a file is one that it uses."""
    profile = load_profile(name)
    assert profile.name == name
    used = set(profile.provenance.values()) | TOLD_IN_COMMENTS
    assert {source.key for source in profile.sources} <= used


@pytest.mark.parametrize(
    "name", [name for name in profile_names() if re.fullmatch(r"tmobile-uk-2012.*(?<!-vpn)", name)]
)
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


STRIPPER = frozenset({"refuse-starttls", "refuse-starttls-imap", "refuse-stls"})
OWN_FIELDS = {
    "gfw-2017": {"first-injector", "second-injector"},
    "gfw-2021": {"backup-looks-once", "backup-on-next-message"},
    "gfw-esni": {"drop-after-esni", "give-up-on-tiny-first-segment"},
    "gfw-fet": {"drop-after-fully-encrypted"},
    "iran-filter": {"drop-unknown-protocol", "know-dns", "know-http", "know-tls"},
    "tspu-rst": {
        "make-redirect-of-answer",
        "make-reset-of-answer",
        "note-listed-host",
        "note-listed-name",
    },
    "tspu-throttle": {"give-up-on-other-protocols", "throttle-by-name"},
    "gfw-443-2025": {"reset-client-on-syn"},
    "turkmenistan": {"remember-name-without-handshake", "reset-client-on-name"},
    "fair-use": {f"drop-{name}" for name in ("openvpn", "wireguard", "ike", "l2tp", "pptp", "gre", "esp")},
    "henan": {"reset-client-on-host", "reset-client-on-sni"},
    "airtel": {"reset-both-on-sni", "reset-both-on-host"},
    "bluecoat-page": {"keep-from-server", "see-client-off"},
    "content-block": {"keep-from-server", "see-client-off"},
    "pix-mailguard": {"refuse-other-commands"},
    "stripper": STRIPPER | {"strip-stls-from-capa"},
    "stripper-354": STRIPPER,
    "stripper-454": STRIPPER,
    "stripper-502": STRIPPER,
}
"""Profile -> the rules that read fields of our own, which Wireshark does not know."""


@pytest.mark.parametrize("name", profile_names())
def test_shipped_profile_rules_can_be_pasted_into_wireshark(name: str) -> None:
    """All but those that are named here, which read what no packet shows."""
    own = {rule.name for rule in load_profile(name).rules if not rule.when.needs.wireshark}
    assert own == OWN_FIELDS.get(name, frozenset())


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
        + RULES,
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
    (tmp_path / "box.yaml").write_text(f"profile: box\nplacement: on-path\n{RULES}", encoding="utf-8")
    file = tmp_path / "d.yaml"
    file.write_text("deployment: d\ntimeline: [{at: 0s, profile: box.yaml}]\n", encoding="utf-8")
    [profile] = load_deployment(file).profiles()
    assert profile.name == "box"
