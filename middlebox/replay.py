"""EDGE. A capture instead of a wire: the same engine, its answers written to another capture. No root, no network.

The packets of the capture pass the box in the order of the file, at the times it says; the engine is shown those that
a live box's kernel would queue. What the box drops is left out, what it forges is put in at its time. The ends of a
capture do not react to what the box does: a connection goes on after its forged reset, which the box of that time would
have seen as well. Where a live box would have led a connection to another host, that is written down and the connection
stays as it is, with nothing else done to it.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from random import Random
from typing import Final

from middlebox import events
from middlebox.capturefile import (
    CaptureError,
    CaptureWriter,
    Frame,
    Interface,
    frame_like,
    ip_offset,
    read_frames,
)
from middlebox.decision import PASS, Decision, Verdict
from middlebox.engine import Engine
from middlebox.eventlog import EventLog
from middlebox.events import Event
from middlebox.flow import Side
from middlebox.gatekeeper import Gatekeeper
from middlebox.load import load_deployment
from middlebox.packet import ACK, PROTOCOL_TCP, SYN, Packet, decode
from middlebox.stack import Stack, name_of
from middlebox.yamlsource import ProfileError

INSIDE: Final = tuple(
    ip_network(text)
    for text in (
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",  # RFC 1918
        "100.64.0.0/10",  # RFC 6598: subscribers behind a carrier's NAT
        "192.0.2.0/24", "2001:db8:1::/64",  # subscribers of this lab
        "fc00::/7",  # RFC 4193
    )
)  # fmt: skip
"""Whose side is inside when nobody says (chosen): private addresses, and those of this lab's subscribers."""

PAIRS_REMEMBERED: Final = 1 << 20
"""Pairs of addresses whose sides are kept (chosen)."""

ERRORS_WRITTEN: Final = 20

_NEVER_NS = 1 << 62

Network = IPv4Network | IPv6Network


@dataclass(slots=True)
class Replayed:
    """What came of it. `others`: frames that carry no IP; they are copied. The names are those of `run_ended`, which
    does not have `throttled`."""

    packets: int = 0
    others: int = 0
    forged: int = 0
    dropped: int = 0
    rewritten: int = 0
    held: int = 0
    redirected: int = 0
    throttled: int = 0
    undecoded: int = 0
    engine_errors: int = 0
    ended_ns: int = 0

    @property
    def valid(self) -> bool:
        return not self.engine_errors

    def summary(self) -> str:
        """One line for people. `redirected` and `throttled` are connections, all the others packets."""
        done = ("forged", "dropped", "rewritten", "held", "redirected", "throttled")
        counts = ", ".join(f"{getattr(self, what)} {what}" for what in done)
        return f"{self.packets} packets ({self.others} other frames), {counts}"

    def as_details(self) -> dict[str, object]:
        """For `run_ended`."""
        counts = asdict(self)
        del counts["ended_ns"], counts["throttled"]
        return {"valid": self.valid, **counts}


class Sides:
    """Which side of the box a packet came from, told by its addresses.

    One inside address tells. Where both or neither are inside, the pair's first packet tells: who sends the SYN, or
    to the lower port, is inside.
    """

    def __init__(self, inside: Iterable[Network] = INSIDE) -> None:
        self._inside = tuple(inside)
        self._known: dict[bytes, Side] = {}

    def side_of(self, data: bytes) -> Side:
        """`data`: an IP packet. Anything that is none came from inside."""
        pair = data[12:20] if data[:1] < b"\x50" else data[8:40]
        side = self._known.get(pair)
        return self._learn(pair, data) if side is None else side

    def _learn(self, pair: bytes, data: bytes) -> Side:
        half = len(pair) // 2
        src, dst = pair[:half], pair[half:]
        if half not in (4, 16):
            return Side.INSIDE
        from_inside, to_inside = self._is_inside(src), self._is_inside(dst)
        side = Side.INSIDE if from_inside else Side.OUTSIDE
        if from_inside == to_inside:
            packet = decode(data)
            side = Side.OUTSIDE if packet is not None and _answers(packet) else Side.INSIDE
        if len(self._known) >= PAIRS_REMEMBERED:
            self._known.clear()
        self._known[pair] = side
        self._known[dst + src] = side.opposite
        return side

    def _is_inside(self, packed: bytes) -> bool:
        address = ip_address(packed)
        return any(address in network for network in self._inside if network.version == address.version)


