"""Ground truth on disk: the same as the events say, whole lines, nothing lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from middlebox.eventlog import EVENTS_KEPT, EventLog, json_lines
from middlebox.events import Event, FlowName, flow_seen

SHORT = st.binary(min_size=4, max_size=4)
ADDRESSES = st.one_of(
    SHORT,
    st.binary(min_size=16, max_size=16),
    st.builds(lambda middle, end: bytes(8) + middle + end, SHORT, SHORT),
    SHORT.map(lambda end: bytes(10) + b"\xff\xff" + end),
)
PORTS = st.integers(0, 0xFFFF)
FLOWS = st.builds(FlowName, ADDRESSES, PORTS, ADDRESSES, PORTS, st.integers(0, 255))
DETAILS = st.dictionaries(
    st.sampled_from(["rule", "profile", "fields", "delay_ns"]),
    st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5),
)
EVENTS = st.builds(
    Event, st.sampled_from(["flow_seen", "rule_matched"]), st.integers(0, 1 << 63), st.none() | FLOWS, DETAILS
)


@given(st.lists(EVENTS))
def test_lines_say_what_events_say(events: list[Event]) -> None:
    """The quick writer and `as_json` agree on every event, one line each."""
    text = json_lines(events).decode()
    assert text.count("\n") == len(events)
    assert [json.loads(line) for line in text.split("\n")[:-1]] == [event.as_json() for event in events]


def test_events_are_on_disk_after_leaving(tmp_path: Path) -> None:
    """Leaving the log writes out everything, also when it is left by an exception."""
    path = tmp_path / "events.jsonl"
    event = Event("run_started", 1, None, {"seed": 7})
    log = EventLog(path)
    log.write([event])
    with pytest.raises(ZeroDivisionError), log:
        _ = 1 / 0
    assert json.loads(path.read_text()) == event.as_json()


def test_flush_with_a_limit_writes_the_oldest_first(tmp_path: Path) -> None:
    """A packet may be waiting: a part is written, whole lines, in order."""
    path = tmp_path / "events.jsonl"
    with EventLog(path) as log:
        log.write([Event("one", 1, None, {}), Event("two", 2, None, {}), Event("three", 3, None, {})])
        log.flush(2)
        assert [json.loads(line)["event"] for line in path.read_text().splitlines()] == ["one", "two"]
        assert log.pending
        log.flush()
        assert not log.pending


def test_waiting_events_are_bounded(tmp_path: Path) -> None:
    """A box that is never idle still writes: memory does not grow with the run."""
    path = tmp_path / "events.jsonl"
    flow = FlowName(bytes(4), 1, bytes(4), 2, 6)
    with EventLog(path) as log:
        for number in range(EVENTS_KEPT + 100):
            log.write([flow_seen(number, flow)])
        written = path.read_text().count("\n")
        assert written >= 100


def test_old_file_is_replaced(tmp_path: Path) -> None:
    """A log is of one run."""
    path = tmp_path / "events.jsonl"
    path.write_text("old\n")
    EventLog(path).close()
    assert path.read_text() == ""


def test_unwritable_path_raises(tmp_path: Path) -> None:
    """No log, no run: the caller hears of it at once."""
    with pytest.raises(OSError, match="No such file"):
        EventLog(tmp_path / "nowhere" / "events.jsonl")
