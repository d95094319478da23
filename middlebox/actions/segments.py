"""`reset`, `close`, `reply`: forged TCP segments towards one end or both.

They differ in what their looks say by default (RST; FIN and ACK; data), not in how they are made.
"""

from __future__ import annotations

from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.forge import Forger, Occasion
from middlebox.packet import FIN, PROTOCOL_TCP, SYN
from middlebox.profile import Reply, Reset, Towards

DIRECTIONS = {
    Towards.CLIENT: (Direction.SERVER_TO_CLIENT,),
    Towards.SERVER: (Direction.CLIENT_TO_SERVER,),
    Towards.BOTH: (Direction.SERVER_TO_CLIENT, Direction.CLIENT_TO_SERVER),
}
"""What goes towards the client comes first, as it has the shorter way to race."""


def plan_segments(action: Reset, forger: Forger, occasion: Occasion) -> list[tuple[Direction, Forged]]:
    """The packets with their direction; none when the trigger is not TCP, or a later fragment."""
    if occasion.trigger.protocol != PROTOCOL_TCP or not occasion.trigger.has_transport_header:
        return []
    planned: list[tuple[Direction, Forged]] = []
    for direction in DIRECTIONS[action.towards]:
        to_client = direction is Direction.SERVER_TO_CLIENT
        look = (action.look_to_client if to_client else action.look_to_server) or action.look
        planned.extend((direction, forged) for forged in forger.segments(look, occasion, direction))
        if isinstance(action, Reply):
            occasion.ahead[direction] += len(look.payload)
        occasion.ahead[direction] += bool(look.flags & FIN) + bool(look.flags & SYN)
    return planned
