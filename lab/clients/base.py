"""What all client drivers share: the target, the result, and how a program is run and ended.

A driver starts a real, unchanged program as a user would and says in one word what became of it. The word comes
from evidence only: exit status, what the program printed, the server's replies, and, for programs that hide why
a connection ended, the kernel's counters of their host. Must never: retry, or hide a failure behind a default.
"""

from __future__ import annotations

import enum
import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from lab.host import Host
from lab.services.base import SYSTEM_PATH, end_process

Family = Literal[4, 6]

CONTROL_TIMEOUT_S = 30.0
"""Limit for the small programs beside the client: cat, getent. They take milliseconds, but a machine can stand still
for seconds (chosen)."""

OPENSSL_SETTINGS = Path(__file__).with_name("openssl.cnf")
"""For every client, so that those with OpenSSL say the same on every machine."""


class Outcome(enum.StrEnum):
    """What became of one run of a client."""

    DELIVERED = "delivered"
    """The server took the mail, over TLS."""
    CLEAR_TEXT = "clear-text"
    """The server took the mail, but without TLS."""
    FETCHED = "fetched"
    """A mail or page was read."""
    CONNECTED = "connected"
    """The session came up as far as it should: TLS with a good certificate, or a login shell."""
    SENT = "sent"
    """Raw packets were sent. What came of them, only captures can tell."""
    CONNECTION_RESET = "connection-reset"
    """An established connection ended by RST."""
    CONNECTION_CLOSED = "connection-closed"
    """An established connection ended by FIN before the work was done."""
    REFUSED = "refused"
    """RST in answer to the SYN."""
    UNREACHABLE = "unreachable"
    """ICMP said that there is no way to the server, or that it is forbidden."""
    TIMEOUT = "timeout"
    """No answer: the program gave up, or the time limit ended it."""
    TLS_ERROR = "tls-error"
    """TLS was needed and could not be had: not offered, handshake failed, certificate not trusted."""
    AUTH_ERROR = "auth-error"
    """The server refused the password or key, or offered no way to log in."""
    REJECTED = "rejected"
    """Any other negative reply of the server (SMTP 4xx and 5xx, IMAP NO and BAD, HTTP 4xx and 5xx)."""
    NAME_ERROR = "name-error"
    """The server's name could not be resolved."""
    MISLED = "misled"
    """Answered, but not with what the lab's own name server knows."""
    FAILED = "failed"
    """Something else; see the output."""


@dataclass(frozen=True, slots=True)
class Action:
    """One line of a script for `tcp-script`.

    verb: `send` (data), `receive` (until size bytes have come, or data where it is given), `end` (until the other side
    ends), `abort` (RST), `pause` (until at_pause has returned)
    """

    verb: str
    data: bytes = b""
    size: int = 0
    at_pause: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a client shall talk to, and as whom.

    server_name: resolved in the lab's DNS, and what the certificate must be for
    directory: an existing folder of the run, in which every run of a client gets a new HOME
    family: IP version to use; None lets the program choose
    port: instead of the client's usual one
    password: None lets mail clients send without logging in
    ca_file: the only certificates to trust (PEM); None: trust the lab's none
    identity_file: ssh's private key, a VPN client's chain and key; known_hosts: the only host keys to trust, None: any
    message: a whole mail with header; None: a short one from `sender` to `recipient`
    path: of the page to fetch; script: what `tcp-script` does
    ask: what the scenario says besides, plain data; only keys of the client's `takes`
    time_limit_s: after that the client is ended and the outcome is `timeout`
    """

    server_name: str
    directory: Path
    family: Family | None = None
    port: int | None = None
    user: str = "alice@mail.example"
    password: str | None = None
    ca_file: Path | None = None
    identity_file: Path | None = None
    known_hosts: Path | None = None
    sender: str = "alice@mail.example"
    recipient: str = "bob@mail.example"
    message: bytes | None = None
    path: str = "/"
    script: tuple[Action, ...] = ()
    time_limit_s: float = 20.0
    ask: Mapping[str, Any] = field(default_factory=dict)

    def mail(self) -> bytes:
        """The mail to send, lines ended by CR LF."""
        if self.message is not None:
            return self.message
        lines = [
            f"From: {self.sender}",
            f"To: {self.recipient}",
            "Subject: a mail of the lab",
            "",
            "Hello from the lab.",
        ]
        return "".join(line + "\r\n" for line in lines).encode()


@dataclass(frozen=True, slots=True)
class ClientResult:
    """What a driver reports.

    exit_status: None if the time limit ended the program; seconds: wall clock
    output: what it printed, both streams; version: of the program; command: what was run, as a shell line
    ports: its own, of its connections, if it says so; empty: nobody knows
    """

    outcome: Outcome
    exit_status: int | None
    seconds: float
    output: str
    version: str
    command: str
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Client:
    """A driver in one of its modes. port: where it goes unless the target says otherwise.

    takes: what it can be told besides (`Target.ask`). transport: tcp or udp. families: IP versions that it knows.
    """

    name: str
    port: int
    run: Callable[[Host, Target], ClientResult]
    takes: frozenset[str] = frozenset()
    transport: str = "tcp"
    families: tuple[Family, ...] = (4, 6)


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended. exit_status: None if the time limit ended it, negative: the signal that did.

    resets: RSTs the kernel of the host took for established connections while it ran (`count_resets`), else 0
    """

    argv: tuple[str, ...]
    exit_status: int | None
    seconds: float
    stdout: str
    stderr: str
    resets: int = 0

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def result(self, outcome: Outcome, version: str) -> ClientResult:
        return ClientResult(
            outcome, self.exit_status, self.seconds, self.output, version, shlex.join(self.argv)
        )


