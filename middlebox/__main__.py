"""EDGE. `python -m middlebox`: arguments, real clock, seeded dice, log file; sets the box up and takes it away again.

One JSON line on stdout, `{"ready": true, ...}`, when the rules are installed and the queue is served. SIGTERM and
SIGINT end it, SIGHUP reloads the profile. It does not start on the machine's own network unless told so in full.

Exit codes: 0 ended as asked, 2 a bad profile or argument, 3 the machine is not ready, 4 the run is invalid.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from middlebox import events, signals
from middlebox.engine import Engine
from middlebox.eventlog import EventLog
from middlebox.firewall import Firewall, FirewallError
from middlebox.injector import Injector, InjectorError
from middlebox.judges import JudgesPackets
from middlebox.kernel import Wiring
from middlebox.live import Box, wall_clock
from middlebox.load import load_deployment
from middlebox.nfqueue import QUEUE_PACKETS
from middlebox.profile import Deployment
from middlebox.recall import Recall
from middlebox.stack import Stack, name_of
from middlebox.wants import plan_for
from middlebox.yamlsource import ProfileError

EngineMaker = Callable[[Sequence[Deployment], Random, int], JudgesPackets]


class NotReadyError(Exception):
    """This machine, or this place on it, cannot run a box; the message says what to do."""


def live_engine(deployments: Sequence[Deployment], rng: Random, start_ns: int) -> Stack:
    """An engine behind a router: the kernel has taken one from the TTL when it hands a packet over."""
    return Stack([Engine(deployment, rng, start_ns, hops_taken=1) for deployment in deployments])


def main(argv: Sequence[str] | None = None, *, make_engine: EngineMaker = live_engine) -> int:
    """Run a box until it is told to stop; returns the exit code."""
    arguments = _arguments(argv)
    try:
        _check_place(arguments)
        deployments = [load_deployment(profile) for profile in arguments.profile]
    except ProfileError as error:
        print(error, file=sys.stderr)
        return 2
    except NotReadyError as error:
        print(error, file=sys.stderr)
        return 3
    try:
        log = EventLog(arguments.events)
    except OSError as error:
        print(
            f"expected a file to write events to, got {str(arguments.events)!r}: {error.strerror}",
            file=sys.stderr,
        )
        return 2
    with log:
        try:
            return _run(arguments, deployments, log, make_engine)
        except (NotReadyError, FirewallError, InjectorError) as error:
            print(error, file=sys.stderr)
            return 3
        except Exception:  # noqa: BLE001  a bug of the edge: the rules are gone, the log is kept, the run is invalid
            traceback.print_exc()
            return 4


def _run(
    arguments: argparse.Namespace, deployments: Sequence[Deployment], log: EventLog, make_engine: EngineMaker
) -> int:
    clock = wall_clock()
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(4), "big")
    fail_open = arguments.fail == "open"
    recall = _make_recall() if fail_open else None
    wiring = Wiring(arguments.inside, arguments.outside, fail_open=fail_open, takes_copies=recall is not None)
    firewall = Firewall(plan_for(*deployments, punishing=False), wiring)
    injector = Injector()
    try:
        box = Box(
            make_engine(deployments, Random(seed), clock()), inside=wiring.inside, firewall=firewall,
            queue_number=wiring.queue, queue_packets=arguments.queue_packets, injector=injector, log=log,
            recall=recall, fail_open=wiring.fail_open, clock=clock,
        )  # fmt: skip
    except OSError as error:
        raise NotReadyError(
            f"expected to serve queue {wiring.queue}, got {error}; "
            "is another box running in this namespace, and does the kernel have NFQUEUE?"
        ) from error
    wakeup = signals.on_signals(box, lambda: [load_deployment(profile) for profile in arguments.profile])
    log.write([events.run_started(clock(), _start_facts(arguments, deployments, seed))])
    finished = False
    try:
        with injector:
            try:
                firewall.install()
                _calm_down()
                _say_ready(deployments, firewall)
                box.run(wakeup)
                finished = True
            finally:
                firewall.close()
                box.finish()
                firewall.remove()
    finally:
        figures = box.figures()
        figures["valid"] &= finished
        log.write([events.run_ended(clock(), figures)])
    return 0 if figures["valid"] else 4


def _make_recall() -> Recall | None:
    """None on a kernel that keeps no copies or labels: then it asks about every packet."""
    try:
        return Recall()
    except OSError:
        return None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m middlebox", description="Run one middlebox in this namespace."
    )
    parser.add_argument(
        "--profile",
        required=True,
        action="append",
        metavar="NAME|FILE",
        help="a shipped profile, or a YAML file; several times: boxes one behind the other",
    )
    parser.add_argument("--inside", required=True, metavar="IF", help="interface towards the subscribers")
    parser.add_argument("--outside", required=True, metavar="IF", help="interface towards the servers")
    parser.add_argument("--events", required=True, type=Path, metavar="FILE", help="ground truth, JSON lines")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="for the dice; default: drawn, and written down"
    )
    parser.add_argument(
        "--fail", choices=("open", "closed"), default="open", help="packets pass or stop when the box fails"
    )
    parser.add_argument(
        "--queue-packets", type=int, default=QUEUE_PACKETS, metavar="N", help="how many packets may wait"
    )
    parser.add_argument(
        "--on-this-machine", action="store_true", help="run on the machine's own network, not in a lab"
    )
    return parser.parse_args(argv)


def _check_place(arguments: argparse.Namespace) -> None:
    """NotReadyError outside a lab's namespace, or where an interface is missing."""
    if not arguments.on_this_machine and not _in_lab():
        raise NotReadyError(
            "expected a network namespace of a lab, got the machine's own network; "
            "start it by `tamperlab shell`, or say --on-this-machine"
        )
    names = {name for _, name in socket.if_nameindex()}
    for name in (arguments.inside, arguments.outside):
        if name not in names:
            raise NotReadyError(
                f"expected one of the interfaces {', '.join(sorted(names))}, got {name!r}; see `ip link`"
            )


def _in_lab() -> bool:
    """A sandbox says so; any other namespace is told by what only the machine's own, or its first process's, has."""
    if os.environ.get("TAMPERLAB_SANDBOX") == "1":
        return True
    if Path("/proc/sys/net/core/netdev_max_backlog").exists():  # registered for the initial namespace alone
        return False
    try:
        return Path("/proc/self/ns/net").readlink() != Path("/proc/1/ns/net").readlink()
    except OSError:  # whose first process this is is not ours to know: then it is not of our sandbox either
        return True


def _calm_down() -> None:
    """No pauses: what is loaded stays out of the garbage collector, and timers are not rounded up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    try:
        Path("/proc/self/timerslack_ns").write_text("1")
    except OSError:
        pass  # waits end up to 50 us later then


def _start_facts(
    arguments: argparse.Namespace, deployments: Sequence[Deployment], seed: int
) -> dict[str, Any]:
    return {
        "profile": name_of(deployments),
        "profiles": {p.name: p.placement.value for deployment in deployments for p in deployment.profiles()},
        "seed": seed,
        "inside": arguments.inside,
        "outside": arguments.outside,
        "fail": arguments.fail,
        "versions": {"python": platform.python_version(), "linux": os.uname().release},
    }


def _say_ready(deployments: Sequence[Deployment], firewall: Firewall) -> None:
    facts = {
        "ready": True,
        "pid": os.getpid(),
        "profile": name_of(deployments),
        "queued": [str(want) for want in firewall.plan.wants],
        "refused_sysctls": firewall.refused_sysctls,
    }
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    sys.exit(main())
