"""The frozen model of a scenario: a world, a box, steps, what must be seen, and the controls.

Made by `scenarios.load` from YAML, read by the runner, the checks and the report. Everything is resolved here: a
`Control` holds whole steps and expectations of its own, so the runner plays it like the scenario itself. Nothing in
this file computes more than `Count.holds`. Times are nanoseconds, rates bits per second.

Must never: import `lab`. Names of clients and outcome words are strings here; `scenarios.load` checks them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

SUCCESS = "success"
"""Outcome word of our own: any outcome that `lab.clients` counts as success. A control's steps must end with it."""

SERVICES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mail": ("embedded", "postfix"),
        "provider": ("embedded", "postfix"),
        "web": ("nginx",),
        "ssh": ("openssh",),
        "vpn": ("openvpn",),
        "ike": ("strongswan",),
        "l2tp": ("xl2tpd",),
        "pptp": ("pptpd",),
        "wireguard": ("mitmproxy",),
        "dns": ("dnsmasq",),
        "quic": ("aioquic",),
        "imap": ("dovecot",),
        "peer": (
            "answer", "crash", "keepalive", "reset", "reset-when-idle", "slow", "tarpit",
        ),
    }
)  # fmt: skip
"""Service -> the programs that can play it. Each has the host of its name, except imap, which lives on host `mail`,
quic, which lives on `web`, and the VPNs, which all live on `vpn`.
dns runs in every lab; named here, steps can go to it, and its host is captured.

peer: a server that does one thing, and that often badly (`lab.services.misbehaving`).
"""

MAIL_SETTINGS = MappingProxyType(
    {
        "starttls": ("offered", "absent", "broken"),
        "recipients": ("taken", "greylisted", "unknown"),
        "login": ("after-tls", "always"),
        "relay": ("closed", "open"),
    }
)
SETTINGS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"mail": MAIL_SETTINGS, "provider": MAIL_SETTINGS, "imap": {"login": MAIL_SETTINGS["login"]}}
)
"""Service -> how its operator may have set it up, whatever the program; the first value of each is what it is without.

starttls: `absent`: not on offer; `broken`: on offer and answered 454, as by a server that cannot read its key.
recipients: `greylisted`: each mail gets 450 at first; `unknown`: every recipient gets 550.
login: `always`: also before TLS, in clear text, on ports 587, 143 and 110.
relay: `open`: takes mail for every domain of the lab's on port 25, as an operator's own server does for subscribers.
"""

TRUTHS = ("tampered", "genuine")
"""What a scenario is an example of. genuine: whatever goes wrong, the box does nothing, and no detector may say that it
did; what happens must happen without the box, too."""

TARGETS: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "mail.example": ("mail", ("mail", "imap")),
        "smtp.provider.example": ("provider", ("provider",)),
        "web.example": ("web", ("web", "quic")),
        "ssh.example": ("ssh", ("ssh",)),
        "vpn.example": ("vpn", ("vpn", "ike", "l2tp", "pptp", "wireguard")),
        "dns.example": ("dns", ("dns",)),
        "peer.example": ("peer", ("peer",)),
    }
)
"""Name in the lab's DNS -> (its host, the services one of which must be started for it to answer)."""

SUBSCRIBER_DOMAIN = ".example"
"""`sim1.example` is the name of subscriber sim1: what a probe from outside goes to."""


def host_of(name: str) -> str:
    """The host of a name that a step goes to."""
    return TARGETS[name][0] if name in TARGETS else name.removesuffix(SUBSCRIBER_DOMAIN)


# --- the world -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Topology:
    """The small internet. subscribers: hosts sim1, sim2, … behind the access router."""

    kind: str = "isp"
    subscribers: int = 1
    hops_before_box: int = 1
    hops_after_box: int = 3


@dataclass(frozen=True, slots=True)
class Link:
    """One kind of link, each way. rate_bits: bits per second, None for as fast as it goes; loss: share 0..1;
    reorder: share of packets that overtake those under way."""

    delay_ns: int = 0
    rate_bits: int | None = None
    loss: float = 0.0
    reorder: float = 0.0


@dataclass(frozen=True, slots=True)
class Links:
    """access: subscriber to access router. transit: between routers, the box among them. server: last one."""

    access: Link = Link()
    transit: Link = Link()
    server: Link = Link()


# --- the box -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedPhase:
    """From `at_ns` after the box's start on, this profile. profile: name or absolute path; None = all passes."""

    at_ns: int
    profile: str | None


@dataclass(frozen=True, slots=True)
class Middlebox:
    """Which box stands in the path.

    name: what the run calls it (the profile's name where there is only one)
    timeline: for everybody, rising times; one phase at 0 for a plain profile
    subscribers: host (`sim2`) -> a timeline of its own
    quotas: host -> how many bytes it may use, for those of `subscribers` who have one
    fail: what becomes of packets when the box dies: `open` (pass) or `closed`
    time_scale: 0.01 lets the box remember for a hundredth of the time that its profile says

    `scenarios.boxfile.deployment_yaml` writes it as the file that `python -m middlebox --profile` reads.
    """

    name: str
    timeline: tuple[PlannedPhase, ...]
    subscribers: Mapping[str, tuple[PlannedPhase, ...]] = field(default_factory=lambda: MappingProxyType({}))
    fail: str = "open"
    time_scale: float = 1.0
    quotas: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