_OUTCOME_OF_TEXT = (
    ("Connection reset by peer", Outcome.CONNECTION_RESET),
    # Linux reports a RST that comes after a FIN as EPIPE.
    ("Broken pipe", Outcome.CONNECTION_RESET),
    ("Connection refused", Outcome.REFUSED),
    ("Connection timed out", Outcome.TIMEOUT),
    ("No route to host", Outcome.UNREACHABLE),
    ("Network is unreachable", Outcome.UNREACHABLE),
    # How connect(2) reports ICMP "administratively prohibited" over IPv6.
    ("connect: Permission denied", Outcome.UNREACHABLE),
    ("Name or service not known", Outcome.NAME_ERROR),
    ("No address associated with hostname", Outcome.NAME_ERROR),
    ("Temporary failure in name resolution", Outcome.NAME_ERROR),
)
"""The C library's words (locale C) for what ends a connection, or keeps it from coming up."""


def outcome_of_text(text: str) -> Outcome | None:
    """The outcome that a program's error message names in the C library's words, if it does."""
    return next((outcome for words, outcome in _OUTCOME_OF_TEXT if words in text), None)


@dataclass(slots=True)
class Workplace:
    """A new folder for one run of a client: its HOME, and files it is given."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, target: Target, client: str) -> Workplace:
        directory = Path(tempfile.mkdtemp(prefix=f"{client}-", dir=target.directory))
        environment = {"HOME": str(directory), "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"}
        return cls(directory, environment | {"OPENSSL_CONF": str(OPENSSL_SETTINGS)})

    def write(self, name: str, content: bytes) -> Path:
        """A file that only its owner may read, as some clients demand of files with secrets."""
        path = self.directory / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path


def run_program(
    host: Host,
    argv: Sequence[str],
    *,
    workplace: Workplace,
    time_limit_s: float,
    input: bytes = b"",
    count_resets: bool = False,
) -> Finished:
    """Run a client to its end or to the time limit, then end it by process id.

    count_resets: also read the kernel's counters before and after. They are of the whole host, so another
    program's connection that is reset on the same host at the same time counts too.
    """
    before = received_resets(host) if count_resets else 0
    begin = time.monotonic()
    process = host.popen(
        list(argv),
        cwd=workplace.directory,
        env=workplace.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    exit_status: int | None
    try:
        stdout, stderr = process.communicate(input, timeout=time_limit_s)
        exit_status = process.returncode
    except subprocess.TimeoutExpired:
        # Nothing can be gained from asking a hanging client to end itself.
        end_process(process, timeout_s=0)
        stdout, stderr = process.communicate()
        exit_status = None
    seconds = time.monotonic() - begin
    resets = received_resets(host) - before if count_resets else 0
    return Finished(
        tuple(argv),
        exit_status,
        seconds,
        stdout.decode(errors="replace"),
        stderr.decode(errors="replace"),
        resets,
    )


def received_resets(host: Host) -> int:
    """RSTs that ended an established connection of this host, since its namespace exists.

    The kernel's EstabResets counts every way from ESTABLISHED or CLOSE-WAIT straight to CLOSED, so what the host
    aborted itself there is taken off. TCPAbortOnData is not: it counts data that came after the program had closed,
    which may be a connection of an earlier run. Sources: RFC 4022 (tcpEstabResets); Linux, net/ipv4/tcp.c.
    """
    tables = host.run(
        ["cat", "/proc/net/snmp", "/proc/net/netstat"], timeout_s=CONTROL_TIMEOUT_S
    ).stdout.decode()
    counters = parse_counters(tables)
    own = counters["TcpExt:TCPAbortOnClose"] + counters["TcpExt:TCPAbortOnTimeout"]
    return counters["Tcp:EstabResets"] - own


def parse_counters(tables: str) -> dict[str, int]:
    """`Group:Name` -> value, from the text of /proc/net/snmp and netstat: pairs of lines, names and values."""
    counters: dict[str, int] = {}
    lines = tables.splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        group, *rest = names.split()
        counters.update(
            {group + name: int(value) for name, value in zip(rest, values.split()[1:], strict=True)}
        )
    return counters


def resolve(host: Host, name: str, family: Family) -> str | None:
    """First address of a name, for clients that cannot be told an IP version; None: there is none."""
    database = "ahostsv4" if family == 4 else "ahostsv6"
    answer = host.run(["getent", database, name], timeout_s=CONTROL_TIMEOUT_S).stdout.decode().split()
    # getent offers IPv4 addresses as ::ffff:a.b.c.d where there is no IPv6 one.
    return answer[0] if answer and not answer[0].startswith("::ffff:") else None


@cache
def program_version(program: str, option: str = "--version") -> str:
    """Name and number from the first line a program prints about its version. Run once per program."""
    done = subprocess.run(
        [program, option],
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.defpath},
    )
    lines = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines()
    return lines[0].partition(" (")[0] if lines else "unknown"


def family_option(target: Target) -> list[str]:
    """`-4` or `-6` for the many programs that know these options, or nothing."""
    return [f"-{target.family}"] if target.family else []
