"""All clients by name, as scenarios call them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lab.clients import python_smtplib
from lab.clients.base import Client

_DRIVERS = (python_smtplib,)

CLIENTS: Mapping[str, Client] = MappingProxyType(
    {client.name: client for driver in _DRIVERS for client in driver.CLIENTS}
)