def _answers(packet: Packet) -> bool:
    if packet.protocol == PROTOCOL_TCP and packet.flags & SYN:
        return bool(packet.flags & ACK)
    return packet.sport < packet.dport


@dataclass
class _Tape:
    """Where answers go: the resulting capture and the log, both optional; forged packets wait for their time."""

    writer: CaptureWriter | None
    log: EventLog | None
    result: Replayed = field(default_factory=Replayed)
    _later: list[tuple[int, int, Interface, bytes, str]] = field(default_factory=list)
    _count: int = 0

    def write_due(self, now_ns: int) -> None:
        """Put in what was forged for a time before now."""
        while self._later and self._later[0][0] < now_ns:
            time_ns, _, interface, frame, comment = heappop(self._later)
            if self.writer is not None:
                self.writer.write(time_ns, interface, frame, comment=comment)

    def take(self, decision: Decision, frame: Frame, offset: int, now_ns: int) -> None:
        """Write down one answer that is not just "let it pass"."""
        time_ns, interface, whole = frame
        comment, comments = _comments(decision.events)
        self.result.redirected += decision.redirect is not None
        self.result.throttled += sum(event.kind == "throttle_started" for event in decision.events)
        passed = whole
        if decision.replacement is not None:
            passed = frame_like(whole, offset, interface.link_type, decision.replacement, turned=False)
            self.result.rewritten += 1
        if decision.verdict is Verdict.DROP:
            self.result.dropped += 1
        elif decision.hold_until_ns > now_ns:
            self.result.held += 1
            self._put_off(decision.hold_until_ns, interface, passed, comment)
        elif self.writer is not None:
            self.writer.write(time_ns, interface, passed, comment=comment)
        for forged in decision.forged:
            self.result.forged += 1
            turned = not _same_source(forged.data, whole[offset:])
            made = frame_like(whole, offset, interface.link_type, forged.data, turned=turned)
            self._put_off(max(forged.send_at_ns, now_ns), interface, made, comments.get(forged.data, ""))
        if self.log is not None and decision.events:
            self.log.write(decision.events)

    def _put_off(self, when_ns: int, interface: Interface, frame: bytes, comment: str) -> None:
        self._count += 1  # keeps what is due at the same moment in order
        heappush(self._later, (when_ns, self._count, interface, frame, comment))

    def note(self, happened: tuple[Event, ...]) -> None:
        if self.log is not None:
            self.log.write(happened)


def _same_source(one: bytes, other: bytes) -> bool:
    return one[12:16] == other[12:16] if one[0] >> 4 == 4 else one[8:24] == other[8:24]


def _comments(happened: Iterable[Event]) -> tuple[str, dict[bytes, str]]:
    """What Wireshark shows beside the packet that was looked at, and beside those that were made, by their bytes.

    The words are those of a live run's captures (docs/runs.md).
    """
    notes, made = [], {}
    for event in happened:
        by = "{profile}/{rule}".format(**event.details) if "rule" in event.details else ""
        if event.kind == "packet_forged":
            trigger = "trigger {flags} seq {seq} length {length}".format(**event.details["trigger"])
            data = bytes.fromhex(event.details["packet"])
            made[data] = f"FORGED by {by}, towards {event.details['towards']}, {trigger}"
        elif event.kind == "packet_rewritten":
            notes.append(f"REWRITTEN by {by}")
        elif event.kind == "connection_redirected":
            notes.append("REDIRECTED by {}: led to {to} port {to_port}".format(by, **event.details))
        elif event.kind == "rule_matched":
            notes.append(f"TRIGGER of rule {by} ({', '.join(event.details['actions'])})")
    return "; ".join(notes), made


