"""What became of OpenVPN, from what it printed."""

from __future__ import annotations

import pytest

from lab.clients.base import Outcome
from lab.clients.openvpn import classify
from tests.unit.client_kit import finished, keeps_to_the_evidence


@pytest.mark.parametrize(
    ("status", "printed", "outcome"),
    [
        (0, "[vpn.example] Peer Connection Initiated with [AF_INET]203.0.113.100:5000", Outcome.CONNECTED),
        (1, "VERIFY ERROR: depth=1, error=self-signed certificate in certificate chain", Outcome.TLS_ERROR),
        (None, "UDPv4 link remote: [AF_INET]203.0.113.100:5000", Outcome.TIMEOUT),
        (None, "read UDPv4 [ECONNREFUSED]: Connection refused (fd=3,code=111)", Outcome.REFUSED),
        (0, "Connection reset, restarting [-1]", Outcome.CONNECTION_RESET),
        (0, "Connection reset, restarting [0]", Outcome.CONNECTION_CLOSED),
        (1, "TLS Error: TLS key negotiation failed to occur within 60 seconds", Outcome.TIMEOUT),
        (None, "RESOLVE: Cannot resolve host address: vpn.example (Name or service not known)", Outcome.NAME_ERROR),
    ],
)  # fmt: skip
def test_openvpn_outcome_is_what_it_printed(status: int | None, printed: str, outcome: Outcome) -> None:
    """Both ends proved, distrust, silence, a closed port, a RST, an end over TCP, an unknown name."""
    assert classify(finished(status, stdout=printed)) is outcome


def test_openvpn_classifier_keeps_to_the_evidence() -> None:
    """The time limit is a timeout, and what nobody knows has failed."""
    assert keeps_to_the_evidence(classify)
