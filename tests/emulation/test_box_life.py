"""Start, reload, end, and everything that can go wrong with a box: traffic, rules and exit codes afterwards."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from middlebox.kernel import INJECT_FROM
from tests.emulation.box_process import everything_on_7000, running_box
from tests.emulation.peers import ROOT, Peers, until


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def traces(peers: Peers) -> list[str]:
    """What a box puts into its namespace: tables of rules, the injection port."""
    found = [line for line in peers.box.run(["nft", "list", "tables"]).splitlines() if "tamperlab" in line]
    return found + [line for line in peers.box.run(["ip", "link"]).splitlines() if INJECT_FROM in line]


def crosses(peers: Peers, port: int = 7000) -> bool:
    """Whether a connection comes up and carries a word."""
    try:
        client, server = peers.connection(port)
    except OSError:
        return False
    with client, server:
        client.sendall(b"word")
        return server.recv(100) == b"word"


def hangs(peers: Peers) -> bool:
    """Whether a SYN is not even answered."""
    with peers.client.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
        client.settimeout(0.3)
        try:
            client.connect(("203.0.113.25", 7000))
        except TimeoutError:
            return True
        except OSError:
            return False
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_the_box_leaves_no_trace(peers: Peers, number: int) -> None:
    """Rules, chains and the injection port go; the log ends with `run_ended`; the exit code is 0."""
    with running_box(peers, "tmobile-uk-2012") as box:
        assert traces(peers)
        assert box.stop(number) == 0
        assert traces(peers) == []
        events = box.events()
        assert [events[0]["event"], events[-1]["event"]] == ["run_started", "run_ended"]
        assert events[-1]["valid"] is True
        assert crosses(peers)


def test_crash_of_the_loop_leaves_no_trace(peers: Peers) -> None:
    """A bug of the edge itself: rules gone, log complete, run invalid, exit code 4."""
    with running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            client.sendall(b"crash")
            assert box.process.wait(timeout=10) == 4
        assert traces(peers) == []
        (ended,) = box.events("run_ended")
        assert ended["valid"] is False
        assert "Traceback" in box.errors()


@pytest.mark.parametrize(("fail", "goes_on"), [("open", True), ("closed", False)])
def test_killed_box_lets_traffic_go_on_or_stop(peers: Peers, fail: str, goes_on: bool) -> None:
    """`kill -9` leaves the rules to the kernel: with nobody at the queue packets pass, or with closed are dropped."""
    with running_box(peers, everything_on_7000(peers), stand_in=True, arguments=["--fail", fail]) as box:
        assert crosses(peers)
        assert box.stop(signal.SIGKILL) == -signal.SIGKILL
        assert hangs(peers) != goes_on
        assert crosses(peers, 7001)
        if goes_on:
            assert crosses(peers)


def test_box_takes_over_what_a_killed_one_left(peers: Peers) -> None:
    """Rules and port of the dead are replaced; nothing is queued twice; the end leaves no trace."""
    with running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        box.stop(signal.SIGKILL)
    with running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            client.sendall(b"once")
            assert server.recv(100) == b"once"
        assert box.stop() == 0
        assert box.handled().count(["once"]) == 1
    assert traces(peers) == []


def test_second_box_in_a_namespace_is_refused_and_harms_nothing(peers: Peers) -> None:
    """The queue has one master; who comes second exits with 3 and leaves the first at work."""
    with running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        before = traces(peers)
        second = peers.box.popen(
            [sys.executable, "-m", "middlebox", "--profile", "tmobile-uk-2012", "--inside", "inside", "--outside",
             "outside", "--events", os.devnull],
            cwd=ROOT, stderr=subprocess.PIPE,
        )  # fmt: skip
        _, errors = second.communicate(timeout=10)
        assert second.returncode == 3
        assert b"is another box running" in errors
        assert traces(peers) == before
        assert crosses(peers)
        assert box.stop() == 0


def test_good_profile_is_taken_up_on_sighup(peers: Peers) -> None:
    """Hot reload: other ports are watched from then on, and connections that run are not disturbed."""
    profile = everything_on_7000(peers)
    with running_box(peers, profile, stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            client.sendall(b"before")
            assert server.recv(100) == b"before"
            profile.write_text(profile.read_text().replace("7000", "7001"))
            box.process.send_signal(signal.SIGHUP)
            until(lambda: box.events("reloaded"), "the event of the reload")
            until(
                lambda: "7001" in peers.box.run(["nft", "list", "table", "inet", "tamperlab"]),
                "the new rules",
            )
            client.sendall(b"after")
            assert server.recv(100) == b"after"
        client, server = peers.connection(7001)
        with client, server:
            client.sendall(b"elsewhere")
            assert server.recv(100) == b"elsewhere"
        assert box.stop() == 0
        assert [words for words in box.handled() if words] == [["before"], ["elsewhere"]]


def test_reload_under_traffic_loses_no_packet(peers: Peers) -> None:
    """Packets that wait in the queue while it is set up anew are answered all the same."""
    profile = everything_on_7000(peers)
    whole = profile.read_text()
    singly = whole.replace("do: [log]", "do: [{delay: 1ms}]")
    with running_box(peers, profile, stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            for number in range(10):
                os.kill(box.process.pid, signal.SIGSTOP)
                profile.write_text(whole if number % 2 else singly)
                box.process.send_signal(signal.SIGHUP)
                client.sendall(b"word-%d" % number)
                os.kill(box.process.pid, signal.SIGCONT)
                assert server.recv(100) == b"word-%d" % number
                until(lambda number=number: len(box.events("reloaded")) == number + 1, "the reload")
        assert box.stop() == 0
        handled = {words[0] for words in box.handled() if words}
        assert handled == {f"word-{number}" for number in range(10)}


def test_bad_profile_on_sighup_keeps_the_old_one_and_says_why(peers: Peers) -> None:
    """The reason stands in the log and on stderr; the box goes on as before and ends valid."""
    profile = everything_on_7000(peers)
    with running_box(peers, profile, stand_in=True) as box:
        profile.write_text(profile.read_text().replace("tcp.port", "tcp.prot"))
        box.process.send_signal(signal.SIGHUP)
        (failed,) = until(lambda: box.events("reload_failed"), "the event of the failure")
        assert "tcp.prot" in failed["reason"]
        assert f"{profile}:8" in failed["reason"]
        assert "tcp.prot" in box.errors()
        assert crosses(peers)
        assert box.stop() == 0
        assert ["word"] in box.handled()


def test_engine_error_accepts_the_packet_and_makes_the_run_invalid(peers: Peers) -> None:
    """A bug does not stop the traffic of a box that fails open, and it is never hidden."""
    with running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            client.sendall(b"raise")
            assert server.recv(100) == b"raise"
        assert box.stop() == 4
        (error,) = box.events("engine_error")
        assert "asked to" in error["error"]
        assert "in handle" in error["traceback"]
        assert bytes.fromhex(error["packet"]).endswith(b"raise")
        (ended,) = box.events("run_ended")
        assert ended["valid"] is False
        assert ended["engine_errors"] == 1


def test_engine_error_drops_the_packet_when_failing_closed(peers: Peers) -> None:
    """With `--fail closed` what was not judged does not pass."""
    with running_box(peers, everything_on_7000(peers), stand_in=True, arguments=["--fail", "closed"]) as box:
        client, server = peers.connection(7000)
        with client, server:
            client.sendall(b"raise")
            until(lambda: len(box.events("engine_error")) >= 2, "the retransmission to fail as well")
            server.setblocking(False)
            with pytest.raises(BlockingIOError):
                server.recv(100)
        assert box.stop() == 4


def test_errors_written_down_are_bounded_and_all_are_counted(peers: Peers) -> None:
    """A bug at every packet does not fill the disk."""
    with running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            for _ in range(30):
                client.sendall(b"raise")
                assert server.recv(100) == b"raise"
        assert box.stop() == 4
        assert len(box.events("engine_error")) == 20
        (ended,) = box.events("run_ended")
        assert ended["engine_errors"] == 30


def test_overflow_of_the_queue_is_counted_and_makes_the_run_invalid(peers: Peers) -> None:
    """What the kernel had to drop for want of room was never judged."""
    arguments = ["--queue-packets", "1"]
    with running_box(peers, everything_on_7000(peers), stand_in=True, arguments=arguments) as box:
        assert crosses(peers)
        os.kill(box.process.pid, signal.SIGSTOP)
        with peers.client.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.connect_ex(("203.0.113.25", 7000))
            until(lambda: overflowed(peers), "a second packet in a queue for one")
            os.kill(box.process.pid, signal.SIGCONT)
            until(lambda: box.events("queue_overflow"), "the event of the overflow")
        assert box.stop() == 4
        overflow = box.events("queue_overflow")[-1]
        assert overflow["dropped"] >= 1
        (ended,) = box.events("run_ended")
        assert ended["valid"] is False
        assert ended["queue"]["dropped"] == overflow["dropped"]


def overflowed(peers: Peers) -> bool:
    (line,) = peers.box.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).splitlines()
    return int(line.split()[5]) > 0


def test_bystanders_rules_are_left_alone(peers: Peers) -> None:
    """Rules of somebody else, in iptables or in nft, survive the coming and going of a box."""
    peers.box.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "-j", "ACCEPT"])
    peers.box.run(
        ["nft", "add table inet tamper; add chain inet tamper own; add rule inet tamper own udp dport 1 drop"]
    )
    before = peers.box.run(["nft", "list", "ruleset"])
    assert "udp dport 1 drop" in before
    with running_box(peers, "tmobile-uk-2012") as box:
        assert peers.box.run(["nft", "list", "ruleset"]) != before
        assert box.stop() == 0
    assert peers.box.run(["nft", "list", "ruleset"]) == before
