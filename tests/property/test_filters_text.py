"""Whatever is written in a profile: a filter, or an error with a place. Never a traceback."""

from __future__ import annotations

from random import Random

from hypothesis import given, strategies as st

from middlebox.filters import FilterError, Origin, compile_filter
from tests.property.filter_soup import FilterSoup
from tests.unit.filter_kit import Flow, tcp

PIECES = (
    "tcp", "tcp.port", "tcp.payload", "smtp.req.command", "ip.src", "flow.direction", "==", "!=", "~", "in", "not",
    "and", "or", "any", "all", "{", "}", "(", ")", "[0:2]", "[-1]", ",", "..", "80", "0x", "-", "+", "/", "&",
    '"a"', 'r"\\d"',
    "'a'", "10.0.0.0/8", "::", "16:03", "len", "upper", "contains", "matches", "True", "\n", "é", "\x00",
)  # fmt: skip


def fate(text: str) -> str:
    """What becomes of a filter: it loads and can be run, or it is refused. Anything else raised fails the test."""
    try:
        compiled = compile_filter(text)
    except FilterError as error:
        has_place = 0 <= error.offset <= len(text)
        return "refused with a place" if has_place and error.message else f"refused: {error!r}"
    answers = (
        compiled.matches(tcp(b"GET /"), Flow(), {"smtp.req.command": ["QUIT"]}),
        compiled.may_match(tcp(b"GET /"), Flow(), frozenset({"smtp"})),
    )
    return "loads" if {*answers} <= {True, False} else f"answers {answers}"


GOOD_FATES = ("loads", "refused with a place")


@given(st.text(max_size=40))
def test_any_text_loads_or_is_refused(text: str) -> None:
    """Any characters at all."""
    assert fate(text) in GOOD_FATES


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from(["", " "]))
def test_any_heap_of_words_loads_or_is_refused(pieces: list[str], between: str) -> None:
    """The words of the language in any order."""
    assert fate(between.join(pieces)) in GOOD_FATES


@given(st.integers(min_value=0, max_value=2**32))
def test_filter_with_a_slip_of_the_pen_loads_or_is_refused(seed: int) -> None:
    """A character lost, doubled or swapped in a good filter."""
    random = Random(seed)
    for _ in range(5):
        text = FilterSoup(random, *Origin).filter()
        at = random.randrange(len(text))
        lost, doubled = text[:at] + text[at + 1 :], text[: at + 1] + text[at:]
        slip = random.choice([lost, doubled, text[:at] + random.choice(PIECES) + text[at:]])
        assert fate(slip) in GOOD_FATES, slip
