"""All clients by name, as scenarios call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lab.clients import (
    curl_mailbox,
    curl_smtp,
    curl_web,
    dig,
    ike,
    l2tp,
    msmtp,
    openvpn,
    pptp,
    python_smtplib,
    quic,
    s_client,
    ssh,
    swaks,
    tcp_probe,
    tcp_script,
    wireguard,
)
from lab.clients.base import Client

_DRIVERS = (
    python_smtplib, swaks, msmtp, curl_smtp, curl_mailbox, curl_web, dig, ike, l2tp, openvpn, pptp,
    quic, s_client, ssh, tcp_probe, tcp_script, wireguard,
)  # fmt: skip

CLIENTS: Mapping[str, Client] = MappingProxyType(
    {client.name: client for driver in _DRIVERS for client in driver.CLIENTS}
)
