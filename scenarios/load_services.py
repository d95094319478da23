"""`services:` of a scenario: which programs play which servers, and how their operators have set them up.

services: {mail: embedded, web: nginx}
services: {mail: {program: postfix, starttls: absent}}
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from middlebox.reader import Reader
from middlebox.yamlsource import Node
from scenarios.model import SERVICES, SETTINGS

Settings = Mapping[str, Mapping[str, str]]
"""Service -> setting -> value; only what is set otherwise than usual."""


def read_services(reader: Reader, node: Node) -> tuple[Mapping[str, str], Settings]:
    """Program by service, settings by service."""
    programs: dict[str, str] = {}
    settings: dict[str, Mapping[str, str]] = {}
    for name, below in reader.mapping(node, (), SERVICES).items():
        if not isinstance(below.value, dict):
            programs[name] = reader.word(below, SERVICES[name])
            continue
        known = SETTINGS.get(name, {})
        fields = reader.mapping(below, (), ("program", *known))
        programs[name] = (
            reader.word(fields["program"], SERVICES[name]) if "program" in fields else SERVICES[name][0]
        )
        chosen = {key: reader.word(value, known[key]) for key, value in fields.items() if key in known}
        settings[name] = MappingProxyType(
            {key: value for key, value in chosen.items() if value != known[key][0]}
        )
    return MappingProxyType(programs), MappingProxyType(settings)