# --- steps ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """From here to the end of the steps, for one IP version, something is wrong at a node.

    kind: key of `lab.faults.FAULTS`; on: the node
    """

    kind: str
    on: str


@dataclass(frozen=True, slots=True)
class ScriptLine:
    """One thing that `tcp-script` does.

    verb: `send` (data), `receive` (until size bytes have come, or data where it is given), `end` (until the other side
    ends), `abort` (RST), `fault` (the client waits until it is there)
    """

    verb: str
    data: bytes = b""
    size: int = 0
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A client does one thing.

    name: unique (`as:`), what expectations and the table call it
    on: host (`sim1`); client: key of `lab.clients.CLIENTS`; to: name in the lab's DNS, a key of `TARGETS` or, for a
    probe from a server's host, a subscriber's name
    port: None = the client's own; timeout_ns: None = the client's own
    login: whether a mail client logs in; the loader makes it False for port 25, which takes mail without
    path: of the page that a web client fetches
    trust: whether the client knows the authority that the lab's certificates are from
    script: what `tcp-script` does, line by line; empty for all other clients
    ask: what the client is told besides: plain data, keys of its `takes` (`scenarios.load_ask`)
    """

    name: str
    on: str
    client: str
    to: str = "mail.example"
    port: int | None = None
    timeout_ns: int | None = None
    login: bool = True
    path: str = "/"
    trust: bool = True
    script: tuple[ScriptLine, ...] = ()
    ask: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing more is started until the box has written an event of this kind.

    where: keys that the event must have with these values, e.g. {"profile": "tmobile-uk-2012"}; None is JSON null.
    Waits read the log forwards: an event written before the wait began counts, if it stands after the event that
    satisfied the wait before.
    timeout_ns: after that the run is invalid.
    """

    event: str
    where: Mapping[str, str | None]
    timeout_ns: int


@dataclass(frozen=True, slots=True)
class Together:
    """These steps start at the same moment; the next item starts when all are done."""

    steps: tuple[Step, ...]


Item = Step | Wait | Together | Fault


# --- expectations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Count:
    """A number that must be hit: low <= n <= high. high None = no upper end. text: as written, for the report."""

    low: int
    high: int | None
    text: str

    def holds(self, n: int) -> bool:
        return self.low <= n and (self.high is None or n <= self.high)


@dataclass(frozen=True, slots=True)
class ExpectOutcome:
    """The step ended with one of these words, values of `lab.clients.base.Outcome` or SUCCESS."""

    step: str
    outcomes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExpectEvents:
    """So many events of this kind were written.

    step: only events of that step's flows; rule, profile: only with that value; None does not filter.
    towards: `client`, `server`; `both`: the count holds for those towards the client and, by itself, for those towards
    the server.
    """

    event: str
    count: Count
    rule: str | None = None
    towards: str | None = None
    profile: str | None = None
    step: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectCapture:
    """What one host's capture holds.

    capture: `client` (the host of the step), `server` (the host it talks to), or a host's name
    step: only that step's flows; None = all steps' flows (then `client` and `server` mean each step's own)
    counts: key of CAPTURE_COUNTS -> Count, each must hold
    """

    capture: str
    counts: Mapping[str, Count]
    step: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectNeverCrosses:
    """None of these (NEVER_CROSSES) is in that host's capture; `capture` and `step` as in ExpectCapture."""

    what: tuple[str, ...]
    capture: str
    step: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectDelivered:
    """So many mails reached the mail servers' stores in the whole run (`at`: host, None = all of them)."""

    count: Count
    at: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectWire:
    """So often a thing is in a capture, among what one end sent and nobody forged.

    what: of PHENOMENA; sender: `client` or `server`; stage: only where the connection had come so far (STAGES)
    capture, step: as in ExpectCapture. at_least_ns: of a `pause`; text: that a `line` begins with
    """

    what: str
    sender: str
    count: Count
    stage: str | None = None
    capture: str = "client"
    step: str | None = None
    at_least_ns: int = 0
    text: str = ""


Expectation = ExpectOutcome | ExpectEvents | ExpectCapture | ExpectNeverCrosses | ExpectDelivered | ExpectWire


# --- scenario ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Control:
    """The scenario with one thing changed, whole: to be played exactly like a scenario, in a world of its own.

    name: `no-middlebox`, `other-port`, or the file's own
    why: one line for the report
    middlebox: None = the router forwards and no box process is started
    """

    name: str
    why: str
    middlebox: Middlebox | None
    steps: tuple[Item, ...]
    expect: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One play.

    slug: folder name; purpose: one line
    services: key of SERVICES -> program; settings: key of SERVICES -> what is set otherwise than usual (SETTINGS)
    truth: of TRUTHS
    families: IP versions to play it over, each in a world of its own, e.g. (4, 6)
    time_scale: of all its boxes
    path: the scenario.yaml it came from
    """

    slug: str
    purpose: str
    topology: Topology
    links: Links
    middlebox: Middlebox | None
    services: Mapping[str, str]
    seed: int
    steps: tuple[Item, ...]
    expect: tuple[Expectation, ...]
    controls: tuple[Control, ...]
    families: tuple[int, ...]
    path: str
    truth: str = TRUTHS[0]
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: MappingProxyType({}))
    time_scale: float = 1.0


def steps_of(items: tuple[Item, ...]) -> Iterator[Step]:
    """Every client step, in order, those of a `Together` one by one."""
    for item in items:
        if isinstance(item, Step):
            yield item
        elif isinstance(item, Together):
            yield from item.steps
