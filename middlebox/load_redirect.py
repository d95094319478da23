"""`redirect:` in a profile -> `profile.Redirect`, and what a rule that redirects may be like.

The kernel's NAT decides about a connection once, at its first packet. So the rule can only ask what that packet shows
for the whole connection, and do nothing else to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

from middlebox.load_sources import ProfileReader
from middlebox.profile import Log, Redirect, Rule
from middlebox.reader import optional
from middlebox.yamlsource import Node


def read_redirect(reader: ProfileReader, node: Node) -> Redirect:
    """`{to: [203.0.113.26, "2001:db8:3::26"], port: 25}`; one address a version at most."""
    fields = reader.mapping(node, ("to",), ("port",))
    found: dict[int, bytes] = {}
    for item in reader.one_or_more(fields["to"], "addresses") if "to" in fields else ():
        reader.cite(item)
        try:
            address = ip_address(str(item.value))
        except ValueError:
            reader.problem(item, "an IPv4 or IPv6 address", "write 203.0.113.26 or 2001:db8:3::26")
            continue
        if address.version in found:
            reader.problem(item, "one address for each IP version", "remove one of them")
        found[address.version] = address.packed
    if "port" in fields:
        reader.cite(fields["port"])
    return Redirect(
        ipv4=found.get(4, b""),
        ipv6=found.get(6, b""),
        port=optional(fields, "port", lambda n: reader.whole(n, 1, 65535, what="a port"), None),
    )


def check_redirect(reader: ProfileReader, fields: Mapping[str, Node], rule: Rule) -> None:
    """Problems of a rule that redirects. fields: as they were written."""
    count = sum(isinstance(action, Redirect) for action in rule.do)
    if rule.residual is not None and any(isinstance(action, Redirect) for action in rule.residual.actions):
        reader.problem(fields["residual"], "no redirect below residual", "redirect in a rule of its own")
    if not count:
        return
    if count > 1 or not all(isinstance(action, Redirect | Log) for action in rule.do):
        reader.problem(fields["do"], "redirect alone, or with log", "write a rule of its own for the rest")
    if rule.residual is not None:
        reader.problem(fields["residual"], "no residual where a connection is redirected", "remove it")
    if not rule.when.needs.per_flow:
        then = "a connection is redirected at its first packet, before any of it is read"
        reader.problem(fields["when"], "a filter of ports, addresses, protocol and direction alone", then)