def replay(
    source: Path,
    engine: Engine | Stack,
    *,
    inside: Iterable[Network] = INSIDE,
    output: CaptureWriter | None = None,
    log: EventLog | None = None,
) -> Replayed:
    """Send a capture through an engine that was started at the time of its first packet (`start_ns`).

    OSError, CaptureError: the source cannot be read to its end; what came before was replayed.
    """
    tape = _Tape(output, log)
    result = tape.result
    side_of = Sides(inside).side_of
    handle = Gatekeeper(engine).handle
    now_ns = 0
    change_ns = engine.next_change_ns or _NEVER_NS
    for frame in read_frames(source):
        time_ns, interface, whole = frame
        if time_ns > now_ns:
            now_ns = time_ns  # captures of several interfaces may step back a little; a box's clock does not
            tape.write_due(now_ns)
        if now_ns >= change_ns:
            tape.note(engine.advance(now_ns))
            change_ns = engine.next_change_ns or _NEVER_NS
        offset = ip_offset(interface.link_type, whole)
        data = whole[offset:] if offset >= 0 else b""
        if not data:
            result.others += 1
        else:
            result.packets += 1
            try:
                decision = handle(data, now_ns, side_of(data))
            except Exception as error:  # noqa: BLE001  a bug: the packet passes, the run is invalid
                decision = PASS
                result.engine_errors += 1
                if result.engine_errors <= ERRORS_WRITTEN:
                    tape.note((_engine_error(error, data, now_ns),))
            if decision is not PASS:
                tape.take(decision, frame, offset, now_ns)
                if decision.events:
                    change_ns = engine.next_change_ns or _NEVER_NS
                continue
        if output is not None:
            output.write(time_ns, interface, whole)
    tape.write_due(_NEVER_NS)
    result.ended_ns = now_ns
    result.undecoded = engine.undecoded
    return result


def replay_packets(source: Path, engine: Engine | Stack) -> int:
    """Show the engine every IP packet of a capture and write nothing; returns how many there were."""
    side_of = Sides().side_of
    packets = 0
    for time_ns, interface, whole in read_frames(source):
        offset = ip_offset(interface.link_type, whole)
        if offset >= 0 and (data := whole[offset:]):
            packets += 1
            engine.handle(data, time_ns, side_of(data))
    return packets


def first_time_ns(source: Path) -> int:
    """The time of the first frame, 0 for an empty capture. OSError, CaptureError as `read_frames`."""
    return next((time_ns for time_ns, _, _ in read_frames(source)), 0)


def _engine_error(error: Exception, data: bytes, now_ns: int) -> Event:
    trace = "".join(traceback.format_exception(error))
    return events.engine_error(now_ns, error=repr(error), traceback=trace, packet=data)


def main(argv: Sequence[str] | None = None) -> int:
    """`tamperlab replay`. Exit codes: 0 replayed, 2 a bad file or argument, 4 the engine failed on a packet."""
    arguments = _arguments(argv)
    log_path = arguments.events or arguments.output.with_suffix(".events.jsonl")
    try:
        deployments = [load_deployment(profile) for profile in arguments.profile]
        start_ns = first_time_ns(arguments.capture)
        dice = Random(arguments.seed)
        boxes = Stack([Engine(deployment, dice, start_ns) for deployment in deployments])
        with EventLog(log_path) as log, CaptureWriter(arguments.output) as output:
            facts = {
                "profile": name_of(deployments),
                "seed": arguments.seed,
                "capture": str(arguments.capture),
            }
            log.write([events.run_started(start_ns, facts)])
            result = replay(
                arguments.capture, boxes, inside=arguments.inside or INSIDE, output=output, log=log
            )
            log.write([events.run_ended(max(start_ns, result.ended_ns), result.as_details())])
    except (ProfileError, CaptureError) as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"expected a file, got {error.filename!r}: {error.strerror}", file=sys.stderr)
        return 2
    print(f"{result.summary()}\n{arguments.output}  {log_path}")
    return 0 if result.valid else 4


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tamperlab replay", description="Let a box read a capture.")
    parser.add_argument("capture", type=Path, metavar="IN", help="pcap or pcapng")
    parser.add_argument(
        "--profile", "-p", required=True, action="append", metavar="NAME|FILE",
        help="may be repeated: boxes one behind the other",
    )  # fmt: skip
    parser.add_argument("--output", "-o", required=True, type=Path, metavar="OUT", help="pcapng to write")
    parser.add_argument(
        "--events", type=Path, metavar="FILE", help="default: OUT with the ending .events.jsonl"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the dice")
    parser.add_argument(
        "--inside", type=ip_network, action="append", metavar="CIDR",
        help="addresses on the inside; may be repeated; default: private addresses and this lab's subscribers",
    )  # fmt: skip
    return parser.parse_args(argv)
