"""Words remembered about hosts: until when, and how many."""

from __future__ import annotations

from middlebox.engine import Engine
from middlebox.flow import Direction, Side
from middlebox.marks import CAPACITY, HostMarks
from middlebox.profile import KeyPart, Log, Mark
from tests.unit.talk import CLIENT, OTHER, SECOND_NS, Talk, engine_for, kinds, rule
from tests.unit.test_middlebox_residual import packet

SEEN = Mark("seen", (KeyPart.INSIDE_IP,), 10 * SECOND_NS)


def words(marks: HostMarks, now_ns: int, src: bytes = CLIENT) -> set[str]:
    return set(marks.of(packet(src), Side.INSIDE, Direction.CLIENT_TO_SERVER, now_ns))


def test_mark_holds_for_its_key_until_its_time_is_over() -> None:
    """Others with other keys are not marked, and the end is the end."""
    marks = HostMarks()
    marks.set(SEEN, (CLIENT,), 0)
    assert words(marks, 10 * SECOND_NS - 1) == {"seen"}
    assert words(marks, 1, OTHER) == set()
    assert words(marks, 10 * SECOND_NS) == set()


def test_mark_set_again_lasts_longer() -> None:
    """The last time counts."""
    marks = HostMarks()
    marks.set(SEEN, (CLIENT,), 0)
    marks.set(SEEN, (CLIENT,), 5 * SECOND_NS)
    assert words(marks, 12 * SECOND_NS) == {"seen"}


def test_marks_of_one_host_add_up() -> None:
    """Each word has a time of its own."""
    marks = HostMarks()
    marks.set(SEEN, (CLIENT,), 0)
    marks.set(Mark("twice", (KeyPart.INSIDE_IP,), SECOND_NS), (CLIENT,), 0)
    assert words(marks, 1) == {"seen", "twice"}
    assert words(marks, 2 * SECOND_NS) == {"seen"}


def test_marks_are_bounded_and_setting_one_again_puts_nobody_out() -> None:
    """The oldest goes first, but only for somebody new."""
    marks = HostMarks()
    for number in range(CAPACITY):
        marks.set(SEEN, (number.to_bytes(4, "big"),), 0)
    marks.set(SEEN, (b"\0\0\0\0",), 1)  # there already
    assert words(marks, 1, b"\0\0\0\1") == {"seen"}
    marks.set(SEEN, (CLIENT,), 1)
    assert words(marks, 1, b"\0\0\0\1") == set()


def test_marks_cleared_are_not_in_use() -> None:
    """Other rules, other words."""
    marks = HostMarks()
    assert not marks.in_use
    marks.set(SEEN, (CLIENT,), 0)
    assert marks.in_use
    marks.clear()
    assert (marks.in_use, words(marks, 1)) == (False, set())


def test_mark_of_a_host_is_seen_by_rules_on_its_other_connections_until_it_ends() -> None:
    """A rule may ask what the same host did before, elsewhere."""
    marking = rule('tcp.dstport == 25 and tcp.payload contains "x"', (SEEN,), name="marks")
    asking = rule('flow.marks == "seen" and tcp.dstport == 80', (Log(),), name="asks")
    engine = engine_for(marking, asking)
    matched = []
    for second in (5, 15):
        Talk(engine, server_port=25).client_sends(b"x")
        later = Talk(engine, port=41000 + second, server_port=80)
        later.now_ns = second * SECOND_NS
        matched.append("rule_matched" in kinds(later.client_sends(b"y")))
    assert matched == [True, False]


def test_mark_is_seen_by_the_rules_after_it_on_the_same_packet() -> None:
    """Rules are asked in the order in which they are written."""
    marking = rule("tcp.len > 0", (Mark("now"),), name="marks")
    asking = rule('flow.marks == "now"', (Log(),), name="asks")
    assert matching(engine_for(marking, asking)) == ["marks", "asks"]
    assert matching(engine_for(asking, marking)) == ["marks"]


def matching(engine: Engine) -> list[str]:
    """The rules that match a client's first data."""
    events = Talk(engine).client_sends(b"x").events
    return [event.details["rule"] for event in events if event.kind == "rule_matched"]
