"""Words without which a filter cannot match: found where they are certain, and never elsewhere."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from middlebox.filters import compile_filter
from middlebox.filters.words import MOST_WORDS, VERBATIM


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('http.host == "Blocked.example"', {b"blocked.example"}),
        ('http.host contains "ultra"', {b"ultra"}),
        ('tcp.payload contains "ultra"', {b"ultra"}),
        ("tcp.payload contains 41:42:43:44", {b"abcd"}),
        ('http.host in {"a.example", "b.example"}', {b"a.example", b"b.example"}),
        (r'http.host matches r"(^|\.)blocked\.example(:\d+)?$"', {b"blocked.example"}),
        ('http.request.uri matches "falun-?gong"', {b"falun"}),
        ('http.request.uri matches "(fa|lu)nabcdef[xyz]gh"', {b"nabcdef"}),
        (r'http.request.uri matches r"abcd\x41\x42efghi"', {b"efghi"}),
        (r'http.request.uri matches r"abc\d1234\.5"', {b"1234.5"}),
        ('http.request.uri matches "abcd{2,3}?efghijk"', {b"efghijk"}),
        ('http.request.uri matches "(?-i)Falun"', {b"falun"}),
        ('http.request.uri matches "ab{(cd}efgh)?xyzw"', {b"xyzw"}),
        ('http.host == "first.example" or http.cookie contains "second"', {b"first.example", b"second"}),
        ('http.host == "first.example" and tcp.dstport == 80', {b"first.example"}),
        ('http.host contains "abcd" and (http.cookie contains "efgh" or http.cookie contains "ijkl")', {b"abcd"}),
    ],
)  # fmt: skip
def test_words_are_those_that_every_match_needs(text: str, words: set[bytes]) -> None:
    """In small letters: a search for them takes either case."""
    assert compile_filter(text).needs.words == words


@pytest.mark.parametrize(
    "text",
    [
        "tcp.dstport == 80",
        'http.host contains "abc"',  # too short to tell anything
        'http.host != "blocked.example"',
        'not http.host == "blocked.example"',
        'http.host == "blocked.example" or tcp.dstport == 81',
        'http.host matches "one.example|two.example"',
        'http.host matches "(one|two)"',
        'http.host matches "(?=blocked)b"',
        'http.host matches "[blocked]{4}"',
        'lower(http.host) == "blocked.example"',
        'http.host[0:4] == "bloc"',
        'smtp.command_line contains "STARTTLS"',  # a box joins its lines as it likes
        'http.response.phrase contains "blocked"',  # what the server says
        " or ".join(f'http.host == "host{number}.example"' for number in range(MOST_WORDS + 1)),
    ],
)
def test_words_are_not_known_where_something_else_could_match(text: str) -> None:
    """In doubt the kernel asks."""
    assert compile_filter(text).needs.words is None


_TOKENS = [
    "a", "b", "cd", ".", r"\.", r"\d", r"\x61", r"\141", "[ab]", "[^a]", "[]a]", "(", ")", "(?:", "|", "*", "+", "?",
    "{2}", "{1,2}", "{2,}", "{", "}", "{a}", "^", "$", r"\\", r"\b", r"\-",
]  # fmt: skip
_TEXT = st.text(st.sampled_from("abcd.1-\\"), max_size=24)


@given(st.lists(st.sampled_from(_TOKENS), min_size=1, max_size=14).map("".join), st.lists(_TEXT, max_size=20))
def test_word_of_any_pattern_stands_in_whatever_the_pattern_matches(pattern: str, texts: list[str]) -> None:
    """Python's own matcher is the judge."""
    try:
        compiled = re.compile(pattern, re.IGNORECASE | re.ASCII)
        words = compile_filter(f"http.host matches r{_quoted(pattern)}").needs.words
    except Exception:  # noqa: BLE001  not a pattern, or none that Wireshark would read alike
        return
    for text in (*texts, pattern):
        if words and compiled.search(text):
            assert any(word.decode() in text.lower() for word in words), (pattern, text, words)


def _quoted(pattern: str) -> str:
    return f'"{pattern}"'


def test_fields_that_stand_in_the_stream_as_they_are_exist() -> None:
    """A name that is not a field would never be found wanting."""
    for name in VERBATIM:
        assert compile_filter(f'{name} contains "word"').needs.words == {b"word"}
