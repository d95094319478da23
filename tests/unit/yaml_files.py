"""Profiles and scenarios from their text, for the tests of the loaders."""

from __future__ import annotations

from pathlib import Path

from middlebox.load import load_profile
from middlebox.look import Look
from middlebox.profile import Profile, Reset
from scenarios.load import load_scenario
from scenarios.model import Scenario

RULES = "rules: [{name: a, when: tcp, do: [reset]}]\n"
"""The least that a profile must do."""

EVERYTHING = """
scenario: everything
purpose: each key once
topology: {kind: isp, subscribers: 2, hops_before_box: 2, hops_after_box: 5}
links: {access: {delay: 15ms, rate: 20Mbit, loss: 0.1%}, transit: {delay: 5ms}, server: {loss: 0.5}}
middlebox:
  timeline: [{at: 0s, profile: none}, {at: 2s, profile: tmobile-uk-2012}]
  subscribers: {sim2: {profile: none}}
  fail: closed
services: {mail: postfix, provider: embedded, web: nginx}
seed: 42
family: ipv6
steps:
  - {on: sim1, client: smtplib-submission}
  - {wait: {event: profile_changed, profile: none, timeout: 3s}}
  - together:
      - {on: sim1, client: smtplib-submission, as: send, to: smtp.provider.example, port: 25, timeout: 4s}
      - {on: sim2, client: curl-http, as: web, to: web.example}
expect:
  - {step: smtplib-submission, outcome: success}
  - {step: send, outcome: [connection-reset, timeout]}
  - {step: web, outcome: fetched}
  - events: packet_forged
    rule: reset-both-on-smtps
    towards: both
    profile: tmobile-uk-2012
    step: send
    count: "<=2"
  - {events: rule_matched}
  - {capture: sim2, step: web, forged_rst: 0, genuine_rst_from_client: "1..3"}
  - {never_crosses: mail, step: send}
  - {never_crosses: [auth, starttls], capture: client}
  - {delivered: 1, at: mail}
"""
"""A scenario that has each key, but for controls."""


def profile(folder: Path, text: str) -> Profile:
    """A profile from its text, less the two lines that all of them have."""
    file = folder / "mine.yaml"
    file.write_text(f"profile: mine\nplacement: in-path\n{text}", encoding="utf-8")
    return load_profile(file)


def look_of(loaded: Profile, rule: int = 0) -> Look:
    """The look of a rule's first action, which is a reset."""
    action = loaded.rules[rule].do[0]
    assert isinstance(action, Reset)
    return action.look


def scenario(folder: Path, text: str) -> Scenario:
    """A scenario from its text."""
    file = folder / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return load_scenario(file)
