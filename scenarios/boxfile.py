"""A scenario's box as the file that `python -m middlebox --profile` reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from scenarios.model import Middlebox, PlannedPhase


def deployment_yaml(middlebox: Middlebox, addresses: Mapping[str, Sequence[str]]) -> str:
    """The text of `box.yaml`. addresses: host -> its IPv4 and IPv6 addresses, at least for every host in
    `middlebox.subscribers`."""
    lines = [f"deployment: {middlebox.name}"]
    if middlebox.time_scale != 1:
        lines.append(f"time_scale: {middlebox.time_scale:.6f}")
    lines += ["timeline:", *_phases(middlebox.timeline, "  ")]
    if middlebox.subscribers:
        lines.append("subscribers:")
    for host, timeline in middlebox.subscribers.items():
        lines.append(f"  - name: {host}")
        lines.append(f"    address: {json.dumps(list(addresses[host]))}")
        if host in middlebox.quotas:
            lines.append(f"    quota: {middlebox.quotas[host]}")
        lines.extend(["    timeline:", *_phases(timeline, "      ")])
    return "\n".join(lines) + "\n"


def _phases(timeline: Sequence[PlannedPhase], indent: str) -> list[str]:
    # A JSON string is a YAML string: whatever stands in a path is quoted rightly.
    return [
        f"{indent}- {{at: {phase.at_ns}ns, profile: {json.dumps(phase.profile or 'none')}}}"
        for phase in timeline
    ]
