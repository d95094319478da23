"""The greylisting policy: first refused, then let in once, each triplet by itself."""

from __future__ import annotations

from lab.services.greylist_policy import DEFER, decide


def request(recipient: str, client: str = "192.0.2.11") -> dict[str, str]:
    """What Postfix asks."""
    return {"client_address": client, "sender": "alice@mail.example", "recipient": recipient, "queue_id": ""}


def test_greylist_lets_a_triplet_in_at_its_second_attempt() -> None:
    """450, let in, and 450 again for the next mail; another recipient or client is another triplet."""
    bob, eve = request("bob@mail.example"), request("eve@mail.example")
    assert [decide(bob), decide(eve), decide(bob), decide(bob)] == [DEFER, DEFER, "DUNNO", DEFER]
    assert decide(request("eve@mail.example", "2001:db8:1::11")) == DEFER
    assert decide(eve) == "DUNNO"
