"""`rewrite`: a packet goes on changed. What that does to the numbers of the connection is `translation`'s business."""

from __future__ import annotations

from middlebox.profile import Rewrite


def rewritten_payload(action: Rewrite, payload: bytes) -> bytes:
    """The payload after all substitutions, in the order in which they are written; empty when it is stripped."""
    if action.strip:
        return b""
    for substitution in action.substitutions:
        payload = substitution.pattern.sub(substitution.template, payload)
    return payload
