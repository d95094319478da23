"""curl: what its exit codes and messages amount to."""

from __future__ import annotations

from lab.clients import curl
from lab.clients.base import Outcome
from tests.unit.client_kit import finished, keeps_to_the_evidence


def test_curl_keeps_to_the_evidence() -> None:
    """A run the lab had to end timed out; a failure of unknown kind is `failed`, nothing is guessed."""
    assert keeps_to_the_evidence(lambda done: curl.classify(done, Outcome.DELIVERED))


def test_curl_with_an_address_tried_in_vain_and_another_that_answered_goes_by_the_last_word() -> None:
    """The first address was refused, the second one's connection was reset: that is what ended it."""
    text = (
        "* connect to 2001:db8:3::25 port 587 failed: Connection refused\n"
        "* Connected to mail.example (203.0.113.25) port 587\n"
        "curl: (56) Recv failure: Connection reset by peer\n"
    )
    assert curl.classify(finished(56, stderr=text), Outcome.DELIVERED) is Outcome.CONNECTION_RESET
    refused = (
        text.splitlines()[0] + "\ncurl: (7) Failed to connect to mail.example port 587: Couldn't connect\n"
    )
    assert curl.classify(finished(7, stderr=refused), Outcome.DELIVERED) is Outcome.REFUSED


def test_curl_that_was_answered_with_a_refusal_was_rejected() -> None:
    """A refused EHLO: curl names the reply's code."""
    said = finished(9, stderr="< 502 5.5.2 Error\ncurl: (9) Remote access denied: 502\n")
    assert curl.classify(said, Outcome.DELIVERED) is Outcome.REJECTED
