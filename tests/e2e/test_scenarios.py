"""Every scenario folder, played from the command line: as expected, over both IP versions, whoever plays it."""

from __future__ import annotations

import importlib.util
import shutil
from typing import Any

import pytest

from lab.sandbox import program_path
from tests.e2e.conftest import FinishedRun, Terminal, play
from tests.e2e.shipped import SLUGS, shipped

WITH_MAIL = [slug for slug in SLUGS if "mail" in shipped(slug).services]
WITH_POSTFIX_AS_ROOT = ("starttls-block", "stripper", "benign-greylisting", "unaffected")
"""What root's servers do otherwise, whom they run as, is the same in all scenarios; so the others are left out."""


def shortest_with(program: str) -> str:
    """Of the scenarios with this server the one with the fewest steps."""
    return min(
        (s for s in SLUGS if program in shipped(s).services.values()), key=lambda s: len(shipped(s).steps)
    )


AS_ROOT = {shortest_with(program) for slug in SLUGS for program in shipped(slug).services.values()}
"""Root's lab differs in its namespaces and in whom the servers run as: each server once. What is sent over it is the
same, so the other scenarios are played by root in `make test-deep`."""

PROGRAMS = {
    "nginx": ("nginx",),
    "openssh": ("sshd",),
    "dovecot": ("dovecot",),
    "openvpn": ("openvpn",),
    "strongswan": ("swanctl", "/usr/lib/ipsec/charon"),
    "xl2tpd": ("xl2tpd",),
    "pptpd": ("pptpd", "pptp"),
}
"""Of a service -> what must be installed for it, at both ends."""


def has_wireguard() -> bool:
    """Whether both of its implementations are there."""
    return all(importlib.util.find_spec(module) is not None for module in ("mitmproxy_rs", "wireguard"))


def skip_without_servers(slug: str, *, postfix: bool) -> None:
    """A scenario with real servers is skipped where they are not installed; `make test` installs them."""
    programs = shipped(slug).services.values()
    needed = {name: PROGRAMS[name] for name in programs if name in PROGRAMS}
    needed |= {"postfix": ("postfix", "dovecot")} if postfix else {}
    for program in (name for names in needed.values() for name in names):
        if shutil.which(program, path=program_path()) is None:
            pytest.skip(f"no {program}; make setup-servers installs it where the system has it")
    if "mitmproxy" in programs and not has_wireguard():
        pytest.skip("no WireGuard for this kind of processor")


def assert_honest(result: dict[str, Any]) -> None:
    """Valid, as expected, and proved: what the box wrote is on the wire, and the two ends alone show the same."""
    assert result["valid"]
    assert result["passed"]
    for world in result["worlds"]:
        own = {check["expectation"]: check["passed"] for check in world["checks"] if check["own"]}
        assert list(own.values()) == [True, True], own
        # Not all that is forged or changed becomes a RST; that those are found to the last one is an own check.
        made = world["events"].get("packet_forged", 0) + world["events"].get("packet_rewritten", 0)
        assert len(world["findings"]) <= made
        if result["truth"] == "genuine":
            assert set(world["events"]) <= {"run_started", "flow_seen", "run_ended"}
            assert world["findings"] == []


@pytest.mark.parametrize("slug", SLUGS)
def test_scenario_as_an_ordinary_user_is_as_expected_with_its_controls(
    slug: str, finished_run: FinishedRun
) -> None:
    """Everything that a scenario and its controls promise holds over all its IP versions, without root."""
    skip_without_servers(slug, postfix=False)
    result = finished_run(slug).result
    assert_honest(result)
    scenario = shipped(slug)
    assert [world["name"] for world in result["worlds"]] == ["scenario", *(c.name for c in scenario.controls)]
    assert scenario.controls
    for world in result["worlds"]:
        assert [one["family"] for one in world["plays"]] == list(scenario.families)
    quiet = [world for world in result["worlds"] if not world["with_box"]]
    assert all(world["findings"] == [] for world in quiet)
    assert result["facts"]["lab"]["sandbox"]["mode"] != "root"


@pytest.mark.root
@pytest.mark.parametrize(
    "slug",
    [pytest.param(slug, marks=() if slug in AS_ROOT else pytest.mark.deep) for slug in SLUGS],
)
@pytest.mark.parametrize("user", ["root"])
def test_scenario_as_root_is_as_expected(slug: str, user: str, terminal: Terminal) -> None:
    """The same as real root, who needs no user namespace."""
    skip_without_servers(slug, postfix=False)
    result = play(terminal, slug, "--no-controls")
    assert_honest(result)
    assert result["facts"]["lab"]["sandbox"]["mode"] == user


@pytest.mark.parametrize(
    ("slug", "user"),
    [*((slug, "mapped") for slug in WITH_MAIL), *((slug, "root") for slug in WITH_POSTFIX_AS_ROOT)],
)
def test_scenario_with_postfix_is_as_expected(slug: str, user: str, terminal: Terminal) -> None:
    """A real Postfix with Dovecot in place of the embedded server changes nothing."""
    skip_without_servers(slug, postfix=True)
    result = play(terminal, slug, "--mail", "postfix", "--no-controls")
    assert_honest(result)
    assert result["facts"]["lab"]["sandbox"]["mode"] == user
    assert "postfix" in result["facts"]["services"]["mail"]["program"]
